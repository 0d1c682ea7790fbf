"""One page that compares runs: python -m mfcc_wavenet.compare."""

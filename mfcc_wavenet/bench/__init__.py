"""Speed next to what the machine allows: python -m mfcc_wavenet.bench."""

"""Sweeps without an account: python -m mfcc_wavenet.sweep. Nothing here imports torch."""

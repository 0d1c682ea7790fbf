"""Another process that owns a folder."""

# A program: its argument is the folder, and it prints a line once that is locked.
HOLD = """
import sys, time
from pathlib import Path
from mfcc_wavenet.config.files import owned
with owned(Path(sys.argv[1]), "The folder"):
    print("mine", flush=True)
    time.sleep(60)
"""

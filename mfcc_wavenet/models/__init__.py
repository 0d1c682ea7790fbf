"""Frames and past codes to logits, and a model as a file."""

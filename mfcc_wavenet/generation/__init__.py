"""Logits to audio, one sample at a time."""

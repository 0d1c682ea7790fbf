"""Corpora that are prepared: made once, opened memory-mapped, and split."""

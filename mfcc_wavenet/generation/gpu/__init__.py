"""The loop over samples on a GPU."""

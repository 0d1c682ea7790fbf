"""The loop over samples on a processor, compiled by numba."""

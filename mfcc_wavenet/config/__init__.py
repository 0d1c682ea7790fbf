"""What a run is, and the integers that follow from it. Nothing here imports torch."""

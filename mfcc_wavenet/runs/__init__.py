"""What a run leaves behind: rows, checkpoints' records, pictures, and its W&B run."""

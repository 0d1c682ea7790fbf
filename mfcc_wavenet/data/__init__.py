"""Audio to batches: codes and frames of whole utterances, and the windows of them that a step predicts."""

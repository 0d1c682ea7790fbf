"""What mode=generate, mode=encode and mode=decode do with files: each a task, one input after the other or many."""

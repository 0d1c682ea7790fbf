"""Known corpora: how their files lie, and where their archives come from."""

"""Which triplets to learn from, one idea to a file."""

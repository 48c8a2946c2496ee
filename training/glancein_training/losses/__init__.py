"""The losses, one idea to a file."""

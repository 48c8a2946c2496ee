"""Pure functions and small values: no files, sockets, clocks or threads."""

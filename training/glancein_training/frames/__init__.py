"""Single frames at the door: what is wrong with one, how much it is worth, and how several make one look."""

"""From the feed's store to other HR systems: one module for each, and the courier that drives them."""

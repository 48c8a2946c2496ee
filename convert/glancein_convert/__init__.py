"""From a float checkpoint to an int8 bundle that a kiosk can trust, with the proof of what was lost."""

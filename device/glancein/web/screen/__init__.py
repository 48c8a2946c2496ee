"""The kiosk's screen: one page on this machine's own address, and what it may ask of the kiosk."""

"""The web pages: the HR desk and the kiosk's screen."""

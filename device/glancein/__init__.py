"""glancein: an attendance kiosk. A glance at the camera checks people in; HR subscribes to the feed."""

__version__ = "0.1.0"

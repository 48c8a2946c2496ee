"""The HR desk: pages for signed-in people, and the same things for programs under /api/v1."""

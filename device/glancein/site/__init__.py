"""A company's own certificate authority in a folder: who may speak on the broker, and with which keys."""

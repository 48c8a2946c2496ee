"""One MQTT connection, as the publisher and the feed use it."""

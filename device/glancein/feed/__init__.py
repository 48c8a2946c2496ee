"""The feed for programs of your own: ``from glancein.feed import Feed``; see docs/feed.md."""

from glancein.adapters.feed_mqtt import FeedRules
from glancein.feed.reader import Feed, FeedEvent, open_store
from glancein.wiring import open_seal

__all__ = ["Feed", "FeedEvent", "FeedRules", "open_seal", "open_store"]

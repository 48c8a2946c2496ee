"""One browser's line to the server: ended if it is silent for long, and shared out among addresses."""

from __future__ import annotations

import asyncio

import h11  # uvicorn is made of it
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_LINES = 400  # all that is open at once; whoever asks beyond that is told to come later
MOST_OF_ONE = MOST_LINES // 2  # from one address: an office behind one router, or a proxy
PATIENCE_S = 20.0


class Line(H11Protocol):
    """HTTP/1.1 that waits ``PATIENCE_S`` for a request's head, and as long for each next part of its body.

    uvicorn's own waits for ever, and counts who says nothing among those it serves.
    """

    _heard_at = 0.0
    _watching: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Take the line, unless this address has enough of them."""
        super().connection_made(transport)
        lines = [one for one in self.connections if isinstance(one, Line) and one.address == self.address]
        if len(lines) > MOST_OF_ONE:
            transport.abort()
            return
        self._heard_at = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch it no longer."""
        if self._watching is not None:
            self._watching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Go on with the request; a head that comes in drops does not begin anew with each."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._heard_at = self.loop.time()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._heard_at = self.loop.time()

    def _watch(self) -> None:
        is_waited_for = self.conn.their_state in {h11.IDLE, h11.SEND_BODY} and not self.flow.read_paused
        left_s = self._heard_at + PATIENCE_S - self.loop.time() if is_waited_for else PATIENCE_S
        if left_s > 0:
            self._watching = self.loop.call_later(left_s, self._watch)
        else:
            self.transport.close()

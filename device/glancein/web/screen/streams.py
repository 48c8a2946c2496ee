"""Answers that never end: a mailbox, emptied into one connection until either side has had enough."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from starlette.responses import Response

from glancein.adapters.screen_web import Mailbox
from glancein.web.security import Receive, Scope, Send

SEND_PATIENCE_S = 5.0  # a page that takes nothing for so long is dropped


class MailboxStream(Response):
    """Sends ``first`` and then whatever comes into the mailbox that ``open_box`` makes.

    The mailbox is opened when the answer begins and closed when the page goes away, is too slow, or the
    server ends. A page that was dropped comes back by itself.
    """

    def __init__(self, open_box: Callable[[], Mailbox], media_type: str, first: Callable[[], bytes]) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._open_box = open_box
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Stream until the page leaves or falls behind."""
        box = self._open_box()
        leaving = asyncio.create_task(_close_when_gone(receive, box))
        try:
            with contextlib.suppress(TimeoutError, OSError):
                await self._stream(box, send)
        finally:
            leaving.cancel()
            box.close()

    async def _stream(self, box: Mailbox, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        body = self._first()
        while True:
            async with asyncio.timeout(SEND_PATIENCE_S):
                await send({"type": "http.response.body", "body": body, "more_body": True})
            message = await box.take()
            if message is None:
                break
            body = message.data
        async with asyncio.timeout(SEND_PATIENCE_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _close_when_gone(receive: Receive, box: Mailbox) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    box.close()

"""What the screen's routes work with, and the pulse that tells every page each second how the kiosk is."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette

from glancein.adapters.passes_sqlite import SqlitePasses
from glancein.adapters.screen_web import Message, WebScreen, message
from glancein.kiosk import Kiosk
from glancein.ports import Clock
from glancein.punch_clock import PunchClock
from glancein.settings import Settings
from glancein.web.screen.preview import Preview

PULSE_S = 1.0
BLIND_AFTER_S = 3.0  # without a picture for so long, the page says so


@dataclass(frozen=True, slots=True)
class Condition:
    """How the kiosk is, in what a page needs to know."""

    camera: bool
    feed: bool
    backlog: int


@dataclass(frozen=True, slots=True)
class ScreenParts:
    """The parts. ``boot`` is another one for each start, so that a page knows that it is out of date."""

    screen: WebScreen
    preview: Preview
    punches: PunchClock
    passes: SqlitePasses
    clock: Clock
    settings: Settings
    condition: Callable[[], Condition]
    boot: str = field(default_factory=lambda: secrets.token_hex(8))

    def hello(self) -> bytes:
        """What a page gets first: the pulse, and the answer that is up."""
        return b"".join(said.data for said in (self.pulse(), *self.screen.standing()))

    def pulse(self) -> Message:
        """Time and state, for the clock and the watchdog of the page."""
        now, state = self.clock.now(), self.condition()
        return message(
            "pulse",
            {
                "boot": self.boot,
                "now": now.wall.isoformat(timespec="milliseconds"),
                "camera": state.camera,
                "feed": state.feed,
                "backlog": state.backlog,
                "unrecorded": self.screen.unrecorded,
            },
            passing=True,
        )

    @contextlib.asynccontextmanager
    async def beating(self, _app: Starlette) -> AsyncIterator[None]:
        """The lifespan of the application: a pulse each second while it serves."""
        heart = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            heart.cancel()

    def let_go(self) -> None:
        """End every stream."""
        self.screen.pages.close()
        self.preview.close()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            if len(self.screen.pages):
                self.screen.pages.send(self.pulse())


def condition_of(kiosk: Kiosk) -> Condition:
    """How a running kiosk is."""
    state = kiosk.feed_state()
    backlog = state.get("backlog")
    return Condition(
        camera=kiosk.sees_within(BLIND_AFTER_S),
        feed=bool(state.get("connected")),
        backlog=backlog if isinstance(backlog, int) else 0,
    )

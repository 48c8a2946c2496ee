"""Looking after the embedder beside a running kiosk: renew the gallery, then hand over the new network."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from glancein import renewal, wiring
from glancein.adapters.embedder_tflite import TfliteEmbedder
from glancein.adapters.model_store import try_out
from glancein.errors import ModelError
from glancein.kiosk import Heir, Kiosk
from glancein.pipeline import Pipeline
from glancein.wiring import Home

if TYPE_CHECKING:
    from glancein.adapters.people_sqlite import SqlitePeople

LOOK_S = 2.0
LONGEST_PAUSE_S = 60.0
_log = logging.getLogger(__name__)


def renew_gallery(home: Home) -> renewal.Renewal | None:
    """Give everybody a template of the pending embedder and switch to it; None if another process does so.

    Without a pending one, of the embedder in use. Raises ModelError, StoreError.
    """
    store = wiring.model_store(home, "embedder")
    with store.alone() as mine, closing(wiring.open_people(home)) as people:
        if not mine:
            return None
        return renewal.renew(store, people, opener=open_proved, now=lambda: datetime.now(UTC))


def open_proved(bundle: Path) -> TfliteEmbedder:
    """The embedder of a bundle that has passed its trial in a process of its own. Raises ModelError."""
    try_out(bundle, "embedder")
    return TfliteEmbedder(bundle)


class ModelWatch:
    """Has what is due renewed in a process of its own, and gives the kiosk what has come into use."""

    def __init__(self, home: Home, people: SqlitePeople, kiosk: Kiosk, *, look_s: float = LOOK_S) -> None:
        self._home, self._people, self._kiosk = home, people, kiosk
        self._store = wiring.model_store(home, "embedder")
        self._look_s = look_s
        self._stop = threading.Event()
        self._tried = ""  # what was started last; not again until something changes
        self._failed = ""  # the embedder in use that did not open
        self._thread = threading.Thread(target=self._run, name="model-watch")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End, and with it a renewal that is under way; it goes on at the next start."""
        self._stop.set()
        self._thread.join()

    def look(self) -> bool:
        """One round; False if what is due is to be tried again.

        Raises ModelError if the embedder that has come into use does not open.
        """
        due = self._due()
        if due and due != self._tried:
            self._tried = due
            if self._renew_beside() != renewal.SOMEBODY_LEFT and self._due() == due:
                self._tried = ""  # the database was locked, another process was at it, or it was killed
        in_use = wiring.embedder_sha256(self._home)
        if in_use not in {None, self._kiosk.eye.model_sha256, self._failed}:
            self._failed = in_use or ""
            self._hand_over(self._store.folder())
            self._failed = ""
        return not due or due == self._tried

    def _due(self) -> str:
        """What there is to renew, as a text that changes when it does; empty if nothing."""
        waiting, in_use = self._store.pending(), wiring.embedder_sha256(self._home)
        lacking = self._people.lacking(in_use) if in_use else []
        return f"{waiting} {in_use} {lacking}" if waiting or lacking else ""

    def _renew_beside(self) -> int:
        """Run ``glancein models renew``; its exit code."""
        command = [sys.executable, "-m", "glancein", "models", "renew", "--data", str(self._home.folder)]
        _log.info("renewing the gallery")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:  # noqa: S603  # our own program
            while child.poll() is None:
                if self._stop.wait(0.2):
                    child.terminate()
                    child.wait()
        return child.returncode

    def _hand_over(self, bundle: Path) -> None:
        eye = self._kiosk.eye
        if not isinstance(eye, Pipeline):
            return
        try_out(bundle, "embedder")
        threads = wiring.threads_for(self._home, bundle, measured=True)
        embedder = TfliteEmbedder(bundle, threads=threads)
        settings = self._home.settings
        self._kiosk.hand_over(
            Heir(
                replace(eye, embedder=embedder),
                lambda people: wiring.limits_of(embedder.card, people, settings),
            )
        )

    def _run(self) -> None:
        pause_s = self._look_s
        while not self._stop.wait(pause_s):
            try:
                pause_s = self._look_s if self.look() else min(2 * pause_s, LONGEST_PAUSE_S)
            except ModelError as err:
                _log.warning("the kiosk stays with its embedder: %s", err)
            except Exception:  # noqa: BLE001  # the top of a loop: the kiosk goes on with what it has
                _log.exception("the models cannot be looked after")
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

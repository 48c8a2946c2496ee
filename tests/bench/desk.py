"""What 30 people at the desk with live pages cost recognition in the same process.

python -m tests.bench.desk [--users 30] [--rounds 6]      limit: 10 % of recognition's speed

Each page holds the stream of events open and loads the list of people again as the page's script does.
Somebody punches every five seconds; 200 people are enrolled. Blocks with and without users take turns, the
median of the pairs counts; beside it the processor's time that the desk took. On a machine that is busy with
something else the speeds say nothing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tests.web.desk.office import Office, open_office

from glancein import wiring
from glancein.domain.gallery import gather
from glancein.pipeline import Pipeline
from glancein.scenes import moving
from glancein.types import Direction, Frame, Limits, Pixels
from glancein.web.access import Role
from glancein.web.app import Address, WebServer
from glancein.web.security import SESSION_COOKIE

LIMIT = 0.10
PEOPLE, PUNCH_EVERY_S, BLOCK_S, WARM_UP_S = 200, 5.0, 10.0, 3.0
# One process for all users: a thread for each stream; a page is loaded again 20 to 30 s after it was.
USERS = """
import random, sys, threading, time, urllib.request
url, cookie, users = sys.argv[1], sys.argv[2], int(sys.argv[3])
def ask(path):
    return urllib.request.urlopen(urllib.request.Request(url + path, headers={"cookie": cookie}), timeout=60)
def page():
    ask("/").read()
    stream, next_load = ask("/api/v1/stream"), time.monotonic() + random.uniform(0, 30)
    while line := stream.readline():
        if line.startswith(b"data:") and time.monotonic() > next_load:
            ask("/").read()
            next_load = time.monotonic() + random.uniform(20, 30)
for _ in range(users):
    threading.Thread(target=page, daemon=True).start()
    time.sleep(0.03)
print("open", flush=True)
sys.stdin.read()
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code says whether the limit was kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (office, url):
        session = office.someone(Role.HR).client.cookies[SESSION_COOKIE]
        cookie = f"{SESSION_COOKIE}={session}"
        look = looker(office)
        alone: list[tuple[float, float]] = []
        watched: list[tuple[float, float]] = []
        for _ in range(args.rounds):
            alone.append(block(office, look))
            with users(url, cookie, args.users):
                time.sleep(WARM_UP_S)
                watched.append(block(office, look))
    return report(alone, watched, args.users)


def report(alone: list[tuple[float, float]], watched: list[tuple[float, float]], count: int) -> int:
    """Print what it costs; 1 if it is too much."""
    pairs = zip(alone, watched, strict=True)
    cost = statistics.median(1 - with_[0] / without[0] for without, with_ in pairs)
    base = statistics.median(speed for speed, _ in alone)
    desk = statistics.median(s for _, s in watched) - statistics.median(s for _, s in alone)
    print(f"{base:.1f} looks/s alone; {count} desk users cost {100 * cost:.1f} % (limit {100 * LIMIT:.0f} %)")
    print(f"the desk took {100 * desk:.1f} % of one core")
    return int(cost > LIMIT)


class Looker:
    """Recognition as fast as it goes, in a thread like the kiosk's."""

    def __init__(self, office: Office) -> None:
        home = office.desk.home
        recogniser = wiring.open_recogniser(home)
        self._eye: Pipeline = wiring.pipeline_of(recogniser, home.settings)
        self._gallery = gather(office.desk.people.templates(recogniser.embedder.model_sha256))
        self._limits: Limits = recogniser.limits_for(PEOPLE, home.settings)
        self._frames: list[Pixels] = list(moving("obama2.jpg", 8, np.random.default_rng(1)))

    def run(self, seconds: float) -> tuple[int, float]:
        """How many looks, and the processor's seconds they took in this thread."""
        ends, cpu, count = time.monotonic() + seconds, time.thread_time(), 0
        while time.monotonic() < ends:
            pixels = self._frames[count % len(self._frames)]
            self._eye.look(Frame(pixels, time.monotonic(), count), self._gallery, self._limits)
            count += 1
        return count, time.thread_time() - cpu


def looker(office: Office) -> Looker:
    """A warm one."""
    made = Looker(office)
    made.run(1.0)
    return made


def block(office: Office, look: Looker) -> tuple[float, float]:
    """Looks a second, and the share of a core that the process took beside recognition."""
    stop = threading.Event()

    def punch() -> None:
        number = 0
        while not stop.wait(PUNCH_EVERY_S):
            office.punch(f"E{number % PEOPLE}", Direction.IN)
            number += 1

    thread = threading.Thread(target=punch, daemon=True)
    thread.start()
    began, cpu = time.monotonic(), time.process_time()
    count, mine = look.run(BLOCK_S)
    elapsed, used = time.monotonic() - began, time.process_time() - cpu
    stop.set()
    thread.join()
    return count / elapsed, (used - mine) / elapsed


@contextmanager
def served(folder: Path) -> Iterator[tuple[Office, str]]:
    """A desk with its company."""
    office = open_office(folder)
    office.model = wiring.embedder_sha256(office.desk.home) or ""
    for number in range(PEOPLE):
        office.person(f"E{number}", f"Person {number}", seed=number + 1)
    server = WebServer(office.app, Address())
    server.start()
    try:
        yield office, server.url
    finally:
        server.stop()
        office.desk.close()


@contextmanager
def users(url: str, cookie: str, count: int) -> Iterator[None]:
    """So many open pages, in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", USERS, url, cookie, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        if process.stdout is None or process.stdout.readline() != "open\n":
            raise RuntimeError("the users did not come")
        yield
        process.terminate()


if __name__ == "__main__":
    sys.exit(main())

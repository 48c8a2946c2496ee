"""Kill -9 at any moment.

Every check-in that was shown is in the database and reaches the feed exactly once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.device.brokers import Mosquitto
from tests.faults.consumer import follow
from tests.faults.history import Name, Verdict, bound, check
from tests.faults.kiosk_writer import deliver, work
from tests.faults.processes import Victim

from glancein.adapters.broker_embedded import EmbeddedBroker

KILLS = 30
DRAINED_WITHIN_S = 90.0
pytestmark = pytest.mark.faults


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker in this process, which is not killed."""
    broker = EmbeddedBroker()
    broker.start()
    yield broker
    broker.stop()


def test_kiosk_killed_at_random_loses_nothing_it_showed(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    """Thirty kills at random moments of recording and publishing; the consumer comes afterwards."""
    rng = random.Random(20260302)
    database = tmp_path / "door.db"
    kiosk = Victim(work, str(database), embedded.url, 0.0)
    for _ in range(KILLS):
        kiosk.start()
        kiosk.listen_for(rng.uniform(0.0, 0.5))
        kiosk.kill()

    verdict, drained_s = _drain([kiosk], [database], tmp_path / "feed.db", embedded.url)

    ready = sorted(kiosk.ready_after_s)[int(0.95 * KILLS)]
    print(f"\n{verdict}\ndrained in {drained_s:.1f} s, ready again in {ready:.2f} s (p95), {bound(KILLS)}")
    assert verdict.valid
    assert verdict.shown > KILLS


@pytest.mark.broker
def test_broker_consumer_and_kiosks_killed_at_random_lose_nothing(mosquitto: str, tmp_path: Path) -> None:
    """A lossy broker, a consumer and two kiosks are killed over and over; then everything is compared."""
    _random_kills(mosquitto, tmp_path, seed=1, kills=16)


@pytest.mark.broker
@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(2, 22))
def test_broker_consumer_and_kiosks_killed_many_times(mosquitto: str, tmp_path: Path, seed: int) -> None:
    """The long tier of the test above."""
    _random_kills(mosquitto, tmp_path, seed=seed, kills=24)


def _random_kills(mosquitto: str, folder: Path, *, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    broker = Mosquitto(mosquitto, folder)
    broker.start()
    ledgers = [folder / "door.db", folder / "gate.db"]
    kiosks = [Victim(work, str(path), broker.url, 0.02) for path in ledgers]
    consumer = Victim(follow, str(folder / "feed.db"), broker.url)
    targets: list[Mosquitto | Victim] = [broker, consumer, *kiosks]
    for victim in (consumer, *kiosks):
        victim.start()
    for _ in range(kills):
        for victim in (consumer, *kiosks):
            victim.listen_for(rng.uniform(0.0, 0.2))
        target = rng.choice(targets)
        target.kill()
        time.sleep(rng.uniform(0.0, 0.2))
        target.start()
    for victim in (consumer, *kiosks):
        victim.kill()

    verdict, drained_s = _drain(kiosks, ledgers, folder / "feed.db", broker.url)

    broker.kill()
    print(f"\nseed {seed}: {verdict}\ndrained in {drained_s:.1f} s, {bound(kills)}")
    assert verdict.valid


def _drain(kiosks: Sequence[Victim], ledgers: Sequence[Path], feed: Path, url: str) -> tuple[Verdict, float]:
    """After the last fault, kiosks that only deliver and a consumer: how long until all is well."""
    shown: set[Name] = {
        (path.stem, epoch, seq)
        for kiosk, path in zip(kiosks, ledgers, strict=True)
        for what, epoch, seq in kiosk.said
        if what == "shown"
    }
    helpers = [Victim(follow, str(feed), url), *(Victim(deliver, str(path), url) for path in ledgers)]
    for helper in helpers:
        helper.start()
    began = time.monotonic()
    verdict = _eventually(lambda: check(shown, ledgers, feed), helpers)
    drained_s = time.monotonic() - began
    for helper in helpers:
        helper.kill()
    return verdict, drained_s


def _eventually(look: Callable[[], Verdict], helpers: Sequence[Victim]) -> Verdict:
    deadline = time.monotonic() + DRAINED_WITHIN_S
    while not (verdict := look()).valid and time.monotonic() < deadline:
        for helper in helpers:  # whoever is not listened to stops when its pipe is full, after 950 words
            helper.listen_for(0.1)
    return verdict

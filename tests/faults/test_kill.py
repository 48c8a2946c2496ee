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
from tests.faults import baseline
from tests.faults.consumer import follow
from tests.faults.history import Name, Verdict, bound, check
from tests.faults.kiosk_writer import deliver, work
from tests.faults.processes import Victim
from tests.faults.promises import Promises

from glancein.adapters.broker_embedded import EmbeddedBroker

KILLS = 30
DRAINED_WITHIN_S = 300.0  # a machine that does other things as well is no reason to fail
SETTLED_S = 2.0
KILLED = "broker, consumer, kiosks killed -9 at random, lossy broker: no loss, gap or duplicate (kills)"
BRIDGED = "the same over two bridged brokers (kills)"
ARRIVED = "the same, counted in events"
BASELINE = "for comparison, the same kills: delete on PUBACK (events)"
BRIDGE = """\
connection office
address 127.0.0.1:{port}
bridge_protocol_version mqttv50
topic glancein/v1/+/+/event out 1
topic glancein/v1/+/+/batch out 1
topic glancein/v1/+/+/state out 1
topic glancein/v1/+/+/ack in 1
topic glancein/v1/+/+/refuse in 1
topic glancein/v1/+/+/resend in 1
topic baseline/event out 1
notifications false
try_private false
restart_timeout 1 1
"""
pytestmark = pytest.mark.faults


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker in this process, which is not killed."""
    broker = EmbeddedBroker()
    broker.start()
    yield broker
    broker.stop()


def test_kiosk_killed_at_random_loses_nothing_it_showed(
    embedded: EmbeddedBroker, tmp_path: Path, promises: Promises
) -> None:
    """Thirty kills at random moments of recording and publishing; the consumer comes afterwards."""
    rng = random.Random(20260302)
    database = tmp_path / "door.db"
    kiosk = Victim(work, str(database), embedded.url, 0.0)
    for _ in range(KILLS):
        kiosk.start()
        kiosk.listen_for(rng.uniform(0.0, 0.5))
        kiosk.kill()

    verdict, drained_s = _drain([kiosk], [database], tmp_path / "feed.db", (embedded.url, embedded.url))

    ready = sorted(kiosk.ready_after_s)[int(0.95 * KILLS)]
    print(f"\n{verdict}\ndrained in {drained_s:.1f} s, ready again in {ready:.2f} s (p95), {bound(KILLS)}")
    promises.record(KILLED, trials=KILLS, failures=verdict.broken)
    assert verdict.valid
    assert verdict.shown > KILLS


@pytest.mark.broker
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.heavy) for n in range(2, 23))])
def test_broker_consumer_and_kiosks_killed_at_random_lose_nothing(
    mosquitto: str, tmp_path: Path, promises: Promises, seed: int
) -> None:
    """A lossy broker, a consumer and two kiosks are killed over and over; then everything is compared.

    A gateway that deletes on PUBACK, and its subscriber, are killed at the same moments, for comparison.
    """
    broker = Mosquitto(mosquitto, tmp_path)
    broker.start()
    _random_kills(tmp_path, promises, [broker], seed=seed, kills=16 if seed == 1 else 24)


@pytest.mark.broker
@pytest.mark.parametrize("seed", [101, *(pytest.param(n, marks=pytest.mark.heavy) for n in range(102, 106))])
def test_the_same_with_kiosks_and_consumer_at_two_bridged_brokers(
    mosquitto: str, tmp_path: Path, promises: Promises, seed: int
) -> None:
    """The kiosks' broker passes on to the consumer's; both are killed too."""
    (tmp_path / "branch").mkdir()
    office = Mosquitto(mosquitto, tmp_path)
    bridge = BRIDGE.format(port=office.port)
    branch = Mosquitto(mosquitto, tmp_path / "branch", settings=f"allow_anonymous true\n{bridge}")
    for broker in (office, branch):
        broker.start()
    _random_kills(tmp_path, promises, [office, branch], seed=seed, kills=8 if seed == 101 else 24)


def _random_kills(
    tmp_path: Path, promises: Promises, brokers: Sequence[Mosquitto], *, seed: int, kills: int
) -> None:
    """The consumer is at the first broker, the kiosks are at the last."""
    longest_s = 0.4 if kills == 24 else 0.1
    rng = random.Random(seed)
    office, branch = brokers[0].url, brokers[-1].url
    ours, theirs = _ours(tmp_path, office, branch), _theirs(tmp_path, office, branch)
    for victim in (*ours, *theirs):
        victim.start()
    for _ in range(kills):
        for victim in (*ours, *theirs):
            victim.listen_for(rng.uniform(0.0, longest_s))
        _kill_one(rng, brokers, list(zip(ours, theirs, strict=False)), ours[-1])
    for victim in (*ours, *theirs):
        victim.kill()

    ledgers = [tmp_path / "door.db", tmp_path / "gate.db"]
    verdict, drained_s = _drain(ours[1:], ledgers, tmp_path / "feed.db", (office, branch))
    recorded, lost = _baseline(tmp_path, office, branch)

    for broker in brokers:
        broker.kill()
    beside = f"delete on PUBACK lost {lost} of {recorded}"
    print(f"\nseed {seed}: {verdict}\ndrained in {drained_s:.1f} s, {bound(kills)}; {beside}")
    promises.record(BRIDGED if office != branch else KILLED, trials=kills, failures=verdict.broken)
    promises.record(ARRIVED, trials=verdict.recorded, failures=verdict.broken)
    promises.record(BASELINE, trials=recorded, failures=lost)
    assert verdict.valid


def _ours(folder: Path, office: str, branch: str) -> list[Victim]:
    """The consumer and two kiosks."""
    kiosks = [Victim(work, str(folder / f"{name}.db"), branch, 0.02) for name in ("door", "gate")]
    return [Victim(follow, str(folder / "feed.db"), office), *kiosks]


def _theirs(folder: Path, office: str, branch: str) -> list[Victim]:
    """The subscriber and the gateway that deletes on PUBACK."""
    return [
        Victim(baseline.follow, str(folder / "their-feed.db"), office),
        Victim(baseline.work, str(folder / "their-door.db"), branch, 0.02),
    ]


def _kill_one(
    rng: random.Random, brokers: Sequence[Mosquitto], pairs: Sequence[tuple[Victim, Victim]], alone: Victim
) -> None:
    """A broker, one of the pairs, or the kiosk that has none to compare with: dead for a moment."""
    targets: list[tuple[Mosquitto | Victim, ...]] = [*((broker,) for broker in brokers), *pairs, (alone,)]
    dead = rng.choice(targets)
    for target in dead:
        target.kill()
    time.sleep(rng.uniform(0.0, 0.2))
    for target in dead:
        target.start()


def _baseline(folder: Path, office: str, branch: str) -> tuple[int, int]:
    """What the gateway recorded, and what of it never came although it is not waiting either."""
    feed, outbox = folder / "their-feed.db", folder / "their-door.db"
    helpers = [Victim(baseline.follow, str(feed), office), Victim(baseline.deliver, str(outbox), branch)]
    for helper in helpers:
        helper.start()
    deadline = time.monotonic() + DRAINED_WITHIN_S
    while baseline.waiting_in(outbox) and time.monotonic() < deadline:
        time.sleep(0.1)
    before = -1
    while (arrived := len(baseline.events_in(feed))) != before and time.monotonic() < deadline:
        before = arrived
        time.sleep(SETTLED_S)
    recorded = baseline.events_in(outbox)
    lost = recorded - baseline.events_in(feed) - baseline.waiting_in(outbox)
    for helper in helpers:
        helper.kill()
    return len(recorded), len(lost)


def _drain(
    kiosks: Sequence[Victim], ledgers: Sequence[Path], feed: Path, urls: tuple[str, str]
) -> tuple[Verdict, float]:
    """After the last fault, kiosks that only deliver and a consumer: how long until all is well."""
    shown: set[Name] = {
        (path.stem, epoch, seq)
        for kiosk, path in zip(kiosks, ledgers, strict=True)
        for what, epoch, seq in kiosk.said
        if what == "shown"
    }
    attempts = sum(what == "attempt" for kiosk in kiosks for what, _, _ in kiosk.said)
    office, branch = urls
    helpers = [Victim(follow, str(feed), office), *(Victim(deliver, str(path), branch) for path in ledgers)]
    for helper in helpers:
        helper.start()
    began = time.monotonic()
    verdict = _eventually(lambda: check(shown, ledgers, feed, attempts=attempts), helpers)
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

"""Every order of punches, losses, repeats, crashes and old copies: what was shown is never lost.

A state machine (hypothesis) drives the real ledger, publisher, feed and store over a network in memory.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections import Counter, deque
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.contract.fake_broker import URL
from tests.device.punches import check_in, moment
from tests.faults.promises import Promises
from tests.faults.stage import Actor, Table

from glancein.adapters import feed_mqtt, publisher_mqtt
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, Delivery, MqttPublisher, PublisherRules
from glancein.domain import intake, wire
from glancein.mqtt import dispatch
from glancein.mqtt.link import Message
from glancein.types import CheckIn, Moment

ADDRESS = Address(URL, "hq", "door")
ROUNDS = 400  # of help at the end, until all is delivered
CARRIED = 20_000  # messages in one of them
pytestmark = pytest.mark.faults


def sealed(own: str) -> wire.Seal:
    """Signatures that only who knows the word can make; fast, and as strict as real ones."""

    def signature(core: bytes, word: str) -> str:
        return hashlib.sha256(word.encode() + core).hexdigest()

    return wire.Seal(
        sign=lambda core: signature(core, own),
        verify=lambda whose, core, given: given == signature(core, whose),
    )


class StillClock:
    """Always noon."""

    def now(self) -> Moment:
        """The same moment every time."""
        return moment()


class Story(RuleBasedStateMachine):
    """One kiosk, one consumer, one careless broker."""

    delivery = Delivery.CONSUMER

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a fresh folder inside
        self.folder = Path(tempfile.mkdtemp(dir=memory))
        self.card, self.copy = self.folder / "card", self.folder / "copy"
        self.card.mkdir()
        self.table = Table()
        self.shown: set[str] = set()
        self.excused: set[str] = set()  # on a card that is no more, and never sent
        self.at_copy: set[str] = set()
        self.number = 0
        self.steps = 0

    @initialize()
    def begin(self) -> None:
        """Both programs run."""
        self.start_kiosk()
        self.start_consumer()

    def start_kiosk(self) -> None:
        """Open the ledger and publish."""
        self.ledger = SqliteLedger(self.card / "door.db", site="hq", kiosk="door")
        rules = PublisherRules(
            delivery=self.delivery,
            ack_timeout_s=1e9,
            backoff_s=1e-9,
            longest_s=1e9,
            window=4,  # more waiting ones come in batches
            seal=sealed(wire.kiosk_name("hq", "door")),
        )

        def work(actor: Actor) -> None:
            connect = self.table.connect(actor)
            self.publisher = MqttPublisher(
                ADDRESS, self.ledger, clock=StillClock(), rules=rules, connect=connect
            )
            self.publisher._run()

        self.kiosk = Actor(work)

    def start_consumer(self) -> None:
        """Open the store and follow."""
        rules = FeedRules(consumer="hr", seal=sealed(wire.CONSUMER))

        def work(actor: Actor) -> None:
            with closing(SqliteFeedStore(self.folder / "feed.db")) as store:
                feed = Feed(
                    URL, store=store, rules=rules, connect=self.table.connect(actor), on_error=lambda _: None
                )
                for _ in feed:
                    pass

        self.consumer = Actor(work)

    @rule(count=st.integers(1, 3))
    def punch(self, count: int) -> None:
        """People come; the thanks is shown after the commit."""
        for _ in range(count):
            self.number += 1
            self.ledger.record(check_in(f"E{self.number}", at=moment(self.number)))
            self.shown.add(f"E{self.number}")
        self.publisher.wake()

    @rule()
    def let_the_kiosk_work(self) -> None:
        """One turn of the publisher."""
        self.kiosk.hand([])

    @rule(index=st.integers(0, 3), count=st.integers(1, 8))
    def carry(self, index: int, count: int) -> None:
        """Some of what is under way arrives, not always in order."""
        for _ in range(count):
            if self.table.under_way:
                self.table.carry(min(index, len(self.table.under_way) - 1))

    @rule(index=st.integers(0, 5))
    def lose(self, index: int) -> None:
        """One thing vanishes, be it a message or the answer to one."""
        if self.table.under_way:
            self.table.under_way.pop(min(index, len(self.table.under_way) - 1))

    @rule(index=st.integers(0, 5))
    def repeat(self, index: int) -> None:
        """One thing arrives, and will arrive again."""
        if self.table.under_way:
            self.table.carry(min(index, len(self.table.under_way) - 1), again=True)

    @rule(whose=st.sampled_from(["kiosk", "consumer"]))
    def cut(self, whose: str) -> None:
        """A cable is pulled; the program connects again."""
        self.table.cut(self.kiosk if whose == "kiosk" else self.consumer)

    @rule()
    def kill_the_broker(self) -> None:
        """It forgets everything it had acknowledged."""
        self.table.forget()
        self.table.cut(self.kiosk)
        self.table.cut(self.consumer)
        self.table.under_way.clear()

    @rule(after=st.integers(-1, 3))
    def kill_the_kiosk(self, after: int) -> None:
        """At once, or between two messages of its next turn."""
        if after >= 0:
            self.kiosk.publishes_left = after
            self.kiosk.hand([])
        self.end(self.kiosk)
        self.ledger.close()
        self.start_kiosk()

    @rule(after=st.integers(0, 2), count=st.integers(1, 6))
    def kill_the_consumer(self, after: int, count: int) -> None:
        """After so many more messages: with 0, between its commit and its acknowledgement."""
        self.consumer.publishes_left = after
        for _ in range(count):
            mine = [i for i, (link, _) in enumerate(self.table.under_way) if link is self.consumer.link]
            if mine and not self.consumer.is_dead:
                self.table.carry(mine[0])
        self.end(self.consumer)
        self.start_consumer()

    @rule(up_to=st.integers(1, 50), signed=st.booleans())
    def forge_an_acknowledgement(self, up_to: int, *, signed: bool) -> None:
        """Unsigned ones, and signed ones that speak of the future."""
        position = self.ledger.position()
        ack = wire.Acknowledgement(position.epoch, position.seq + up_to if signed else up_to)
        payload = wire.encode_acknowledgement(ack, signer=sealed(wire.CONSUMER).sign if signed else None)
        self.kiosk.hand([Message(wire.topic("hq", "door", "ack"), payload)])

    @rule()
    def copy_the_card(self) -> None:
        """Somebody makes an image of the card."""
        self.end(self.kiosk)
        self.ledger.close()
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.card, self.copy)
        self.at_copy = set(self.shown)
        self.start_kiosk()

    @rule(whole=st.booleans())
    def put_the_copy_back(self, *, whole: bool) -> None:
        """The whole card, or only its database: then the second copy is newer and loses nothing."""
        if not self.copy.exists():
            return
        self.end(self.kiosk)
        self.ledger.close()
        if whole:
            self.excused |= self.shown - self.at_copy - set(self.delivered())
            shutil.rmtree(self.card)
            shutil.copytree(self.copy, self.card)
        else:
            for old in self.card.glob("door.db-*"):
                if old.name in {"door.db-wal", "door.db-shm"}:
                    old.unlink()
            shutil.copy(self.copy / "door.db", self.card / "door.db")
        self.start_kiosk()

    @invariant()
    def everybody_waits_here_or_has_arrived_once(self) -> None:
        """At every moment: nobody is lost, nobody came twice, nobody came out of nothing."""
        self.steps += 1
        if not hasattr(self, "consumer"):
            return
        delivered = self.delivered()
        assert all(count == 1 for count in delivered.values())
        assert set(delivered) <= self.shown
        assert self.shown - self.excused <= self.waiting() | set(delivered)

    def waiting(self) -> set[str]:
        """Whom the kiosk still has to tell of."""
        bodies = [event.body for event in self.ledger.pending(10_000)]
        return {body.person_id for body in bodies if isinstance(body, CheckIn)}

    def delivered(self) -> Counter[str]:
        """Whom HR has, and how often."""
        if not (self.folder / "feed.db").exists():
            return Counter()
        with closing(sqlite3.connect(self.folder / "feed.db")) as database:
            return Counter(row[0] for row in database.execute("SELECT person_id FROM checkins"))

    def end(self, actor: Actor) -> None:
        """Kill it; its connection dies with it."""
        actor.kill()
        self.table.under_way = [(link, what) for link, what in self.table.under_way if link.is_up]

    def teardown(self) -> None:
        """The network behaves from now on, and in the end everything has arrived and nothing waits."""
        try:
            if hasattr(self, "consumer"):
                self.settle()
                left = self.ledger.pending(10_000)
                missing = self.shown - self.excused - set(self.delivered())
                assert (left, missing) == ([], set())
        finally:
            for name in ("kiosk", "consumer"):
                if hasattr(self, name):
                    getattr(self, name).kill()
            if hasattr(self, "ledger"):
                self.ledger.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def settle(self) -> None:
        """Carry everything; connect anew now and then, as back-off and time-outs would."""
        for number in range(ROUNDS):
            if not self.ledger.pending(1):
                return
            if number % 20 == 0:
                self.table.cut(self.kiosk)
            self.kiosk.hand([])
            self.deliver()

    def deliver(self) -> None:
        """Carry what is under way, and what comes of that, until nobody has anything more to say."""
        last: deque[object] = deque(maxlen=8)
        for _ in range(CARRIED):
            if not self.table.under_way:
                return
            last.append(self.table.under_way[0][1])
            self.table.carry(0)
        raise AssertionError(f"they never fall silent: {list(last)}")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time does not pass on the stage: whatever is done now and then is done at every turn."""
    monkeypatch.setattr(intake, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(feed_mqtt, "BACKOFF_S", 0.0)
    monkeypatch.setattr(publisher_mqtt, "STEADY_S", 0.0)
    monkeypatch.setattr(publisher_mqtt, "STATE_EVERY_S", 0.0)
    monkeypatch.setattr(dispatch, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(dispatch, "BATCH_REST_S", 0.0)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("examples", "steps"), [(30, 30), pytest.param(400, 50, marks=pytest.mark.heavy)], ids=["short", "long"]
)
def test_every_order_of_faults_keeps_what_was_shown(promises: Promises, examples: int, steps: int) -> None:
    """Held after every single step, and at the end of every story."""
    done = told(Story, settings(max_examples=examples, stateful_step_count=steps))

    print(f"\n{dict(done)}")
    promises.record(
        "any order of punch, loss, repeat, crash, old copy, forgery: nothing lost, nothing twice (stories)",
        trials=done["stories"],
        failures=0,
        note=f"{done['steps']:,} steps, {done['punches']:,} punches",
    )
    assert done["stories"] >= examples


@pytest.mark.usefixtures("no_waiting")
def test_the_same_stories_find_what_delete_on_puback_loses() -> None:
    """The proof of the proof: a publisher that believes the broker does not get through them."""

    class Believing(Story):
        delivery = Delivery.PUBACK

    with pytest.raises((AssertionError, ExceptionGroup)):
        told(Believing, settings(max_examples=200, phases=[Phase.generate], report_multiple_bugs=False))


def told(stories: type[Story], how: settings) -> Counter[str]:
    """Run the machine; how many stories, steps and punches there were."""
    done = Counter[str]()

    class Counted(stories):  # type: ignore[valid-type,misc]  # whichever machine is asked for
        def teardown(self) -> None:
            super().teardown()
            done.update(stories=1, steps=self.steps, punches=len(self.shown))

    run_state_machine_as_test(Counted, settings=settings(how, suppress_health_check=list(HealthCheck)))
    return done

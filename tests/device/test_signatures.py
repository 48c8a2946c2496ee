"""Signed events and acknowledgements: nothing forged, changed or foreign gets through."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.contract.fake_broker import URL, FakeBroker
from tests.contract.fake_ledger import FakeLedger
from tests.device.brokers import wait_until
from tests.device.postgres_server import PostgresServer
from tests.device.punches import EPOCH, check_in, event, moment
from tests.faults.promises import Promises

from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.keys_file import TrustedKeys, make_key, read_signer, read_trusted
from glancein.adapters.publisher_mqtt import Address, MqttPublisher, PublisherRules
from glancein.domain import wire
from glancein.domain.intake import Intake
from glancein.domain.strict_json import canonical
from glancein.errors import FeedError, SettingsError
from glancein.mqtt.link import Message
from glancein.storage.feed_tables import FeedTables
from glancein.types import Correction, Event, Moment, StreamKey, TimeFix, TroubleKind, Voided
from glancein.wiring import open_seal

MUTANTS = 1000
EVENTS = "mutated, replayed, foreign events: none accepted"
WORDS = "mutated, replayed, foreign {}: none believed, no row wrongly deleted"
DOOR = wire.kiosk_name("hq", "door")


@dataclass(frozen=True)
class Keys:
    """A kiosk, a consumer, a stranger, and whom the first two trust."""

    kiosk: wire.Signer
    consumer: wire.Signer
    stranger: wire.Signer
    verify: wire.Verifier
    trusted: Path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Fresh keys."""
    folder = tmp_path_factory.mktemp("keys")
    public = {name: make_key(folder / name) for name in ("kiosk", "gate", "consumer", "stranger")}
    trusted = folder / "trusted"
    trusted.write_text(
        f"# whom we trust\nkiosk hq/door {public['kiosk']}\nkiosk hq/gate {public['gate']}\n"
        f"consumer hr {public['consumer']}  # payroll\n"
    )
    signers = {name: read_signer(folder / name) for name in public}
    return Keys(signers["kiosk"], signers["consumer"], signers["stranger"], read_trusted(trusted), trusted)


class StillClock:
    """Always noon."""

    def now(self) -> Moment:
        """The same moment every time."""
        return moment()


def mutants(payload: bytes, count: int, *, others: list[bytes]) -> list[bytes]:
    """Changed copies.

    A byte flipped, a field changed, removed or taken from another message, a signature swapped.
    """
    rng = random.Random(7)
    made: list[bytes] = []
    body, other_bodies = json.loads(payload), [json.loads(other) for other in others]
    while len(made) < count:
        changed = dict(body)
        field = rng.choice(sorted(changed))
        match rng.randrange(5):
            case 0:
                flipped = bytearray(payload)
                flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
                made += [] if same_claim(bytes(flipped), payload) else [bytes(flipped)]
                continue
            case 1:
                changed.pop(field)
            case 2:
                changed[field] = rng.choice([None, "", "x", 0, 1, -1, [], {}, True])
            case 3:
                changed[field] = rng.choice(other_bodies).get(field, "none")
            case _:
                changed["extra"] = rng.random()
        mutant = canonical(changed)
        made += [] if same_claim(mutant, payload) else [mutant]
    return made


def same_claim(mutant: bytes, payload: bytes) -> bool:
    """True if both say the same under the same signature: only the unsigned name or the spelling differs."""
    try:
        return wire.payload_core(mutant) == wire.payload_core(payload)
    except FeedError:
        return False


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeedTables]:
    """Each store in turn, empty."""
    if request.param == "sqlite":
        file = SqliteFeedStore(tmp_path / "feed.db")
        yield file
        file.close()
        return
    server = PostgresServer()
    try:
        from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

        server.start()
        tables = PostgresFeedStore(server.dsn())
        yield tables
        tables.close()
    finally:
        server.remove()


def every_kind() -> list[Event]:
    """A check-in, a correction of it and a time fix, chained."""
    first = event()
    said = Correction(first.id, Voided(), "test", "hr-1", moment(60))
    second = replace(first, seq=2, previous_hash=wire.event_hash(first), body=said)
    third = replace(first, seq=3, previous_hash=wire.event_hash(second), body=TimeFix(moment(90), 1.0))
    return [first, second, third]


def test_no_mutated_event_is_accepted(keys: Keys, store: FeedTables, promises: Promises) -> None:
    """A thousand changed, re-signed, foreign or replayed events of every kind: none is stored, none twice."""
    events = every_kind()
    sent = [wire.encode_event(one, signer=keys.kiosk) for one in events]
    broker = FakeBroker()
    forged = [
        mutant
        for number, payload in enumerate(sent)
        for mutant in mutants(payload, MUTANTS // 3 + 1, others=sent[:number] + sent[number + 1 :])
    ]
    forged += [
        wire.encode_event(one, signer=s) for one in events for s in (keys.stranger, keys.consumer, None)
    ]
    door, gate = wire.topic("hq", "door", "event"), wire.topic("hq", "gate", "event")
    messages = [Message(door, payload) for payload in forged]
    messages += [Message(gate, payload) for payload in sent]  # one kiosk's events on another's topic
    messages += [Message(door, payload) for payload in sent * 20]  # and replayed
    feed = Feed(
        URL,
        store=store,
        rules=FeedRules(follow=False, idle_s=0.1, consumer="hr", seal=wire.Seal(keys.consumer, keys.verify)),
        connect=broker.connect,
    )
    first_turn: Callable[..., object] = feed._connect

    def connect(*arguments: object) -> object:
        made = first_turn(*arguments)
        for message in messages:
            broker.route(message)
        return made

    feed._connect = connect  # type: ignore[assignment]  # the events come right after subscribing
    received = [one.event for one in feed]
    stored = [parcel.event for parcel in store.after(0, 9999)]
    counted = feed.counts.of

    print(
        f"\n{len(messages)} forged, foreign or replayed events, accepted {len(stored) - 3}; {dict(counted)}"
    )
    promises.record(EVENTS, trials=len(messages), failures=abs(len(stored) - len(events)))
    assert received == stored == events
    assert counted[TroubleKind.FORGED] + counted[TroubleKind.UNREADABLE] + counted[TroubleKind.FOREIGN] == (
        len(forged) + len(sent)
    )
    assert (counted[TroubleKind.FOREIGN] >= len(sent), feed.counts.refused) == (True, 0)
    assert feed.counts.repeated == 19 * len(sent)


def waiting_five(keys: Keys) -> tuple[FakeLedger, FakeBroker, MqttPublisher]:
    """A kiosk with five check-ins nobody has acknowledged, its broker, and its publisher at work."""
    ledger, broker = FakeLedger(), FakeBroker()
    for number in range(5):
        ledger.record(check_in(f"E{number}", at=moment(number)))
    publisher = MqttPublisher(
        Address(URL, "hq", "door"),
        ledger,
        clock=StillClock(),
        rules=PublisherRules(ack_timeout_s=60, seal=wire.Seal(keys.kiosk, keys.verify)),
        connect=broker.connect,
    )
    publisher.start()
    return ledger, broker, publisher


def test_no_mutated_acknowledgement_takes_a_row_out(keys: Keys, promises: Promises) -> None:
    """A thousand changed, unsigned or strangers' acknowledgements: every row stays; the true one works."""
    ledger, broker, publisher = waiting_five(keys)
    position = ledger.position()
    true = wire.Acknowledgement(position.epoch, 5, position.head, "hr")
    signed = wire.encode_acknowledgement(true, signer=keys.consumer)
    older = wire.encode_acknowledgement(replace(true, up_to=0, head=None), signer=keys.consumer)
    forged = mutants(signed, MUTANTS, others=[older])
    forged += [
        wire.encode_acknowledgement(true, signer=signer) for signer in (keys.stranger, keys.kiosk, None)
    ]
    assert wait_until(lambda: sum(m.topic.endswith("event") for m in broker.seen) == 5)

    for payload in forged:
        broker.route(Message(wire.topic("hq", "door", "ack"), payload))
    counted = wait_until(lambda: publisher.state()["ignored_acknowledgements"] == len(forged), within_s=30)
    left = len(ledger.pending(9))
    broker.route(Message(wire.topic("hq", "door", "ack"), signed))
    emptied = wait_until(lambda: not ledger.pending(9))
    publisher.stop(5)

    print(f"\n{len(forged)} forged acknowledgements, rows wrongly deleted {5 - left}")
    promises.record(WORDS.format("acknowledgements"), trials=len(forged), failures=5 - left)
    assert counted
    assert left == 5
    assert emptied


def test_no_mutated_refusal_lays_a_row_aside(keys: Keys, promises: Promises) -> None:
    """A thousand changed, unsigned or strangers' refusals: nothing is laid aside or recorded anew."""
    ledger, broker, publisher = waiting_five(keys)
    waiting = ledger.pending(9)
    assert wait_until(lambda: sum(m.topic.endswith("event") for m in broker.seen) == 5)
    refused, epoch = waiting[2], ledger.position().epoch
    forged: list[bytes] = []
    for why in wire.RefusedFor:
        true = wire.Refusal(epoch, refused.seq, wire.event_hash(refused), why, "why", "hr")
        signed = wire.encode_refusal(true, signer=keys.consumer)
        other = replace(true, seq=1, hash=wire.event_hash(waiting[0]))
        others = [wire.encode_refusal(other, signer=keys.consumer)]
        forged += mutants(signed, MUTANTS // 3 + 1, others=others)
        forged += [wire.encode_refusal(true, signer=s) for s in (keys.stranger, keys.kiosk, None)]
        # Signed by the consumer, about something that was never sent like that.
        strange = [replace(true, hash="ee" * 32), replace(true, seq=9), replace(true, epoch=EPOCH)]
        forged += [wire.encode_refusal(one, signer=keys.consumer) for one in strange]

    for payload in forged:
        broker.route(Message(wire.topic("hq", "door", "refuse"), payload))
    counted = wait_until(lambda: publisher.state()["ignored_acknowledgements"] == len(forged), within_s=120)
    left, aside, after = ledger.pending(9), ledger.laid_aside(), ledger.position().epoch
    broker.route(Message(wire.topic("hq", "door", "refuse"), signed))
    taken = wait_until(lambda: len(ledger.laid_aside()) == 1)
    publisher.stop(5)

    wrong = 5 - len(left) + len(aside) + (after != epoch)
    print(f"\n{len(forged)} forged refusals, accepted {wrong}")
    promises.record(WORDS.format("refusals"), trials=len(forged), failures=wrong)
    assert counted
    assert (left, aside, after) == (waiting, [], epoch)
    assert taken


def test_no_mutated_stand_in_makes_a_consumer_pass_over_an_event(
    keys: Keys, store: FeedTables, promises: Promises
) -> None:
    """Whoever could say "this one does not come" could make a kiosk forget it: a signature is needed too."""
    first = event()
    second = replace(first, seq=2, previous_hash=wire.event_hash(first))
    third = replace(first, seq=3, previous_hash=wire.event_hash(second))
    told = wire.LeftOut("hq", second.id, second.previous_hash, wire.event_hash(second), "too large")
    signed = wire.encode_left_out(told, signer=keys.kiosk)
    others = [wire.encode_event(one, signer=keys.kiosk) for one in (first, third)]
    forged = mutants(signed, MUTANTS, others=others)
    forged += [wire.encode_left_out(told, signer=s) for s in (keys.stranger, keys.consumer, None)]
    broker, door = FakeBroker(), wire.topic("hq", "door", "event")
    feed = Feed(
        URL,
        store=store,
        rules=FeedRules(follow=False, idle_s=0.1, consumer="hr", seal=wire.Seal(keys.consumer, keys.verify)),
        connect=broker.connect,
    )
    first_turn: Callable[..., object] = feed._connect

    def connect(*arguments: object) -> object:
        made = first_turn(*arguments)
        for payload in (others[0], *forged, others[1]):
            broker.route(Message(door, payload))
        return made

    feed._connect = connect  # type: ignore[assignment]  # the events come right after subscribing
    received = [one.event for one in feed]

    wrong = feed.counts.of[TroubleKind.LEFT_OUT]
    print(f"\n{len(forged)} forged stand-ins, accepted {wrong}")
    promises.record(WORDS.format("stand-ins"), trials=len(forged), failures=wrong)
    assert received == [first]
    assert feed.counts.of[TroubleKind.LEFT_OUT] == 0
    assert store.heads()[StreamKey("door", EPOCH)].seq == 1


def test_state_is_signed_and_the_last_will_is_not(keys: Keys) -> None:
    """The broker publishes the will, which says nothing but that the kiosk is gone."""
    broker, topic = FakeBroker(), wire.topic("hq", "door", "state")
    rules = PublisherRules(seal=wire.Seal(keys.kiosk, keys.verify))
    address = Address(URL, "hq", "door")
    publisher = MqttPublisher(address, FakeLedger(), clock=StillClock(), rules=rules, connect=broker.connect)
    publisher.start()
    assert wait_until(lambda: topic in broker.retained)
    online = broker.retained[topic].payload
    (connection,) = broker.connections
    publisher.stop(5)

    seal = wire.Seal(verify=keys.verify)
    assert seal.accepts(DOOR, online)
    assert seal.accepts(DOOR, broker.retained[topic].payload)
    assert connection.greeting.will is not None
    assert b"signature" not in connection.greeting.will.payload


def test_no_mutated_state_makes_a_consumer_pass_over_or_ask_for_anything(keys: Keys) -> None:
    """A kiosk that "no longer keeps" its first events would be told to forget them; it is only seen."""
    events = [event()]
    for seq in range(2, 5):
        events.append(replace(events[0], seq=seq, previous_hash=wire.event_hash(events[-1])))
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=4, history_from=4, backlog=4)
    signed = wire.encode_state(state, signer=keys.kiosk)
    other = wire.encode_state(replace(state, seq=9, history_from=8, backlog=1))
    forged = mutants(signed, MUTANTS, others=[other])
    forged += [wire.encode_state(state, signer=s) for s in (keys.stranger, keys.consumer, None)]
    intake = Intake({}, consumer="hr", seal=wire.Seal(keys.consumer, keys.verify), hash_of=lambda *_: None)
    topic = wire.topic("hq", "door", "state")

    for payload in forged:
        intake.take(topic, payload, now_s=0.0)
    assert intake.finish(now_s=0.0).answers == []
    intake.take(wire.topic("hq", "door", "event"), wire.encode_event(events[3], signer=keys.kiosk), now_s=0.0)
    turn = intake.finish(now_s=0.0)

    assert turn.arrivals == []
    assert turn.troubles == []
    assert [wire.decode_resend(payload).from_seq for _, payload in turn.answers] == [1]
    assert intake.states["hq", "door"] == replace(state, epoch=None, seq=None, history_from=None)
    intake.take(topic, signed, now_s=3.0)
    assert intake.states["hq", "door"] == state


def test_unsigned_state_takes_nothing_back(keys: Keys) -> None:
    """The will of a kiosk that is gone, or a forgery: what it signed before stands, and it is shown away."""
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=4, history_from=1, backlog=4)
    intake = Intake({}, consumer="hr", seal=wire.Seal(keys.consumer, keys.verify), hash_of=lambda *_: None)
    topic = wire.topic("hq", "door", "state")
    intake.take(topic, wire.encode_state(state, signer=keys.kiosk), now_s=0.0)
    intake.take(topic, wire.encode_state(wire.KioskState("hq", "door", online=False)), now_s=0.0)

    (answer,) = intake.finish(now_s=0.0).answers

    assert wire.decode_resend(answer[1]) == wire.Resend(1, 4, EPOCH, wire.LARGEST_BATCH)
    assert intake.states["hq", "door"] == replace(state, online=False, backlog=None)


def test_signature_belongs_to_one_kiosk(keys: Keys) -> None:
    """The gate's key does not speak for the door, and a kiosk's key does not acknowledge."""
    payload = wire.encode_event(event(), signer=keys.kiosk)
    seal = wire.Seal(verify=keys.verify)

    assert seal.accepts(DOOR, payload)
    assert not seal.accepts(wire.kiosk_name("hq", "gate"), payload)
    assert not seal.accepts(wire.CONSUMER, payload)
    assert not seal.accepts(DOOR, wire.encode_event(event()))


def test_name_may_be_added_to_a_signed_event(keys: Keys) -> None:
    """The name is not part of what is signed, like it is not part of the hash."""
    named = wire.encode_event(replace(event(), name="Ada"), signer=keys.kiosk)

    assert wire.Seal(verify=keys.verify).accepts(DOOR, named)
    assert wire.decode_event(named).name == "Ada"


def test_exchanged_key_is_trusted_beside_the_old_one_until_its_line_goes(keys: Keys, tmp_path: Path) -> None:
    """Rotation without a gap, revocation by taking a line out."""
    public = make_key(tmp_path / "new")
    core = b"core"
    new = read_signer(tmp_path / "new")(core)
    both, only_new = tmp_path / "both", tmp_path / "only"
    both.write_text(f"{keys.trusted.read_text()}kiosk hq/door {public}\n")
    only_new.write_text(f"kiosk hq/door {public}\n")

    assert read_trusted(both)(DOOR, core, new)
    assert read_trusted(both)(DOOR, core, keys.kiosk(core))
    assert read_trusted(only_new)(DOOR, core, new)
    assert not read_trusted(only_new)(DOOR, core, keys.kiosk(core))


def replace_file(path: Path, text: str) -> None:
    """As a copy over it does whose other end is a new file."""
    beside = path.with_name("beside")
    beside.write_text(text)
    beside.replace(path)


@pytest.mark.parametrize("put", [replace_file, Path.write_text], ids=["replaced", "written over"])
def test_list_of_keys_is_read_again_when_its_file_changes(
    keys: Keys, tmp_path: Path, put: Callable[[Path, str], object]
) -> None:
    """Without a restart a new key counts, and one whose line was taken out does not any more."""
    public, core = make_key(tmp_path / "new"), b"core"
    old, new = keys.kiosk(core), read_signer(tmp_path / "new")(core)
    (tmp_path / "trusted").write_text(keys.trusted.read_text())
    trusted = TrustedKeys(tmp_path / "trusted")
    before = [trusted(DOOR, core, signature) for signature in (old, new)]

    put(tmp_path / "trusted", f"{keys.trusted.read_text()}kiosk hq/door {public}\n")
    both = [trusted(DOOR, core, signature) for signature in (old, new)]
    put(tmp_path / "trusted", f"kiosk hq/door {public}\n")
    after = [trusted(DOOR, core, signature) for signature in (old, new)]

    assert (before, both, after) == ([True, False], [True, True], [False, True])


@pytest.mark.parametrize("content", [None, "kiosk hq/door\n"], ids=["gone", "damaged"])
def test_keys_from_before_count_when_the_new_list_cannot_be_read(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    """Said once, in a line with the file; the next list that can be read counts."""
    path, core = tmp_path / "trusted", b"core"
    path.write_text(keys.trusted.read_text())
    trusted = TrustedKeys(path)
    path.unlink() if content is None else path.write_text(content)

    meanwhile = [trusted(DOOR, core, keys.kiosk(core)) for _ in range(3)]
    path.write_text("# nobody\n")
    after = trusted(DOOR, core, keys.kiosk(core))

    assert (meanwhile, after) == ([True, True, True], False)
    assert caplog.messages[0].startswith((f"cannot read {path}", f"{path} line 1"))
    assert len(caplog.messages) == 1
    assert "the trusted keys from before count" in caplog.messages[0]


def test_running_feed_believes_a_kiosk_as_soon_as_its_new_key_is_copied(
    keys: Keys, store: FeedTables, tmp_path: Path
) -> None:
    """After ``glancein site rotate``: what the kiosk repeats is taken, and its former key no longer."""
    public, trusted, broker = make_key(tmp_path / "new"), tmp_path / "trusted", FakeBroker()
    trusted.write_text(keys.trusted.read_text())
    first, topic = event(), wire.topic("hq", "door", "event")
    second = replace(first, seq=2, previous_hash=wire.event_hash(first))
    third = replace(first, seq=3, previous_hash=wire.event_hash(second))
    renewed = read_signer(tmp_path / "new")
    rules = FeedRules(consumer="hr", idle_s=0.1, seal=open_seal("", trusted))
    words = list[str]()
    feed = Feed(URL, store=store, rules=rules, connect=broker.connect, on_error=words.append)
    reader = threading.Thread(target=lambda: list(feed), name="hr")
    reader.start()
    assert wait_until(lambda: broker.connections)

    broker.route(Message(topic, wire.encode_event(first, signer=renewed)))
    refused = wait_until(lambda: feed.counts.of[TroubleKind.FORGED] == 1)
    trusted.write_text(f"kiosk hq/door {public}\n")
    for signer, sent in ((renewed, first), (renewed, second), (keys.kiosk, third)):
        broker.route(Message(topic, wire.encode_event(sent, signer=signer)))
    refused_then = wait_until(lambda: feed.counts.of[TroubleKind.FORGED] == 2)
    feed.stop()
    reader.join(10)

    assert (refused, refused_then) == (True, True)
    assert [parcel.event for parcel in store.after(0, 9)] == [first, second]
    (told,) = words
    assert told.startswith(
        "kiosk door: what came from hq/door does not carry its signature and is not stored"
    )


def test_running_kiosk_believes_a_consumer_as_soon_as_its_new_key_is_copied(
    keys: Keys, tmp_path: Path
) -> None:
    """The acknowledgement that it ignored before takes the rows out when it comes again."""
    public, trusted = make_key(tmp_path / "new"), tmp_path / "trusted"
    trusted.write_text(keys.trusted.read_text())
    ledger, broker, publisher = waiting_five(replace(keys, verify=TrustedKeys(trusted)))
    assert wait_until(lambda: sum(m.topic.endswith("event") for m in broker.seen) == 5)
    ack = wire.Acknowledgement(ledger.position().epoch, 5, ledger.position().head, "hr")
    signed = Message(
        wire.topic("hq", "door", "ack"),
        wire.encode_acknowledgement(ack, signer=read_signer(tmp_path / "new")),
    )

    broker.route(signed)
    ignored = wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 1)
    trusted.write_text(f"consumer hr {public}\n")
    broker.route(signed)
    emptied = wait_until(lambda: not ledger.pending(9))
    publisher.stop(5)

    assert (ignored, emptied) == (True, True)


def test_private_key_is_readable_by_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    """Making a key twice is refused."""
    make_key(tmp_path / "key")

    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(SettingsError, match="already"):
        make_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


@pytest.mark.parametrize(
    "content", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_file_that_is_no_private_key_is_refused(tmp_path: Path, content: str) -> None:
    """In one line that names the file."""
    (tmp_path / "key").write_text(content)

    with pytest.raises(SettingsError, match="key"):
        read_signer(tmp_path / "key")


@pytest.mark.parametrize(
    "line", ["kiosk hq/door", "kiosk hq/door short", "printer x AAAA", "kiosk hq/door A A"]
)
def test_wrong_line_in_the_list_of_keys_is_named(tmp_path: Path, line: str) -> None:
    """A list that cannot be read trusts nobody."""
    (tmp_path / "trusted").write_text(f"# keys\n{line}\n")

    with pytest.raises(SettingsError, match="line 2"):
        read_trusted(tmp_path / "trusted")


def test_missing_key_file_is_named(tmp_path: Path) -> None:
    """Both kinds."""
    for read in (read_signer, read_trusted):
        with pytest.raises(SettingsError, match="nowhere"):
            read(tmp_path / "nowhere")

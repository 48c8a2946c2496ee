"""What a consumer makes of the feed's messages, a turn at a time: what to store, what to answer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from glancein.domain import wire
from glancein.domain.event_body import SEGMENT, read_id
from glancein.domain.look_back import LookBack, Unanswered
from glancein.domain.sequence import Known, Missing, Ready, Sequence, Step
from glancein.domain.strict_json import matching, parse_object, refuse
from glancein.domain.tails import Sender, Tails
from glancein.errors import FeedError
from glancein.types import Arrival, Event, EventId, Head, StreamKey, StreamTrouble, TroubleKind

ASK_AGAIN_S = 2.0  # the same gap is asked for, and the same event refused, at most so often
LAST_ASK = 30  # so often a kiosk is asked for the end of an epoch that it has left

HashOf = Callable[[StreamKey, int], str | None]


@dataclass(slots=True)
class Counts:
    """What came in so far: ``new`` is committed, ``of`` counts what was wrong, by kind."""

    new: int = 0
    repeated: int = 0
    gaps: int = 0
    refused: int = 0
    connections: int = 0
    of: Counter[TroubleKind] = field(default_factory=Counter)

    @property
    def troubles(self) -> int:
        """Everything that was wrong."""
        return self.of.total()


@dataclass(slots=True)
class Turn:
    """What some messages come to: first the store commits, then the answers go out."""

    arrivals: list[Arrival] = field(default_factory=list)
    troubles: list[StreamTrouble] = field(default_factory=list)
    answers: list[tuple[str, bytes]] = field(default_factory=list)  # topic, payload
    heard: dict[StreamKey, Sender] = field(default_factory=dict)  # streams to acknowledge
    repeated: dict[StreamKey, Head] = field(default_factory=dict)  # the last event that was known already
    unanswered: list[Unanswered] = field(default_factory=list)  # kiosks that did not send what waits there


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What can be read of an event whose contents cannot."""

    name: EventId
    site: str
    previous_hash: str
    hash: str

    @property
    def key(self) -> StreamKey:
        return StreamKey(self.name.kiosk, self.name.epoch)


class Intake:
    """The consumer's place in every stream.

    ``hash_of`` looks up what is committed; without it nothing is kept and nothing refused: a kiosk is asked
    after each ``begin`` for what waits there, and its stream begins with that; one of which nothing waits,
    with the first event that happens to come. Who ``only_looks`` waits for the answer for two seconds; for
    everybody else beginning later would be to acknowledge what never came. With a seal that verifies, only
    what carries the kiosk's signature is believed; with one that signs, answers are signed.
    """

    def __init__(
        self,
        heads: Mapping[StreamKey, Head],
        *,
        consumer: str,
        seal: wire.Seal = wire.UNSEALED,
        hash_of: HashOf | None = None,
        only_looks: bool = False,
    ) -> None:
        self.counts = Counts()
        self.states: dict[Sender, wire.KioskState] = {}  # the latest word of each kiosk
        self._consumer = consumer
        self._seal = seal
        self._hash_of = hash_of
        self._only_looks = only_looks
        self._tails = Tails()
        self._asked_at: dict[tuple[object, ...], float] = {}
        self._arrived_at: dict[StreamKey, float] = {}
        self._now_s = 0.0
        self._turn = Turn()
        self.begin(heads)

    def begin(self, heads: Mapping[StreamKey, Head]) -> None:
        """Stand where the store stands: at the start, and after a turn that could not be committed.

        Without a store: behind what was handed out.
        """
        self._sequences = {key: Sequence(head) for key, head in heads.items()}
        self._look_back = LookBack()
        self._unasked: set[Sender] = set()  # kiosks that are there and were not asked for earlier epochs
        self._present: set[Sender] = set()
        self._turn = Turn()
        self._asked_at.clear()

    def take(self, topic: str, payload: bytes, *, now_s: float) -> None:
        """Look at one message."""
        self._now_s = now_s
        try:
            site, kiosk, leaf = wire.split_topic(topic)
            if leaf == "batch":
                for line in wire.split_batch(payload):
                    self.take(wire.topic(site, kiosk, "event"), line, now_s=now_s)
            elif leaf == "state":
                self._on_state((site, kiosk), payload)
            else:
                self._on_event((site, kiosk), payload)
        except FeedError as err:
            words = f"{err}: {payload[:200]!r}"
            self._trouble(StreamTrouble(TroubleKind.UNREADABLE, topic[-70:], "", 0, words))

    def finish(self, *, now_s: float) -> Turn:
        """What the messages since the last turn come to."""
        self._now_s = now_s
        self._asked_at = {what: at for what, at in self._asked_at.items() if now_s - at < ASK_AGAIN_S}
        self._ask_for_earlier_epochs()
        self._ask_for_tails()
        self._look_after_beginnings()
        turn, self._turn = self._turn, Turn()
        if self._hash_of is not None:
            for key, sender in turn.heard.items():
                head, repeated = self._sequences[key].head, turn.repeated.get(key)
                if head is not None and repeated is not None and repeated.seq < head.seq:
                    # A kiosk on an old copy cannot see from our head that this one is the same at both ends.
                    turn.answers.append(self.acknowledgement(sender, key.epoch, repeated))
                if head is not None:
                    turn.answers.append(self.acknowledgement(sender, key.epoch, head))
        return turn

    @property
    def is_awaiting(self) -> bool:
        """True while a kiosk has time left to send what it was asked for."""
        return self._look_back.is_awaiting

    def acknowledgement(self, sender: Sender, epoch: str, head: Head) -> tuple[str, bytes]:
        """Topic and payload of "committed up to here"."""
        ack = wire.Acknowledgement(epoch, head.seq, head.hash, self._consumer, wire.LARGEST_BATCH)
        return wire.topic(*sender, "ack"), wire.encode_acknowledgement(ack, signer=self._seal.sign)

    def _on_event(self, sender: Sender, payload: bytes) -> None:
        try:
            arrival = read_arrival(payload)
        except FeedError as err:
            left_out = wire.decode_left_out(payload)
            if left_out is None:
                self._on_unreadable(sender, payload, err)
            else:
                self._on_left_out(sender, left_out, payload)
            return
        event, key = arrival.event, arrival.key
        if not self._is_from(sender, event.site, event.id, payload):
            return
        sequence = self._sequences.setdefault(key, Sequence())
        if self._begins(key, event.seq):
            sequence.begin_at(Head(event.seq - 1, event.previous_hash))
        known = None
        if sequence.head is not None and event.seq <= sequence.head.seq:
            known = self._known_hash(key, event.seq)
            if known is None and self._hash_of is not None:
                self._fill_hole(sender, arrival)
                return
        step = sequence.take(arrival, known_hash=known)
        if isinstance(step, Known):
            self._turn.repeated[key] = Head(event.seq, arrival.hash)
        if isinstance(step, StreamTrouble) and self._hash_of is not None:
            words = f"number {event.seq} is here with other contents"
            self._refuse(sender, event.id, arrival.hash, wire.RefusedFor.FORK, words)
        self._follow(key, sender, step)

    def _is_from(self, sender: Sender, site: str, name: EventId, payload: bytes) -> bool:
        """True if the event came on its kiosk's topic and carries its signature, where those are checked."""
        if (site, name.kiosk) != sender:
            kind, words = TroubleKind.FOREIGN, f"came from {'/'.join(sender)}"
        elif not self._seal.accepts(wire.kiosk_name(*sender), payload):
            kind, words = (
                TroubleKind.FORGED,
                f"what came from {'/'.join(sender)} does not carry its signature",
            )
        else:
            return True
        self._trouble(StreamTrouble(kind, name.kiosk, name.epoch, name.seq, words))
        return False

    def _follow(self, key: StreamKey, sender: Sender, step: Step) -> None:
        match step:
            case Ready(arrivals):
                self._arrived_at[key] = self._now_s
                self._turn.arrivals.extend(arrivals)
                self._turn.heard[key] = sender
                for late in arrivals:
                    if not late.chained:
                        self._trouble(_broken_chain(late.event))
            case Known():
                self.counts.repeated += 1
                self._turn.heard[key] = sender
            case Missing():
                self._ask(key, sender, step)
            case StreamTrouble():
                self._trouble(step)
                self._turn.heard[key] = sender  # its head tells the kiosk that it runs on an old copy

    def _fill_hole(self, sender: Sender, arrival: Arrival) -> None:
        """An event that was refused or had been lost, and comes after all."""
        event = arrival.event
        before = self._known_hash(arrival.key, event.seq - 1) if event.seq > 1 else wire.NO_HASH
        chained = before is None or before == event.previous_hash
        self._turn.arrivals.append(replace(arrival, chained=chained))
        self._turn.heard[arrival.key] = sender
        if not chained:
            self._trouble(_broken_chain(event))

    def _on_unreadable(self, sender: Sender, payload: bytes, err: FeedError) -> None:
        """Refuse an event that makes no sense, if it is clear which one it is: others wait behind it."""
        envelope = _read_envelope(payload)
        if envelope is None or self._hash_of is None:
            raise err
        name, key = envelope.name, envelope.key
        if not self._is_from(sender, envelope.site, name, payload):
            return
        last = self._sequences.setdefault(key, Sequence()).head or Head(0, wire.NO_HASH)
        if name.seq > last.seq + 1 or (name.seq > last.seq and envelope.previous_hash != last.hash):
            self._ask(key, sender, Missing(last.seq + 1, name.seq))
            return
        if name.seq <= last.seq and self._known_hash(key, name.seq) is not None:
            raise err
        self._refuse(sender, name, envelope.hash, wire.RefusedFor.UNREADABLE, str(err))
        if name.seq > last.seq:
            self._pass_over(sender, envelope, str(err))

    def _on_left_out(self, sender: Sender, left_out: wire.LeftOut, payload: bytes) -> None:
        """The kiosk says that this one cannot come: it keeps it, and the others go on."""
        name = left_out.name
        envelope = _Envelope(name, left_out.site, left_out.previous_hash, left_out.hash)
        if not self._is_from(sender, left_out.site, name, payload):
            return
        sequence = self._sequences.setdefault(envelope.key, Sequence())
        if self._begins(envelope.key, name.seq):
            sequence.begin_at(Head(name.seq - 1, left_out.previous_hash))
        last = sequence.head or Head(0, wire.NO_HASH)
        if name.seq <= last.seq:
            self._follow(envelope.key, sender, Known())
        elif name.seq > last.seq + 1 or not _continues(left_out, last):
            self._ask(envelope.key, sender, Missing(last.seq + 1, name.seq))
        else:
            kind = TroubleKind.HISTORY_GONE if left_out.is_lost else TroubleKind.LEFT_OUT
            self._pass_over(sender, envelope, left_out.words, kind=kind)

    def _pass_over(
        self,
        sender: Sender,
        envelope: _Envelope,
        words: str,
        *,
        kind: TroubleKind = TroubleKind.UNREADABLE,
    ) -> None:
        """Count the number of an event that will not be taken as taken; go on with what waited behind it."""
        name, key = envelope.name, envelope.key
        self._trouble(StreamTrouble(kind, name.kiosk, name.epoch, name.seq, words, passed=envelope.hash))
        self._go_on_behind(key, sender, Head(name.seq, envelope.hash))

    def _go_on_behind(self, key: StreamKey, sender: Sender, head: Head) -> None:
        sequence = self._sequences[key]
        follower = sequence.held.get(head.seq + 1)
        sequence.begin_at(head)
        self._turn.heard[key] = sender
        if follower is not None:
            self._follow(key, sender, sequence.take(follower, known_hash=None))

    def _refuse(self, sender: Sender, name: EventId, digest: str, why: wire.RefusedFor, words: str) -> None:
        if not self._may_again("refuse", name, digest):
            return
        self.counts.refused += 1
        said = "".join(letter if letter.isprintable() else "?" for letter in words)[: wire.WORDS_LIMIT]
        refusal = wire.Refusal(name.epoch, name.seq, digest, why, said, self._consumer)
        payload = wire.encode_refusal(refusal, signer=self._seal.sign)
        self._turn.answers.append((wire.topic(*sender, "refuse"), payload))

    def _known_hash(self, key: StreamKey, seq: int) -> str | None:
        for arrival in self._turn.arrivals:
            if arrival.key == key and arrival.event.seq == seq:
                return arrival.hash
        return None if self._hash_of is None else self._hash_of(key, seq)

    def _on_state(self, sender: Sender, payload: bytes) -> None:
        """The kiosk says how far its stream goes.

        Anybody may say that it is gone, as the broker does; how far the stream goes and what is no longer
        kept is believed with the kiosk's signature only, where those are checked.
        """
        state = wire.decode_state(payload)
        if (state.site, state.kiosk) != sender:
            raise FeedError(f"the state of {state.site}/{state.kiosk} came from {'/'.join(sender)}")
        if not self._seal.accepts(wire.kiosk_name(*sender), payload):
            known = self.states.get(sender, wire.KioskState(*sender, online=False))
            self.states[sender] = replace(
                state, epoch=known.epoch, seq=known.seq, history_from=known.history_from
            )
            if not state.online:
                self._present.discard(sender)
            return
        self.states[sender] = state
        self._note_presence(sender, is_there=state.online)
        if state.epoch is not None and state.seq is not None:
            self._on_figures(sender, StreamKey(state.kiosk, state.epoch), state, state.seq)

    def _on_figures(self, sender: Sender, key: StreamKey, state: wire.KioskState, seq: int) -> None:
        head = self._head(key)
        tail = self._tails.note(sender, key, history_from=state.history_from)
        if self._hash_of is None:
            wanted = self._look_back.ask(key, state, head=head, now_s=self._now_s)
            if wanted is not None:
                self._request(key, sender, wanted.from_seq, wanted.to_seq)
            return
        if not state.online:
            return
        tail.expect(seq)
        if head is not None and seq < head.seq:
            self._turn.heard[key] = sender  # an old copy of its database: it should know before it records

    def _note_presence(self, sender: Sender, *, is_there: bool) -> None:
        """Who has come is to be asked for its earlier epochs, on each coming."""
        if not is_there:
            self._present.discard(sender)
        elif sender not in self._present:
            self._present.add(sender)
            self._unasked.add(sender)

    def _begins(self, key: StreamKey, seq: int) -> bool:
        """True if nothing is kept and this event is the first of its stream to be shown."""
        unplaced = self._hash_of is None and self._sequences[key].head is None
        return unplaced and self._look_back.may_begin(key, seq)

    def _look_after_beginnings(self) -> None:
        """A kiosk did not send in time what waits there: say so once; ask again, or go without if we may."""
        for key, late in self._look_back.late(now_s=self._now_s).items():
            sender = late.unanswered.site, late.unanswered.kiosk
            if late.is_first:
                self._turn.unanswered.append(late.unanswered)
            if self._only_looks:
                self._look_back.give_up(key)
                self._begin_without_answer(key, sender)
            else:
                self._request(key, sender, late.wanted.from_seq, late.wanted.to_seq)

    def _begin_without_answer(self, key: StreamKey, sender: Sender) -> None:
        """With what has come meanwhile, if anything has."""
        sequence = self._sequences.get(key)
        held = {} if sequence is None else sequence.held
        if held:
            first = min(held)
            self._go_on_behind(key, sender, Head(first - 1, held[first].event.previous_hash))

    def _ask_for_earlier_epochs(self) -> None:
        """Ask a kiosk that has come, once, for what lies behind our end of the epochs it counted in before.

        Its state names the current one only; a store put back from a backup may be behind in others.
        """
        if self._hash_of is None or not self._unasked:
            return
        senders, self._unasked = sorted(self._unasked), set()
        current = {state.epoch for state in self.states.values()}
        for key, sequence in self._sequences.items():
            if sequence.head is None or key.epoch in current:
                continue
            for sender in senders:
                if sender[1] == key.kiosk:
                    self._request(key, sender, sequence.head.seq + 1, None)

    def _ask_for_tails(self) -> None:
        """Ask for the end of every stream that has come to a halt before it."""
        for sender, key, tail in self._tails.open():
            head = self._head(key)
            last = head.seq if head is not None else 0
            if last >= tail.seq:
                tail.is_over = True
            elif tail.asked >= LAST_ASK and self._has_left(key, sender):
                tail.is_over = True
                lost = (
                    f"numbers {last + 1} to {tail.seq} of epoch {key.epoch} never came: its database was put "
                    "back from an older copy; what its second copy held comes under new numbers"
                )
                self._trouble(StreamTrouble(TroubleKind.HISTORY_GONE, key.kiosk, key.epoch, tail.seq, lost))
            elif self._now_s - self._arrived_at.get(key, -ASK_AGAIN_S) >= ASK_AGAIN_S:
                asked = self._ask(key, sender, Missing(last + 1, tail.seq))
                tail.asked += asked and self._has_left(key, sender)

    def _head(self, key: StreamKey) -> Head | None:
        """Our end of a stream; of one that is only talked of nothing is kept."""
        sequence = self._sequences.get(key)
        return None if sequence is None else sequence.head

    def _has_left(self, key: StreamKey, sender: Sender) -> bool:
        """True if the kiosk runs and counts in another epoch now."""
        state = self.states.get(sender)
        return state is not None and state.online and state.epoch != key.epoch

    def _ask(self, key: StreamKey, sender: Sender, missing: Missing) -> bool:
        """Ask for a gap, not too often: True if so. What the kiosk no longer keeps is noted and skipped."""
        if self._hash_of is None and self._head(key) is None:
            return False  # it begins with what the kiosk was asked for, or with what comes
        oldest = self._tails.history_from(sender, key)
        sequence = self._sequences.get(key)
        if missing.from_seq < oldest and sequence is not None and oldest in sequence.held:
            self._skip_to(key, sender, oldest)
            return False
        from_seq = max(missing.from_seq, oldest)
        if from_seq > missing.to_seq or not self._may_again("ask", key, from_seq):
            return False
        self.counts.gaps += 1
        self._request(key, sender, from_seq, missing.to_seq)
        return True

    def _request(self, key: StreamKey, sender: Sender, from_seq: int, to_seq: int | None) -> None:
        wanted = wire.Resend(from_seq, to_seq, key.epoch, wire.LARGEST_BATCH)
        payload = wire.encode_resend(wanted, signer=self._seal.sign)
        self._turn.answers.append((wire.topic(*sender, "resend"), payload))

    def _may_again(self, *what: object) -> bool:
        """True if that was not said a moment ago."""
        if self._now_s - self._asked_at.get(what, -ASK_AGAIN_S) < ASK_AGAIN_S:
            return False
        self._asked_at[what] = self._now_s
        return True

    def _skip_to(self, key: StreamKey, sender: Sender, oldest: int) -> None:
        """Go on with the oldest event there is; its own previous_hash says where the chain was."""
        sequence = self._sequences[key]
        first = (sequence.head.seq if sequence.head is not None else 0) + 1
        lost = f"the kiosk no longer keeps numbers {first} to {oldest - 1}"
        self._trouble(StreamTrouble(TroubleKind.HISTORY_GONE, key.kiosk, key.epoch, oldest - 1, lost))
        self._go_on_behind(key, sender, Head(oldest - 1, sequence.held[oldest].event.previous_hash))

    def _trouble(self, trouble: StreamTrouble) -> None:
        self.counts.of[trouble.kind] += 1
        self._turn.troubles.append(trouble)


def read_arrival(payload: bytes) -> Arrival:
    """An event and its hash; raises FeedError."""
    event = wire.decode_event(payload)
    core, _ = wire.payload_core(payload)
    return Arrival(event, wire.hash_of_core(core), payload)


def _read_envelope(payload: bytes) -> _Envelope | None:
    """None if it cannot be told which event this is."""
    try:
        body = parse_object(payload)
        identity = body.get("id")
        if not isinstance(identity, dict):
            refuse("id", "is not an object")
        previous = matching(body, "previous_hash", wire.HEX64)
        core, _ = wire.payload_core(payload)
        site = matching(body, "site", SEGMENT)
        return _Envelope(read_id(identity), site, previous, wire.hash_of_core(core))
    except FeedError:
        return None


def _continues(left_out: wire.LeftOut, last: Head) -> bool:
    """True if it stands for what comes next; where more than one was lost, nothing says the hash between."""
    is_unknown = left_out.is_lost and left_out.previous_hash == wire.NO_HASH
    return is_unknown or left_out.previous_hash == last.hash


def _broken_chain(event: Event) -> StreamTrouble:
    return StreamTrouble(
        TroubleKind.BROKEN_CHAIN, event.kiosk, event.epoch, event.seq, "does not continue the event before it"
    )

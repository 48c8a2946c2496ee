"""A TCP proxy between MQTT clients and their broker that reads MQTT, and breaks it on purpose.

Beside what any bad network does (delay, little bandwidth, silence, cut connections) it does what a broker or
a gateway with a bad conscience does: it acknowledges what it then loses, and it loses, repeats and reorders
single packets. Packet layout: MQTT 5.0, sections 1.5.5, 2.1 and 3.3 to 3.4 (the same in 3.1.1).
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

PUBLISH, PUBACK = 3, 4
PATIENCE_S = 0.05  # a packet held back to be overtaken is let go after so long


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault happens, as a share of the packets it can happen to, in both directions."""

    swallow: float = 0.0  # a PUBLISH is answered with PUBACK and passed on to nobody
    refuse_with: int = (
        0  # not 0: the reason code that a PUBLISH of events is answered with, and passed on to nobody
    )
    refuse_what: bytes = b""  # only those that hold this
    lose_puback: float = 0.0
    twice: float = 0.0  # a PUBLISH or PUBACK is passed on twice
    overtake: float = 0.0  # a PUBLISH or PUBACK waits until the next packet has passed
    cut: float = 0.0  # the connection is reset instead of passing a PUBLISH or PUBACK on
    delay_s: float = 0.0  # every packet waits up to so long
    bytes_per_s: float = 0.0  # 0: as fast as it goes


@dataclass(frozen=True, slots=True)
class Packet:
    """One MQTT control packet, whole."""

    raw: bytes
    body: bytes

    @property
    def kind(self) -> int:
        """Its type."""
        return self.raw[0] >> 4

    @property
    def id(self) -> bytes | None:
        """The packet identifier of a PUBLISH at QoS 1, as it stands in the packet."""
        if self.kind != PUBLISH or not self.raw[0] & 0b110:
            return None
        after_topic = 2 + int.from_bytes(self.body[:2], "big")
        return self.body[after_topic : after_topic + 2]

    @property
    def is_of_events(self) -> bool:
        """True for a PUBLISH of an event, or of several."""
        end = 2 + int.from_bytes(self.body[:2], "big")
        return self.kind == PUBLISH and self.body[2:end].endswith((b"/event", b"/batch"))


@dataclass(slots=True)
class _Way:
    """One direction of one connection."""

    source: asyncio.StreamReader
    target: asyncio.StreamWriter
    back: asyncio.StreamWriter
    held: Packet | None = None


@dataclass(slots=True)
class MqttProxy:
    """Runs in a thread of its own between ``start`` and ``stop``; ``faults`` may be changed meanwhile."""

    broker_port: int
    faults: Faults = Faults()
    seed: int = 1
    port: int = 0
    done: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=random.Random)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: threading.Event = field(default_factory=threading.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen on a free port."""
        self._random.seed(self.seed)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="proxy", daemon=True)
        self._thread.start()
        assert self._listening.wait(10)

    def stop(self) -> None:
        """End every connection."""
        assert self._thread is not None
        self._tell(self._stopping.set)
        self._thread.join()

    def hush(self) -> None:
        """From now on nothing passes and nothing is closed: a half-open link."""
        self.done["silence"] += 1
        self._tell(self._flowing.clear)

    def heal(self) -> None:
        """Everything passes again, also what waited, and no fault happens any more."""
        self.faults = Faults()
        self._tell(self._flowing.set)

    def cut(self) -> None:
        """Reset every connection."""
        self.done["cut"] += 1
        self._tell(self._abort)

    def _tell(self, act: Callable[[], object]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(act)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._flowing.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stopping.wait()
        server.close()
        self._abort()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, source: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, broker = await asyncio.open_connection("127.0.0.1", self.broker_port)
        except OSError:
            client.transport.abort()
            return
        self._writers |= {client, broker}
        ways = (_Way(source, broker, client), _Way(answers, client, broker))
        try:
            await asyncio.wait(
                [asyncio.ensure_future(self._pump(way)) for way in ways],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for writer in (client, broker):
                writer.transport.abort()
            self._writers -= {client, broker}

    async def _pump(self, way: _Way) -> None:
        """Pass packets on, one way, until either side is gone."""
        reading: asyncio.Task[Packet] | None = None
        with suppress(OSError, EOFError):
            while True:
                reading = reading or asyncio.ensure_future(read_packet(way.source))
                patience = PATIENCE_S if way.held else None
                await asyncio.wait([reading], timeout=patience)
                await self._flowing.wait()
                if reading.done():
                    packet, reading = reading.result(), None
                    await self._pass(way, packet)
                else:
                    await self._let_go(way)

    async def _pass(self, way: _Way, packet: Packet) -> None:
        faults = self.faults
        if packet.kind not in {PUBLISH, PUBACK}:
            await self._write(way, packet)
        elif (
            packet.id is not None
            and faults.refuse_with
            and packet.is_of_events
            and faults.refuse_what in packet.raw
        ):
            self.done["refused"] += 1
            way.back.write(bytes([PUBACK << 4, 3]) + packet.id + bytes([faults.refuse_with]))
        elif packet.id is not None and self._happens("swallowed", faults.swallow):
            way.back.write(bytes([PUBACK << 4, 2]) + packet.id)
        elif packet.kind == PUBACK and self._happens("lost PUBACK", faults.lose_puback):
            return
        elif self._happens("cut", faults.cut):
            raise EOFError
        elif way.held is None and self._happens("overtaken", faults.overtake):
            way.held = packet
            return
        else:
            await self._write(way, packet)
            if self._happens("twice", faults.twice):
                await self._write(way, packet)
        await self._let_go(way)

    async def _let_go(self, way: _Way) -> None:
        held, way.held = way.held, None
        if held is not None:
            await self._write(way, held)

    def _happens(self, what: str, share: float) -> bool:
        happens = self._random.random() < share
        self.done[what] += happens
        return happens

    async def _write(self, way: _Way, packet: Packet) -> None:
        faults = self.faults
        if faults.delay_s:
            await asyncio.sleep(self._random.uniform(0, faults.delay_s))
        if faults.bytes_per_s:
            await asyncio.sleep(len(packet.raw) / faults.bytes_per_s)
        self.done["passed"] += 1
        way.target.write(packet.raw)
        await way.target.drain()


async def read_packet(source: asyncio.StreamReader) -> Packet:
    """One whole packet; raises EOFError."""
    head = await source.readexactly(1)
    length = shift = 0
    more = True
    while more:
        byte = await source.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        more = bool(byte[0] & 0x80)
    body = await source.readexactly(length)
    return Packet(head + body, body)

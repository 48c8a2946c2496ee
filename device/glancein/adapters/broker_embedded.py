"""An MQTT broker inside this process, for a kiosk without a company broker and for the demo: amqtt."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # type: ignore[import-untyped]  # amqtt has no types
from amqtt.broker import Broker  # type: ignore[import-untyped]  # amqtt has no types
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType  # type: ignore[import-untyped]  # amqtt has no types
from amqtt.errors import AMQTTError  # type: ignore[import-untyped]  # amqtt has no types

from glancein.errors import FeedError

log = logging.getLogger(__name__)

LISTENER = "default"
ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"
START_TIMEOUT_S = 10.0
GREETING_TIMEOUT_S = 10.0
MQTT_3_1_1 = 4
CONNECT = 0x10
UNSUPPORTED_VERSION = bytes([0x20, 3, 0, 0x84, 0])  # an MQTT 5 CONNACK without properties


class EmbeddedBroker:
    """A broker on this machine's loopback address; nobody from outside can reach it.

    It keeps nothing on disk and speaks MQTT 3.1.1 only. Events are safe all the same, because they stay in
    the ledger's outbox until the consumer has acknowledged them.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1") -> None:
        self._host = host
        self._wanted_port = port
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = port

    @property
    def url(self) -> str:
        """Where clients find it, once started."""
        return f"mqtt://{self._host}:{self.port}"

    def start(self) -> None:
        """Listen; port 0 becomes a free one, told by ``port``. Raises FeedError if the port is taken."""
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="embedded-broker", daemon=True
        )
        self._thread.start()
        try:
            self.port = started.result(START_TIMEOUT_S)
        except TimeoutError:
            raise FeedError(f"the embedded broker did not start within {START_TIMEOUT_S:.0f} s") from None
        except (OSError, AMQTTError) as err:
            self._thread.join()
            raise FeedError(
                f"the embedded broker cannot listen on {self._host}:{self._wanted_port}: {err}; "
                "name another port or end the program that uses it"
            ) from err

    def stop(self, timeout_s: float = 5.0) -> None:
        """Part from all clients and end; does nothing if it does not run."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout_s)

    def _run(self, started: Future[int]) -> None:
        # amqtt reports every packet and every lost client at INFO and above; the kiosk's state says the same.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            asyncio.run(self._serve(started))
        except Exception as err:  # the thread's top: whoever started it gets the error
            if not started.done():
                started.set_exception(err)
            else:
                log.exception("the embedded broker ended")

    async def _serve(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # The listener is ours ("external" to amqtt), so that the free port it got can be told.
        listener = ListenerConfig(type=ListenerType.EXTERNAL, bind="ours")
        broker = Broker(
            BrokerConfig(listeners={LISTENER: listener}, plugins={ANONYMOUS: {"allow_anonymous": True}})
        )
        clients: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                clients.add(task)
                task.add_done_callback(clients.discard)
            try:
                await _greet(broker, reader, writer)
            except Exception:  # the top of one client's loop: amqtt lets a bad client's errors through
                log.debug("a client of the embedded broker failed", exc_info=True)
            finally:
                writer.close()

        server = await asyncio.start_server(connected, self._host, self._wanted_port)
        await broker.start()
        started.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        await broker.shutdown()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _greet(broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand a 3.1.1 client to amqtt and tell a newer one which version to use.

    amqtt 0.12 reads an MQTT 5 greeting as if it were 3.1.1 and waits for bytes that never come.
    """
    beginning, version = await asyncio.wait_for(_read_beginning(reader), GREETING_TIMEOUT_S)
    if version > MQTT_3_1_1:
        writer.write(UNSUPPORTED_VERSION)
        await writer.drain()
        await asyncio.wait_for(reader.read(), GREETING_TIMEOUT_S)  # closing earlier could lose the answer
        return
    await broker.external_connected(_Resumed(reader, beginning), StreamWriterAdapter(writer), LISTENER)


async def _read_beginning(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """The first bytes of a CONNECT packet and the protocol level they end with (MQTT 3.1.1, section 3.1)."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:
        head += await reader.readexactly(1)
    length = await reader.readexactly(2)
    name_and_level = await reader.readexactly(min(int.from_bytes(length), 6) + 1)
    return head + length + name_and_level, name_and_level[-1] if head[0] == CONNECT else 0


class _Resumed(StreamReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """A stream whose first bytes were read already."""

    def __init__(self, reader: asyncio.StreamReader, beginning: bytes) -> None:
        super().__init__(reader)
        self._beginning = beginning

    async def read(self, n: int = -1) -> bytes:
        """The next n bytes, from what was read before first."""
        if not self._beginning:
            return bytes(await super().read(n))
        first, self._beginning = self._beginning[:n], self._beginning[n:]
        missing = n - len(first)
        return first + (bytes(await super().read(missing)) if missing > 0 else b"")

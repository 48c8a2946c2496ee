"""The smallest reader of the feed: prints each punch once. Needs only paho-mqtt.

    python print_events.py broker.example

It acknowledges nothing, so the kiosks keep their events for whoever does: payroll reads with
``glancein feed``, which stores and acknowledges.
"""

from __future__ import annotations

import json
import sys
from typing import Any  # JSON

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode


def main(host: str, port: str = "1883") -> None:
    """Print until interrupted."""
    last: dict[tuple[str, str], int] = {}  # of each kiosk and epoch: the number of its last event

    def subscribe(
        client: Client, _data: object, _flags: ConnectFlags, _code: ReasonCode, _more: Properties | None
    ) -> None:
        client.subscribe([("glancein/v1/+/+/event", 1), ("glancein/v1/+/+/batch", 1)])

    def tell(_client: Client, _data: object, message: MQTTMessage) -> None:
        for line in message.payload.splitlines():  # of an event alone there is one
            try:
                print_once(json.loads(line), last)
            except (ValueError, KeyError, TypeError, RecursionError) as err:
                print(f"skipped what is no event on {message.topic!r}: {err!r:.80}", file=sys.stderr)

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = subscribe
    client.on_message = tell
    client.connect(host, int(port))
    client.loop_forever()


def print_once(event: dict[str, Any], last: dict[tuple[str, str], int]) -> None:
    """Print a punch with a higher number than the last one: QoS 1 and history bring events again."""
    kiosk, epoch, seq = str(event["id"]["kiosk"]), str(event["id"]["epoch"]), int(event["id"]["seq"])
    if seq <= last.get((kiosk, epoch), 0):
        return
    if "person_id" in event:
        print(event["time"], event["direction"], event["person_id"], kiosk, epoch, seq, flush=True)
    last[kiosk, epoch] = seq


if __name__ == "__main__":
    main(*sys.argv[1:])

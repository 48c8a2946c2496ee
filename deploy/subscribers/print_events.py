"""The smallest reader of the feed: prints each punch once. Needs only paho-mqtt.

    python print_events.py broker.example

It acknowledges nothing, so the kiosks keep their events for whoever does: payroll reads with
``glancein feed``, which stores and acknowledges.
"""

from __future__ import annotations

import json
import sys

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode


def main(host: str, port: str = "1883") -> None:
    """Print until interrupted."""
    seen: set[tuple[str, str, int]] = set()

    def subscribe(
        client: Client, _data: object, _flags: ConnectFlags, _code: ReasonCode, _more: Properties | None
    ) -> None:
        client.subscribe([("glancein/v1/+/+/event", 1), ("glancein/v1/+/+/batch", 1)])

    def tell(_client: Client, _data: object, message: MQTTMessage) -> None:
        for line in message.payload.splitlines():  # of an event alone there is one
            event = json.loads(line)
            name = event["id"]["kiosk"], event["id"]["epoch"], event["id"]["seq"]
            if "person_id" in event and name not in seen:  # QoS 1 may deliver twice
                seen.add(name)
                print(event["time"], event["direction"], event["person_id"], *name, flush=True)

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = subscribe
    client.on_message = tell
    client.connect(host, int(port))
    client.loop_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

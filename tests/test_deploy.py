"""What is copied to a machine works there: units, settings, the broker's rights and the example reader."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from glancein import settings

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
MOST_EXPOSED = 2.0  # of 10, as systemd-analyze counts
NOT_AUTHORISED = 0x87
EVENT = b'{"id":{"kiosk":"kiosk-1","epoch":"e","seq":7},"time":"now","direction":"in","person_id":"E1024"}'


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.stem)
def test_unit_is_hardened(unit: Path) -> None:
    """By its own count systemd finds little that the service could do beyond its work."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze cannot look offline: {done.stderr.strip()}")

    assert float(found[1]) <= MOST_EXPOSED


def test_example_settings_are_settings() -> None:
    """Every line of kiosk.env.example is a setting with an allowed value."""
    lines = (DEPLOY / "kiosk.env.example").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    settings.build({name.removeprefix(settings.PREFIX).lower(): value for name, value in values.items()})

    assert all(name.startswith(settings.PREFIX) for name in values)


@dataclass(frozen=True, slots=True)
class Broker:
    """A running mosquitto with the company's configuration, and the folder of its certificates."""

    port: int
    certificates: Path

    def connect(self, common_name: str) -> Client:
        """A client that shows the certificate of this name."""
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=self.certificates / "ca.crt")
        context.load_cert_chain(
            self.certificates / f"{common_name}.crt", self.certificates / f"{common_name}.key"
        )
        client.tls_set_context(context)
        client.connect("localhost", self.port)
        client.loop_start()
        return client

    def answer(self, common_name: str, topic: str) -> int:
        """The broker's reason code for one publication by this client."""
        answers: list[ReasonCode] = []
        client = self.connect(common_name)
        client.on_publish = lambda _client, _data, _mid, code, _more: answers.append(code)
        client.publish(topic, b"{}", qos=1).wait_for_publish(timeout=5)
        client.disconnect()
        client.loop_stop()
        return answers[0].value


@pytest.fixture(scope="module")
def broker(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A mosquitto with deploy/mosquitto, its paths and port moved to a temporary folder."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    folder = tmp_path_factory.mktemp("mosquitto")
    make_certificates(folder, "broker", "kiosk-1", "hr")
    port = free_port()
    config = (DEPLOY / "mosquitto/glancein.conf").read_text(encoding="utf-8")
    config = config.replace("/etc/mosquitto/certs", str(folder)).replace("8883", str(port))
    config = config.replace("/etc/mosquitto/glancein.acl", str(folder / "acl"))
    (folder / "acl").write_bytes((DEPLOY / "mosquitto/glancein.acl").read_bytes())
    (folder / "conf").write_text(f"user root\npersistence_location {folder}/\n{config}", encoding="utf-8")
    (folder / "acl").chmod(0o600)
    process = subprocess.Popen([mosquitto, "-c", folder / "conf"], stderr=subprocess.PIPE)
    wait_for_port(port, process)
    yield Broker(port, folder)
    process.terminate()
    process.communicate(timeout=10)


def make_certificates(folder: Path, *names: str) -> None:
    """A certificate authority and one certificate for each name, good for a day."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "1")
    for name in names:
        (folder / "ext").write_text("subjectAltName=DNS:localhost\n", encoding="utf-8")
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", "ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signing)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once the broker answers; fail with its own words if it ends instead."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None and process.stderr is not None:
            pytest.fail(process.stderr.read().decode())
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the broker does not answer")


@pytest.mark.broker
@pytest.mark.parametrize("leaf", ["event", "state"])
def test_kiosk_may_write_its_own_topics_only(broker: Broker, leaf: str) -> None:
    """A stolen card speaks for its own kiosk and for no other."""
    assert broker.answer("kiosk-1", f"glancein/v1/main/kiosk-1/{leaf}") < 0x80
    assert broker.answer("kiosk-1", f"glancein/v1/main/kiosk-2/{leaf}") == NOT_AUTHORISED


@pytest.mark.broker
@pytest.mark.parametrize("leaf", ["ack", "resend"])
def test_only_hr_may_acknowledge(broker: Broker, leaf: str) -> None:
    """A kiosk cannot make another (or itself) forget its events."""
    assert broker.answer("hr", f"glancein/v1/main/kiosk-1/{leaf}") < 0x80
    assert broker.answer("kiosk-1", f"glancein/v1/main/kiosk-1/{leaf}") == NOT_AUTHORISED


@pytest.mark.broker
def test_hr_may_not_invent_events(broker: Broker) -> None:
    """Who reads the feed cannot write into it."""
    assert broker.answer("hr", "glancein/v1/main/kiosk-1/event") == NOT_AUTHORISED


@pytest.mark.broker
def test_client_without_certificate_is_turned_away(broker: Broker) -> None:
    """No certificate, no connection."""
    context = ssl.create_default_context(cafile=broker.certificates / "ca.crt")

    with pytest.raises(OSError, match=r"certificate|closed|reset|EOF"):
        greet(broker.port, context)


def greet(port: int, context: ssl.SSLContext) -> None:
    """Send an MQTT 5 greeting and wait for the answer."""
    with (
        socket.create_connection(("localhost", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")
        if not secure.recv(1):
            raise OSError("closed")


@pytest.mark.broker
def test_example_reader_prints_each_punch_once(mosquitto: str, tmp_path: Path) -> None:
    """print_events.py shows a punch that arrives twice as one line."""
    port = free_port()
    (tmp_path / "conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    server = subprocess.Popen([mosquitto, "-c", tmp_path / "conf"], stderr=subprocess.PIPE)
    reader = None
    try:
        wait_for_port(port, server)
        script = DEPLOY / "subscribers/print_events.py"
        reader = subprocess.Popen(
            [sys.executable, script, "127.0.0.1", str(port)], stdout=subprocess.PIPE, text=True
        )
        publish_until_somebody_reads(port, times=2)
        assert reader.stdout is not None
        line = reader.stdout.readline()
        reader.terminate()
        rest, _ = reader.communicate(timeout=10)
    finally:
        for process in (reader, server):
            if process is not None:
                process.terminate()
                process.communicate(timeout=10)

    assert line.split() == ["now", "in", "E1024", "kiosk-1", "e", "7"]
    assert rest == ""


def publish_until_somebody_reads(port: int, *, times: int) -> None:
    """Publish one event until the broker says that a subscriber got it, then again."""
    answers: list[ReasonCode] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_publish = lambda _client, _data, _mid, code, _more: answers.append(code)
    client.connect("127.0.0.1", port)
    client.loop_start()
    deadline = time.monotonic() + 20
    while sum(code.value == 0 for code in answers) < times and time.monotonic() < deadline:
        client.publish("glancein/v1/main/kiosk-1/event", EVENT, qos=1).wait_for_publish(timeout=5)
        time.sleep(0.02)
    client.disconnect()
    client.loop_stop()

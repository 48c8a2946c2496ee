"""What is copied to a machine works there: units, settings and the example reader."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from _pytest.capture import CaptureResult
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from glancein import settings

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
MOST_EXPOSED = 2.0  # of 10, as systemd-analyze counts
# What lets the kiosk ask whether its clock was set, and what systemd would rather see there.
ASKS_THE_CLOCK = "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64\n"
NO_CLOCK = "ProtectClock=yes\n"
EVENT = b'{"id":{"kiosk":"kiosk-1","epoch":"e","seq":7},"time":"now","direction":"in","person_id":"E1024"}'


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.stem)
def test_unit_is_hardened(unit: Path, tmp_path: Path) -> None:
    """By its own count systemd finds little that the service could do beyond its work.

    It counts a look at the clock for setting it; that is held by the next test.
    """
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    counted = tmp_path / unit.name
    counted.write_text(unit.read_text(encoding="utf-8").replace(ASKS_THE_CLOCK, NO_CLOCK), encoding="utf-8")
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", counted],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze cannot look offline: {done.stderr.strip()}")

    assert float(found[1]) <= MOST_EXPOSED


def test_kiosk_may_ask_whether_its_clock_was_set_and_not_set_it() -> None:
    """ProtectClock= and ~@privileged forbid adjtimex(2) to read as well: no clock would ever be believed."""
    unit = (DEPLOY / "systemd/glancein-kiosk.service").read_text(encoding="utf-8")
    without_notes = re.sub(r"^#.*\n", "", unit, flags=re.MULTILINE)

    assert "ProtectClock=" not in without_notes
    assert without_notes.index("~@privileged") < without_notes.index(ASKS_THE_CLOCK)
    # The kernel lets nobody set it without CAP_SYS_TIME, nor this one reach the clock of the board.
    assert {"CapabilityBoundingSet=", "NoNewPrivileges=yes", "DevicePolicy=closed"} <= set(unit.splitlines())
    assert "rtc" not in unit


def test_screen_asks_for_nothing_that_a_users_manager_may_not() -> None:
    """Taking a capability away is for root: the start would end with 218/CAPABILITIES (Debian 12)."""
    unit = (DEPLOY / "systemd/user/glancein-screen.service").read_text(encoding="utf-8")
    options = set(re.findall(r"^(\w+)=", unit, re.MULTILINE))

    assert not options & {
        "AmbientCapabilities",
        "CapabilityBoundingSet",
        "PrivateDevices",
        "ProtectClock",
        "ProtectKernelLogs",
        "ProtectKernelModules",
    }


def test_every_group_of_the_service_is_made() -> None:
    """The camera's, and a Coral's on USB and PCIe: without one of them systemd starts nothing."""
    unit = (DEPLOY / "systemd/glancein-kiosk.service").read_text(encoding="utf-8")
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8")

    wanted = re.search(r"^SupplementaryGroups=(.*)$", unit, re.MULTILINE)
    made = re.search(r"for group in (.*?); do", script)

    assert wanted is not None
    assert made is not None
    assert wanted[1].split() == made[1].split() == ["video", "plugdev", "apex"]


def test_update_restarts_what_runs() -> None:
    """The step of the installer that starts the services, with stand-ins for what would change the system."""
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8").replace('main "$@"', "service")
    stand_ins = 'install() { :; }\nsystemctl() { echo "$*"; }\n'

    done = subprocess.run(
        ["/usr/bin/env", "bash", "-c", stand_ins + script], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "daemon-reload",
        "enable glancein-kiosk.service",
        "restart glancein-kiosk.service",
        "try-restart glancein-feed.service",
    ]


def test_installer_refuses_a_32_bit_system_whatever_its_kernel(tmp_path: Path) -> None:
    """Raspberry Pi OS in 32 bit runs on a 64-bit kernel: nothing is changed there before that is told."""
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8")
    stand_ins = (
        "id() { echo 0; }\nuname() { echo aarch64; }\ndpkg() { echo armhf; }\npackages() { echo changed; }\n"
    )

    done = subprocess.run(
        ["/usr/bin/env", "bash", "-c", script.replace('main "$@"', f'{stand_ins}main "$1"'), "x", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "no models' runtime for armhf" in done.stderr
    assert "64-bit Raspberry Pi OS" in done.stderr


def test_installer_leaves_nothing_in_the_checkout(tmp_path: Path) -> None:
    """It builds as root in a copy without earlier builds: the user's own make still works afterwards."""
    checkout, prefix = tmp_path / "checkout", tmp_path / "prefix"
    for part in ("device/glancein/new.py", "build/lib/glancein/gone.py", ".venv/bin/python"):
        (checkout / part).parent.mkdir(parents=True)
        (checkout / part).touch()
    python = prefix / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(  # pip writes where it builds
        '#!/bin/sh\n[ "$2" = pip ] || exit 1\n[ "$3" != --version ] || exit 0\n'
        'for last; do :; done\ncd "$last" && find . -type f | sort && mkdir -p build && touch build/root\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8").replace('main "$@"', 'program "$1"')
    script = script.replace("prefix=/opt/glancein", f"prefix={prefix}")
    before = sorted(path.relative_to(checkout) for path in checkout.rglob("*"))

    done = subprocess.run(
        ["/usr/bin/env", f"TMPDIR={tmp_path}", "bash", "-c", script, "install-pi.sh", checkout],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == ["./device/glancein/new.py"]
    assert sorted(path.relative_to(checkout) for path in checkout.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout", "prefix"]


def test_installer_makes_an_unfinished_environment_anew(tmp_path: Path) -> None:
    """Interrupted after its python and before its pip, it is not taken for one that works."""
    python = tmp_path / "prefix/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/false")
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8").replace('main "$@"', 'program "$1"')
    script = script.replace("prefix=/opt/glancein", f"prefix={tmp_path}/prefix")
    stand_in = 'python3() { echo "$*"; ln -sf /bin/true "$prefix/bin/python"; }\n'

    done = subprocess.run(
        ["/usr/bin/env", "bash", "-c", stand_in + script, "install-pi.sh", "glancein.whl"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split()[:3] == ["-m", "venv", "--clear"]


def test_installer_takes_a_wheel_of_the_version_that_is_there(tmp_path: Path) -> None:
    """After the dependencies, the wheel itself: pip would leave it alone by its number."""
    prefix = tmp_path / "prefix"
    venv.create(prefix, with_pip=True)
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8").replace('main "$@"', 'program "$1"')
    script = script.replace("prefix=/opt/glancein", f"prefix={prefix}")
    said = []
    for word in ("former", "present"):
        wheel = wheel_that_says(word, tmp_path)
        subprocess.run(
            ["/usr/bin/env", "PIP_NO_INDEX=1", "bash", "-c", script, "install-pi.sh", wheel], check=True
        )
        told = subprocess.run(
            [prefix / "bin/python", "-c", "import tiny; print(tiny.word)"],
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(told.stdout.strip())

    assert said == ["former", "present"]


def wheel_that_says(word: str, folder: Path) -> Path:
    """A wheel of one module, always of the same version."""
    wheel, about = folder / "tiny-0.1.0-py3-none-any.whl", "tiny-0.1.0.dist-info"
    files = {
        "tiny.py": f"word = {word!r}\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 0.1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{about}/RECORD"
    files[record] = "".join(f"{name},,\n" for name in (*files, record))
    with ZipFile(wheel, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return wheel


def test_installed_program_can_be_read_by_the_service_whatever_the_umask(tmp_path: Path) -> None:
    """An umask of 077 goes through sudo: the service's account could not even start the program."""
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8").replace('main "$@"', 'program "$1"')
    script = script.replace("prefix=/opt/glancein", f"prefix={tmp_path}/prefix")
    stand_in = 'python3() { mkdir -p "$prefix/bin"; ln -s /bin/true "$prefix/bin/python"; }\n'

    subprocess.run(
        ["/usr/bin/env", "bash", "-c", f"umask 077\n{stand_in}{script}", "install-pi.sh", "glancein.whl"],
        check=True,
    )

    assert stat.filemode((tmp_path / "prefix/bin").stat().st_mode) == "drwxr-xr-x"


def test_installer_leaves_no_copy_where_it_fails(tmp_path: Path) -> None:
    """What was copied to build in is gone again after a failure as well."""
    checkout, python = tmp_path / "checkout", tmp_path / "prefix/bin/python"
    for folder in (checkout, python.parent):
        folder.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$3" = --version ]\n', encoding="utf-8")
    python.chmod(0o755)
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8").replace('main "$@"', 'program "$1"')
    script = script.replace("prefix=/opt/glancein", f"prefix={tmp_path}/prefix")

    done = subprocess.run(
        ["/usr/bin/env", f"TMPDIR={tmp_path}", "bash", "-c", script, "install-pi.sh", checkout],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "pip could not install glancein" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout", "prefix"]


def test_example_settings_are_settings() -> None:
    """Every line of kiosk.env.example is a setting with an allowed value, those to be taken up too."""
    text = (DEPLOY / "kiosk.env.example").read_text(encoding="utf-8")
    lines = text.replace("\n#GLANCEIN_", "\nGLANCEIN_").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert f"{settings.PREFIX}DESK_PORT" in values

    settings.build({name.removeprefix(settings.PREFIX).lower(): value for name, value in values.items()})

    assert all(name.startswith(settings.PREFIX) for name in values)


def test_doctor_of_the_guide_sees_what_the_service_sees() -> None:
    """One reader of the settings, so that a value may hold spaces; the same account and groups."""
    unit = (DEPLOY / "systemd/glancein-kiosk.service").read_text(encoding="utf-8")
    said = dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"[A-Z]\w+=", line))
    words = shlex.split(doctor_of("raspberry-pi.md"))

    assert words[:2] == ["sudo", "systemd-run"]
    assert words[-2:] == [said["ExecStart"].split()[0], "doctor"]
    assert set(words[2:-2]) == {
        "--quiet",
        "--pipe",
        "--wait",
        f"--uid={said['User']}",
        f"--gid={said['Group']}",
        f"--property=SupplementaryGroups={said['SupplementaryGroups']}",
        f"--property=EnvironmentFile={said['EnvironmentFile']}",
        f"--setenv={said['Environment']}",
    }


def test_doctor_is_called_alike_wherever_it_is_read() -> None:
    """One line to copy: in both guides and at the end of the installation."""
    script = (DEPLOY / "install-pi.sh").read_text(encoding="utf-8")
    variables, told = script.split("main() {")[0], script.split("cat <<TEXT\n")[1].split("\nTEXT")[0]
    ending = f"{variables}\ncat <<TEXT\n{told}\nTEXT\n"
    done = subprocess.run(["/usr/bin/env", "bash", "-c", ending], capture_output=True, text=True, check=True)

    line = doctor_of("raspberry-pi.md")
    lines = [told.strip() for told in done.stdout.splitlines()]
    assert doctor_of("broker.md") == line
    assert line in lines
    enrol = next(told for told in lines if " enroll " in told)
    assert enrol.split(" enroll ")[0] == line.removesuffix(" doctor")
    assert enrol in (DEPLOY.parent / "docs/raspberry-pi.md").read_text(encoding="utf-8")


def doctor_of(guide: str) -> str:
    """The command line of a guide that runs the doctor on an installed kiosk."""
    text = (DEPLOY.parent / "docs" / guide).read_text(encoding="utf-8")
    (line,) = re.findall(r"^ {4,}(sudo .* doctor)$", text, re.MULTILINE)
    return str(line)


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


@pytest.mark.parametrize(
    "payload",
    [b"hello", b"\xff", b"[1]", b"7", b"[" * 9999, b'{"id":{}}', EVENT.replace(b'"time":"now",', b"")],
    ids=["text", "no text", "list", "number", "deep", "no number", "no time"],
)
def test_example_reader_passes_over_what_is_no_event(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], payload: bytes
) -> None:
    """One line on standard error, and the next punch is printed, once."""
    later = EVENT.replace(b'"seq":7', b'"seq":8')
    printed = hear(monkeypatch, [payload, EVENT, later, EVENT, b"\n".join([later, EVENT])], capsys)

    assert [line.split()[-1] for line in printed.out.splitlines()] == ["7", "8"]
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("skipped what is no event on 'glancein/v1/main/kiosk-1/event': ")


def hear(
    monkeypatch: pytest.MonkeyPatch, payloads: list[bytes], capsys: pytest.CaptureFixture[str]
) -> CaptureResult[str]:
    """What print_events.py prints when these come; the network is left out."""

    def come(client: Client) -> None:
        for payload in payloads:
            message = MQTTMessage(topic=b"glancein/v1/main/kiosk-1/event")
            message.payload = payload
            assert client.on_message is not None
            client.on_message(client, None, message)

    monkeypatch.setattr(Client, "connect", lambda *_: None)
    monkeypatch.setattr(Client, "loop_forever", come)
    runpy.run_path(str(DEPLOY / "subscribers/print_events.py"))["main"]("127.0.0.1")
    return capsys.readouterr()


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

"""One look at everything a kiosk needs: a line each, with what to do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from glancein import wiring
from glancein.errors import CameraError, GlanceinError, SettingsError
from glancein.settings import FILE, Settings
from glancein.types import ClockTrust
from glancein.wiring import Home

LOW_DISK_MB = 500
FEW = 5  # events that are named one by one
HOT_C = 80.0  # a Raspberry Pi throttles from here
SOON_DAYS = 30  # a certificate that ends within a month wants somebody to act
RENEW = "make a new one where the site's folder is: glancein site rotate"
FIRST = "put this right first"
OTHER_SETTINGS = (
    "run it with the kiosk's own settings (docs/raspberry-pi.md), or restart the kiosk to rename it"
)
CAMERA_PATIENCE_S = 5.0
BROKER_PATIENCE_S = 3.0
COPY_PATIENCE_S = 0.5  # a kiosk that is recording just now copies an event a moment after its commit
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


class State(StrEnum):
    """How one thing is."""

    WELL = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report; ``advice`` is empty when all is well."""

    what: str
    state: State
    said: str
    advice: str = ""


Step = tuple[str, Callable[[], Iterator[Check]]]  # what it is about, and what looks


def examine(
    home: Home, *, camera: str | None = None, broker: str | None = None, with_camera: bool = True
) -> Iterator[Check]:
    """Every check in turn; none of them stops the others.

    The settings' camera is left to a kiosk that runs on this folder, which is asked about it.
    """
    url = broker or home.settings.broker
    steps: list[Step] = [
        ("settings", lambda: _settings(home)),
        ("models", lambda: _models(home)),
        ("database", lambda: _database(home)),
        ("camera", lambda: _camera(camera) if camera else _own_camera(home)),
        ("broker", lambda: _broker(url)),
        ("certificate", lambda: _certificate(url)),
        *_machine(home.folder),
    ]
    yield from _run([step for step in steps if with_camera or step[0] != "camera"])


def examine_without_settings(folder: Path, problem: SettingsError) -> Iterator[Check]:
    """What is wrong with the settings, and the checks that need none."""
    yield Check("settings", State.BROKEN, str(problem), FIRST)
    yield from _run([("models", lambda: _models(Home(folder, Settings()))), *_machine(folder)])


def _machine(folder: Path) -> list[Step]:
    return [("clock", _clock), ("disk", lambda: _disk(folder)), ("temperature", _temperature)]


def _run(steps: Sequence[Step]) -> Iterator[Check]:
    for what, step in steps:
        try:
            yield from step()
        except GlanceinError as err:
            yield Check(what, State.BROKEN, str(err), FIRST)


def _settings(home: Home) -> Iterator[Check]:
    """What the table of settings cannot tell by itself: files, and values that do not go together."""
    from glancein.domain.attendance import ever_asks, parse_rule  # noqa: PLC0415  # beside their only use
    from glancein.domain.workdays import parse_hours  # noqa: PLC0415  # as above
    from glancein.web.desk.consent import read_own_text  # noqa: PLC0415  # as above
    from glancein.web.language import check_language  # noqa: PLC0415  # as above

    chosen = home.settings
    wiring.open_seal(chosen.signing_key, chosen.trusted_keys)
    parse_hours(chosen.work_start, chosen.late_after_min, chosen.work_days)
    check_language("screen", chosen.language)
    if chosen.consent_text:
        read_own_text(chosen.consent_text)
    if ever_asks(parse_rule(chosen.direction)) and chosen.screen != "web":
        said = f"direction = {chosen.direction!r} asks people, which needs a screen to touch"
        yield Check(
            "settings", State.WARNING, said, 'set screen = "web", or start the kiosk with --screen web'
        )
        return
    file = home.folder / FILE
    if file.exists():
        yield Check("settings", State.WELL, f"{file}: site {chosen.site}, kiosk {chosen.kiosk}")
    else:
        yield Check("settings", State.WELL, f"no {file}: site {chosen.site}, kiosk {chosen.kiosk}")


def _models(home: Home) -> Iterator[Check]:
    recogniser = wiring.open_recogniser(home)
    runtime = recogniser.embedder.runtime_name
    for card in (recogniser.finder.card, recogniser.embedder.card):
        yield Check(
            f"{card.kind}", State.WELL, f"{card.name} {card.sha256[:12]}, {runtime}, golden vectors hold"
        )


def _database(home: Home) -> Iterator[Check]:
    with closing(wiring.open_people(home)) as people:
        everybody = people.people()
    model = wiring.embedder_sha256(home)
    stale = [p.person_id for p in everybody if model not in p.models]
    with closing(wiring.open_ledger(home)) as ledger:
        backlog = ledger.position().backlog
        aside = ledger.laid_aside()
        speaks_as = ledger.speaks_as
        is_copied = ledger.is_all_copied()
        if not is_copied:
            time.sleep(COPY_PATIENCE_S)
            is_copied = ledger.is_all_copied()
    yield Check(
        "database", State.WELL, f"{home.database}: {len(everybody)} people, {backlog} events unacknowledged"
    )
    if speaks_as != (named := f"{home.settings.site}/{home.settings.kiosk}"):
        said = f"the events are of {speaks_as}, these settings say {named}"
        yield Check("settings", State.WARNING, said, OTHER_SETTINGS)
    if not is_copied:
        said = "events that wait have no second copy on this disk: if the database is damaged they are lost"
        yield Check("second copy", State.WARNING, said, "check the card and free some space; keep a copy")
    for one in aside[:FEW]:
        said = f"number {one.event.seq} of {one.at:.10} was laid aside: {one.why}"
        yield Check("feed", State.WARNING, said, "put right what is said, then: glancein doctor --send-again")
    if len(aside) > FEW:
        yield Check("feed", State.WARNING, f"{len(aside) - FEW} more events were laid aside")
    for path in home.set_aside():
        yield Check(
            "database",
            State.WARNING,
            f"{path.name} was damaged and set aside",
            "check the card; once nothing is missed, delete the file: people erased since are still in it",
        )
    if stale:
        few = ", ".join(stale[:5])
        yield Check(
            "templates",
            State.WARNING,
            f"{len(stale)} made by another model ({few})",
            "enrol these photos again",
        )


def _own_camera(home: Home) -> Iterator[Check]:
    kiosk = wiring.running_kiosk(home)
    yield from _camera(home.settings.camera) if kiosk is None else _camera_of(kiosk)


def _camera_of(kiosk: Mapping[str, object]) -> Iterator[Check]:
    """What a running kiosk says of its camera, which it holds open."""
    if not kiosk:
        yield Check("camera", State.BROKEN, "the running kiosk does not answer", "restart the kiosk")
    elif problem := kiosk.get("camera"):
        yield Check("camera", State.BROKEN, str(problem), "plug it in, or choose one with --camera")
    else:
        said = f"the running kiosk has looked at {kiosk.get('frames')} pictures"
        yield Check("camera", State.WELL, said)


def _camera(word: str) -> Iterator[Check]:
    camera = wiring.open_camera(word)
    try:
        frame = camera.read(CAMERA_PATIENCE_S)
    except CameraError as err:
        yield Check("camera", State.BROKEN, str(err), "plug it in, or choose one with --camera")
        return
    finally:
        camera.close()
    if frame is None:
        yield Check("camera", State.BROKEN, f"{word} has no pictures", "choose another with --camera")
        return
    height, width = frame.pixels.shape[:2]
    yield Check("camera", State.WELL, f"{word}: {width} x {height}")


def _broker(url: str) -> Iterator[Check]:
    if url == "embedded":
        yield Check(
            "broker", State.WARNING, "embedded: for trying out", "name a broker with --broker mqtt://host"
        )
        return
    from glancein.mqtt.broker_url import parse_broker_url  # noqa: PLC0415  # beside its only use
    from glancein.mqtt.link import Greeting, open_link  # noqa: PLC0415  # loads paho

    where = parse_broker_url(url)
    # A name of its own: a broker ends the connection of whoever has the same one.
    with open_link(where, Greeting(f"glancein-doctor-{uuid4().hex[:12]}"), patience_s=BROKER_PATIENCE_S):
        yield Check("broker", State.WELL, f"{where} answers")


def _certificate(url: str) -> Iterator[Check]:
    from glancein.mqtt.broker_url import parse_broker_url  # noqa: PLC0415  # beside its only use

    try:
        path = None if url == "embedded" else parse_broker_url(url).cert
    except SettingsError:  # the broker's own line says so
        return
    if path is None:
        return
    from glancein.adapters.certificates import read_facts  # noqa: PLC0415  # loads cryptography

    try:
        facts = read_facts(path.read_bytes())
    except OSError as err:
        yield Check("certificate", State.BROKEN, f"{path}: {err.strerror}", "put the file there, readable")
        return
    left = (facts.ends - datetime.now(UTC)).days
    said = f"{facts.common_name}, until {facts.ends:%Y-%m-%d}"
    if left < 0:
        yield Check("certificate", State.BROKEN, f"{said}: expired", RENEW)
    elif left < SOON_DAYS:
        yield Check("certificate", State.WARNING, f"{said}: {left} days left", RENEW)
    else:
        yield Check("certificate", State.WELL, said)


def _clock() -> Iterator[Check]:
    from glancein.adapters.clock_system import SystemClock  # noqa: PLC0415  # beside its only use

    moment = SystemClock().now()
    said = f"{moment.wall:%Y-%m-%d %H:%M:%S%z}, {moment.trust}"
    if moment.trust is ClockTrust.SYNCHRONISED:
        yield Check("clock", State.WELL, said)
    else:
        yield Check("clock", State.WARNING, said, "start a time service such as systemd-timesyncd")


def _disk(folder: Path) -> Iterator[Check]:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if not os.access(folder, os.W_OK):
        yield Check("disk", State.BROKEN, f"{folder} cannot be written", "check its owner and the card")
    elif free_mb < LOW_DISK_MB:
        yield Check("disk", State.WARNING, f"{free_mb} MB free", "free some space")
    else:
        yield Check("disk", State.WELL, f"{free_mb} MB free")


def _temperature() -> Iterator[Check]:
    try:
        celsius = int(THERMAL.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return
    hot = celsius >= HOT_C
    advice = "add a heat sink or a fan" if hot else ""
    yield Check("temperature", State.WARNING if hot else State.WELL, f"{celsius:.0f} degrees Celsius", advice)

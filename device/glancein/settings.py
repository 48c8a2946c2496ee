"""One table of settings: name, type, default, range, help; loaded once, an unknown key is an error.

Later sources win: defaults, ``settings.toml`` in the data folder, ``GLANCEIN_<NAME>`` in the environment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from glancein.errors import SettingsError

FILE = "settings.toml"
PREFIX = "GLANCEIN_"
KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text in quotes"}


def _setting(default: Any, explain: str, **rule: Any) -> Any:  # Any: dataclasses.field itself returns Any
    return field(default=default, metadata={"help": explain, **rule})


def named_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises SettingsError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:  # OSError: a part of a name, such as Europe
        raise SettingsError(f"time_zone = {name!r} is not a known time zone, such as Europe/Berlin") from err


def _check_topic(name: str, text: str) -> None:
    from glancein.domain.event_body import SEGMENT  # noqa: PLC0415  # loads numpy; the default needs none

    if not SEGMENT.match(text):
        raise SettingsError(
            f"{name} = {text[:70]!r} goes into a topic: not empty and without / + # or spaces; use 1 to 64 "
            "letters from a to z, digits, '.', '_' or '-', beginning with a letter or digit"
        )


def _check_direction(text: str) -> None:
    from glancein.domain.attendance import parse_rule  # noqa: PLC0415  # loads numpy; the default needs none

    parse_rule(text)


def _check_zone(name: str) -> None:
    if name:
        named_zone(name)


def _check_hosts(text: str) -> None:
    for name in filter(None, (part.strip() for part in text.split(","))):
        if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", name):
            raise SettingsError(
                f"desk_hosts: {name!r} is not the name of a host such as kiosk.example or *.example: "
                "leave https:// and the port away"
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting there is."""

    site: str = _setting("main", "name of the site in topics and events", check=partial(_check_topic, "site"))
    kiosk: str = _setting(
        "kiosk-1", "name of this kiosk in topics and events", check=partial(_check_topic, "kiosk")
    )
    fpir: float = _setting(
        0.003, "wanted share of strangers taken for somebody, at any gallery size", low=1e-6, high=0.5
    )
    accept_cos: float = _setting(
        0.0, "fixed cosine threshold; 0 takes the calibrated one of the model card", low=0.0, high=1.0
    )
    margin_cos: float = _setting(
        0.0, "lead over the runner-up below which a face is ambiguous; 0 takes the card's", low=0.0, high=1.0
    )
    duplicate_cos: float = _setting(
        0.0,
        "cosine from which a new person counts as enrolled already; 0: one false alarm in a million",
        low=0.0,
        high=1.0,
    )
    agreeing_frames: int = _setting(3, "frames that must name the same person", low=1, high=30)
    visit_window_s: float = _setting(3.0, "seconds within which those frames must fall", low=0.2, high=60.0)
    refuse_after_s: float = _setting(
        2.0, "seconds a face may stay unknown before it is told so", low=0.2, high=60.0
    )
    leave_after_s: float = _setting(
        1.0, "seconds without a face after which a visit is over", low=0.1, high=60.0
    )
    quiet_s: float = _setting(
        120.0, "seconds in which a second look is not a second punch", low=0.0, high=86_400.0
    )
    max_shift_h: float = _setting(
        16.0, "hours after which an open check-in was forgotten", low=1.0, high=48.0
    )
    direction: str = _setting(
        "alternate",
        "alternate, ask, in, out, or times of day such as 05:00=in,11:00=alternate,15:00=out; "
        "while the clock is unset, times of day ask if they ever do, else alternate; "
        "with several kiosks take in, out or ask, since each knows only its own punches",
        check=_check_direction,
    )
    time_zone: str = _setting(
        "", "IANA name such as Asia/Seoul; empty takes the machine's", check=_check_zone
    )
    min_face_px: int = _setting(
        32, "pixels between the eyes below which a kiosk face is too far", low=10, high=400
    )
    names_in_feed: bool = _setting(default=False, explain="write people's names into events")
    delivery: str = _setting(
        "consumer", "what takes an event out of the outbox", choices=("consumer", "puback")
    )
    signing_key: str = _setting("", "file of the key that signs this kiosk's events (glancein make-key)")
    trusted_keys: str = _setting("", "file of the keys whose acknowledgements count; empty takes all")
    broker: str = _setting("embedded", "embedded, or mqtt://host[:port], mqtts://user:password@host")
    camera: str = _setting("usb:0", "picamera2, usb:N, rtsp://…, a video file or a folder of pictures")
    work_start: str = _setting("09:00", "time of day at which people are expected")
    late_after_min: float = _setting(5.0, "minutes after that which are not yet late", low=0.0, high=720.0)
    work_days: str = _setting("mon,tue,wed,thu,fri", "days on which people are expected")
    desk_port: int = _setting(
        0, "port of the HR desk in the kiosk's own service; 0: no desk there", low=0, high=65_535
    )
    desk_host: str = _setting("127.0.0.1", "address of that desk; 0.0.0.0 lets the network in")
    desk_hosts: str = _setting(
        "", "names, separated by commas, under which the HR desk may be reached", check=_check_hosts
    )
    desk_proxy: bool = _setting(
        default=False,
        explain="a proxy on this machine leads to the desk and says who asks (X-Forwarded-For, -Proto)",
    )
    consent_text: str = _setting("", "text file of the consent people sign; empty takes the built-in one")
    screen: str = _setting(
        "terminal", "what the kiosk shows on: lines and panels, or a page", choices=("terminal", "web")
    )
    web_port: int = _setting(8480, "port of the kiosk's page, on this machine only", low=0, high=65_535)
    language: str = _setting("en", "language of the kiosk's page, such as en or ko")
    names_on_screen: bool = _setting(default=True, explain="show people's names; otherwise their ids")
    screen_sound: str = _setting(
        "tones", "what the kiosk's page lets hear", choices=("off", "tones", "voice")
    )
    screen_contrast: str = _setting("normal", "contrast of the kiosk's page", choices=("normal", "high"))
    clock_hours: int = _setting(24, "12 or 24 hours on the kiosk's page", choices=(12, 24))
    answer_s: float = _setting(6.0, "seconds an answer and its 'Not you?' stay", low=2.0, high=15.0)
    threads: int = _setting(
        0, "threads of each network; 0: the kiosk measures which is fastest", low=0, high=16
    )


def load(folder: Path, environ: Mapping[str, str]) -> Settings:
    """Settings of one data folder.

    Raises SettingsError with where it stands, the name, the value and what is allowed.
    """
    converted: dict[str, Any] = {}  # Any: as in _convert_all
    path = folder / FILE
    if path.exists():
        converted.update(_convert_from(str(path), _read_file(path)))
    known = {f"{PREFIX}{f.name.upper()}": f.name for f in fields(Settings)}
    found = {known[key]: value for key, value in environ.items() if key in known}
    converted.update(_convert_from("the environment", found))
    return Settings(**converted)


def build(values: Mapping[str, object]) -> Settings:
    """Settings from loose values, each converted and checked. Raises SettingsError."""
    return Settings(**_convert_all(values))


def _convert_from(where: str, values: Mapping[str, object]) -> dict[str, Any]:  # Any: as in _convert_all
    try:
        return _convert_all(values)
    except SettingsError as err:
        raise SettingsError(f"{where}: {err}") from err


def _convert_all(values: Mapping[str, object]) -> dict[str, Any]:
    known = {f.name: f for f in fields(Settings)}
    for name in values:
        if name not in known:
            raise SettingsError(f"there is no setting '{name}': one of {', '.join(known)}")
    # Any: each value has its field's kind, checked by _convert
    return {name: _convert(name, value, known[name]) for name, value in values.items()}


def _read_file(path: Path) -> dict[str, object]:
    try:
        # utf-8-sig: editors on Windows begin the file with a byte order mark.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SettingsError(f"{path} is not valid TOML: {err}") from err
    except OSError as err:
        raise SettingsError(f"{path} cannot be read: {err.strerror}") from err


def _convert(
    name: str, value: object, entry: Any
) -> object:  # Any: dataclasses.Field is generic in a hidden type
    rule = entry.metadata
    try:
        converted = _as_kind(entry.type, value)
    except (TypeError, ValueError) as err:
        raise SettingsError(f"{name} = {value!r} is not {KINDS[entry.type]}: {rule['help']}") from err
    if "choices" in rule and converted not in rule["choices"]:
        raise SettingsError(f"{name} = {value!r}: one of {', '.join(map(str, rule['choices']))}")
    if "low" in rule and not rule["low"] <= converted <= rule["high"]:
        raise SettingsError(f"{name} = {value!r} is outside {rule['low']} to {rule['high']}: {rule['help']}")
    if "check" in rule:
        rule["check"](converted)
    return converted


def _as_kind(kind: str, value: object) -> Any:  # Any: one of the four kinds a setting has
    match kind, value:
        case "bool", bool():
            return value
        case "bool", str() if value.lower() in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
            return value.lower() in {"1", "true", "yes", "on"}
        case "int", int() | str() if not isinstance(value, bool):
            return int(value)
        case "float", int() | float() | str() if not isinstance(value, bool):
            return float(value)
        case "str", str():
            return value
    raise ValueError(kind)

"""A run's configuration: a frozen dataclass, settings as NAME=JSON, and the record that is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from glancein.errors import InputError

Settings = TypeVar("Settings")

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pillow", "scikit-learn")  # what figures depend on


def with_settings(config: Settings, settings: Sequence[str]) -> Settings:
    """The configuration with NAME=JSON settings put in; "augment.blur=0.5" reaches inside.

    A value that is no JSON is taken as text. Raises InputError for an unknown name or a value of another
    kind.
    """
    for item in settings:
        name, sign, text = item.partition("=")
        if not sign:
            raise InputError(f"a setting is NAME=VALUE, not {item!r}")
        config = _with(config, name.split("."), _value(text), item)
    return config


def at_least(config: object, least: Mapping[str, int]) -> None:
    """Raise InputError naming the first setting that is lower than it may be; "transfer.steps" is inside."""
    for name, number in least.items():
        refuse_below(name, attrgetter(name)(config), number)


def refuse_below(name: str, value: float, least: int) -> None:
    """Raise InputError if the value of this name is lower than it may be."""
    if value < least:
        raise InputError(f"{name}={value} is too low: set {least} or more")


def record(config: object, **more: object) -> dict[str, object]:
    """The configuration as plain values, with the commit, the library versions and whatever else is given."""
    plain = dataclasses.asdict(config)  # type: ignore[call-overload]  # any dataclass
    return {**plain, **more, "commit": commit(), "versions": versions()}


def keep_record(folder: Path, config: object, *, start: Path | None = None, **more: object) -> None:
    """Write ``config.json``: the record of the session that begins, and in ``sessions`` that of every one.

    ``start``: the weights that a fresh run begins with; their name and hash go in. ``more``: what else the
    session depends on, such as where it begins.
    """
    path = folder / "config.json"
    begun: dict[str, str | None] = {"start_from": None, "start_sha256": None}
    if start is not None:
        begun = {"start_from": str(start), "start_sha256": hashlib.sha256(start.read_bytes()).hexdigest()}
    kept = record(config, **more, **begun)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sessions": []}
    # A run of before sessions were kept has its first one's record alone.
    content = {**kept, "sessions": [*before.get("sessions", [before]), kept]}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def versions() -> dict[str, str]:
    """Python's version and that of every library of LIBRARIES that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of this checkout, "unknown" outside one; "+" at the end where files were changed."""
    here = Path(__file__).resolve().parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],  # noqa: S607  # found by PATH
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return told.stdout.strip() or "unknown"


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _with(config: Settings, names: list[str], value: object, item: str) -> Settings:
    fields = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]  # any dataclass
    if names[0] not in fields:
        raise InputError(f"unknown setting {item!r}; there are {', '.join(sorted(fields))}")
    before = getattr(config, names[0])
    after: object
    if dataclasses.is_dataclass(before) and not isinstance(before, type):
        after = _inside(before, names[1:], value, item)
    elif len(names) > 1:
        raise InputError(f"setting {item!r} reaches inside {names[0]}, which has no parts")
    else:
        after = _fitted(before, value, item)
    changed: Any = dataclasses.replace(config, **{names[0]: after})  # type: ignore[type-var]  # any dataclass
    return changed  # type: ignore[no-any-return]  # replace keeps the class


def _inside(before: Settings, names: list[str], value: object, item: str) -> Settings:
    if names:
        return _with(before, names, value, item)
    if not isinstance(value, dict):
        raise InputError(f"setting {item!r} takes a JSON object")
    for name, inner in value.items():
        before = _with(before, [str(name)], inner, item)
    return before


def _fitted(before: object, value: object, item: str) -> object:
    """The value as the kind of the one it replaces."""
    match before, value:
        case bool(), bool():
            return value
        case float(), int() | float() if not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        case int(), int() if not isinstance(before, bool) and not isinstance(value, bool):
            return value
        case tuple(), list():
            return tuple(value)
        case str(), _:
            return value if isinstance(value, str) else str(value)
    raise InputError(f"setting {item!r} takes a {type(before).__name__}, such as {before!r}")

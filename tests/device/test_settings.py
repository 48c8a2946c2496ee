"""Settings come from one table; anything else is an error that says so."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from glancein import settings
from glancein.errors import SettingsError


def test_load_when_nothing_is_set(tmp_path: Path) -> None:
    """An empty folder and environment give the defaults."""
    assert settings.load(tmp_path, {}) == settings.Settings()


def test_load_when_file_and_environment_disagree(tmp_path: Path) -> None:
    """The environment wins over the file, and text becomes the setting's type."""
    (tmp_path / "settings.toml").write_text('kiosk = "gate"\nquiet_s = 60\n', encoding="utf-8")

    loaded = settings.load(tmp_path, {"GLANCEIN_QUIET_S": "30", "GLANCEIN_NAMES_IN_FEED": "yes"})

    assert (loaded.kiosk, loaded.quiet_s, loaded.names_in_feed) == ("gate", 30.0, True)


def test_load_when_an_editor_on_windows_wrote_the_file(tmp_path: Path) -> None:
    """It begins with a byte order mark and ends lines in its own way."""
    (tmp_path / "settings.toml").write_bytes(b'\xef\xbb\xbfkiosk = "gate"\r\nquiet_s = 60\r\n')

    assert settings.load(tmp_path, {}) == settings.Settings(kiosk="gate", quiet_s=60.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kiosc = 'x'", "there is no setting 'kiosc'"),
        ("quiet_s = 'soon'", "quiet_s = 'soon' is not a number"),
        ("agreeing_frames = 'three'", "agreeing_frames = 'three' is not a whole number"),
        ("names_in_feed = 'maybe'", "is not true or false"),
        ("site = 7", "is not text in quotes"),
        ("direction = 'sideways'", "'sideways' is none of alternate, ask, in, out"),
        ("direction = '05:00=in,05:00=out'", "names 05:00 twice"),
        ("time_zone = 'Mars/X'", "'Mars/X' is not a known time zone"),
        ("time_zone = 'Europe'", "'Europe' is not a known time zone"),
        ("quiet_s = -1", "outside 0.0 to"),
        ("quiet_s = true", "is not a number"),
        ("agreeing_frames = 0", "outside 1 to 30"),
        ("delivery = 'fax'", "one of consumer, puback"),
        ("desk_hosts = 'https://kiosk.example'", "leave https:// and the port away"),
        ("desk_hosts = 'a.example, kiosk.example:8600'", "'kiosk.example:8600' is not the name of a host"),
        ("desk_hosts = 'kiosk*'", "is not the name of a host"),
        ("kiosk = 'a/b'", r"without / \+ #"),
        ("kiosk = ''", "not empty"),
        ("site = 'Head Office'", "site = 'Head Office' goes into a topic"),
        ("site = 'Zürich'", "letters from a to z"),
        ("site = '.hq'", "beginning with a letter or digit"),
        (f"kiosk = '{'k' * 65}'", "use 1 to 64 letters"),
        ("kiosk = ", "not valid TOML"),
    ],
)
def test_load_when_the_file_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    """The error names the file, the setting, the value and what is allowed."""
    (tmp_path / "settings.toml").write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match=said) as refused:
        settings.load(tmp_path, {})

    assert str(tmp_path / "settings.toml") in str(refused.value)


def test_load_when_the_environment_is_wrong(tmp_path: Path) -> None:
    """The error says that the value stands there and not in the file."""
    (tmp_path / "settings.toml").write_text("quiet_s = 60\n", encoding="utf-8")

    with pytest.raises(SettingsError, match="the environment: quiet_s = 'soon' is not a number"):
        settings.load(tmp_path, {"GLANCEIN_QUIET_S": "soon"})


def test_settings_when_listed() -> None:
    """Every setting explains itself and has a default that its own rule allows."""
    defaults = settings.Settings()

    assert all(f.metadata["help"] for f in fields(settings.Settings))
    assert settings.build({f.name: getattr(defaults, f.name) for f in fields(settings.Settings)}) == defaults

"""``mqtt://host:port`` and ``mqtts://user:password@host`` -> where the broker is and how to greet it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from glancein.errors import SettingsError

PORTS = {"mqtt": 1883, "mqtts": 8883}
EXAMPLE = "write it like mqtt://broker.example or mqtts://user:password@broker.example:8883"
TLS_FILES = frozenset({"ca", "cert", "key"})


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where a broker is. ``ca``, ``cert`` and ``key`` are files in PEM form, for TLS only."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        """The address without user and password, for logs and messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker_url(text: str) -> BrokerUrl:
    """Read an address; raises SettingsError that says what is wrong with it.

    TLS files follow as a query: ``mqtts://host?ca=/etc/glancein/ca.pem&cert=kiosk.pem&key=kiosk.key``.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as err:
        raise SettingsError(f"broker address has a wrong port or host ({err}); {EXAMPLE}") from None
    if parts.scheme not in PORTS:
        raise SettingsError(f"broker address does not begin with mqtt:// or mqtts://; {EXAMPLE}")
    if not parts.hostname or any(character.isspace() for character in parts.hostname):
        raise SettingsError(f"broker address names no host; {EXAMPLE}")
    if parts.path not in {"", "/"} or parts.fragment:
        raise SettingsError(f"broker address has something behind the port; {EXAMPLE}")
    if port == 0:
        raise SettingsError(f"broker address has port 0; {EXAMPLE}")
    files = _tls_files(parts)
    return BrokerUrl(
        host=parts.hostname,
        port=port or PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        ca=files.get("ca"),
        cert=files.get("cert"),
        key=files.get("key"),
    )


def _tls_files(parts: SplitResult) -> dict[str, Path]:
    files = {name: Path(value) for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    unknown = sorted(files.keys() - TLS_FILES)
    if unknown:
        raise SettingsError(f"broker address: {unknown[0]!r} is none of ca, cert, key")
    if files and parts.scheme != "mqtts":
        raise SettingsError("broker address: certificates need mqtts://")
    if ("cert" in files) != ("key" in files):
        raise SettingsError("broker address: cert and key go together")
    for name, path in files.items():
        try:
            is_there = path.is_file()
        except OSError as err:  # its folder is somebody else's
            raise SettingsError(f"broker address: the {name} file {path}: {err.strerror}") from err
        if not is_there:
            raise SettingsError(f"broker address: the {name} file {path} does not exist")
    return files

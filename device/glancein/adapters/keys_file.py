"""Ed25519 keys in files: a private one in PEM, and the trusted public ones as a list of lines."""

from __future__ import annotations

import base64
import binascii
import logging
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from glancein.domain import wire
from glancein.errors import SettingsError

log = logging.getLogger(__name__)

LONGEST_FILE = 1 << 20


def make_key(path: Path) -> str:
    """Write a new private key, readable by its owner only; returns the public one as text.

    Raises SettingsError if there is a file already: a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(pem)
            os.fsync(out.fileno())
    except FileExistsError:
        raise SettingsError(f"there is a key in {path} already; move it away to make a new one") from None
    except OSError as err:
        raise SettingsError(f"cannot write the key {path}: {err.strerror}") from err
    return _to_text(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def read_signer(path: Path) -> wire.Signer:
    """What signs with the private key in this file; raises SettingsError."""
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError):
        raise SettingsError(f"{path} is not a private key in PEM form without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"the key in {path} is not an Ed25519 key; make one with glancein")

    def sign(core: bytes) -> str:
        return _to_text(key.sign(core))

    return sign


def read_trusted(path: Path) -> wire.Verifier:
    """What checks signatures against a list of public keys; raises SettingsError.

    Lines are ``kiosk <site>/<kiosk> <key>`` and ``consumer <name> <key>``; ``#`` begins a comment. Several
    keys of one name are all trusted, so that a key can be exchanged without a gap. A line taken out is a
    key revoked.
    """
    keys: dict[str, list[Ed25519PublicKey]] = {}
    for number, line in enumerate(_read(path).decode(errors="replace").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[0] not in {"kiosk", wire.CONSUMER}:
            raise SettingsError(
                f"{path} line {number} is not 'kiosk <site>/<kiosk> <key>' or 'consumer <name> <key>'"
            )
        whose = f"kiosk {words[1]}" if words[0] == "kiosk" else wire.CONSUMER
        keys.setdefault(whose, []).append(_public_key(path, number, words[2]))

    def verify(whose: str, core: bytes, signature: str) -> bool:
        return any(_is_signed(key, core, signature) for key in keys.get(whose, ()))

    return verify


class TrustedKeys:
    """Checks signatures like ``read_trusted``, and reads the list again whenever the file is another one.

    A later list that cannot be read is logged once, and the keys from before go on counting. Raises
    SettingsError for the first one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._verify = read_trusted(path)

    def __call__(self, whose: str, core: bytes, signature: str) -> bool:
        """True if the signature is by a key of that one that is in the list now."""
        if (stamp := _stamp(self._path)) != self._stamp:
            self._stamp = stamp  # taken before reading: what is still being written is another one after it
            self._read_again()
        return self._verify(whose, core, signature)

    def _read_again(self) -> None:
        try:
            self._verify = read_trusted(self._path)
        except SettingsError as err:
            log.warning("%s; until that is put right the trusted keys from before count", err)
        else:
            log.info("read %s again", self._path)


def _stamp(path: Path) -> tuple[int, ...]:
    """What is another one after each change of a file; empty if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_signed(key: Ed25519PublicKey, core: bytes, signature: str) -> bool:
    try:
        key.verify(_from_text(signature), core)
    except (InvalidSignature, ValueError):
        return False
    return True


def _public_key(path: Path, number: int, text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(_from_text(text))
    except ValueError:
        raise SettingsError(f"{path} line {number}: {text[:20]!r} is not a public key") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_FILE)
    except OSError as err:
        raise SettingsError(f"cannot read {path}: {err.strerror}") from err


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    """Strict: one signature has one spelling. Raises ValueError."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as err:
        raise ValueError(str(err)) from err
    if _to_text(raw) != text:
        raise ValueError("not the one spelling")
    return raw

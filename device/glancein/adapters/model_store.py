"""Installed models: signed bundles, switched by one atomic rename, with the previous one kept.

    ROOT/embedder/versions/<hash of the card>/   whole bundles, never changed once they are there; another
                                                 copy of one that is there gets a suffix behind a dot
    ROOT/embedder/current -> versions/<hash>     what the kiosk opens
    ROOT/embedder/previous -> versions/<hash>    what it goes back to
    ROOT/embedder/next -> versions/<hash>        installed, waiting until everybody has a template of it
    ROOT/trusted/*.pub                           Ed25519 public keys (PEM) whose bundles are taken,
                                                 beside those that ship with the program

A bundle is signed by ``card.sig``: 64 bytes, Ed25519 over the bytes of ``card.json``, which lists the SHA-256
of every other file.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glancein import model_card
from glancein.errors import ModelError
from glancein.model_card import CARD_FILE, SIGNATURE_FILE, Kind, ModelCard

SIGNATURE_BYTES = 64
CURRENT, PREVIOUS, NEXT = "current", "previous", "next"
TRIAL_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Installed:
    """One bundle on this machine. ``role`` is shipped, current, previous or next."""

    role: str
    folder: Path
    card: ModelCard


class ModelStore:
    """The bundles of one kind: those installed under ``root`` and the one shipped with the program.

    ``keys`` is a folder of public keys that are trusted besides those of ``root/trusted``.
    """

    def __init__(self, root: Path, kind: Kind, *, shipped: Path, keys: Path | None = None) -> None:
        self._root = root
        self._here = root / kind
        self._kind: Kind = kind
        self._shipped = shipped
        self._keys = [folder for folder in (root / "trusted", keys) if folder is not None]

    def folder(self) -> Path:
        """The bundle to open: the installed one, or the shipped one if none is installed."""
        for role in (CURRENT, PREVIOUS):
            found = self._target(role)
            if found is not None:
                return found
        return self._shipped

    def listing(self) -> list[Installed]:
        """Every bundle that can be read, the one in use first."""
        places = [(role, self._target(role)) for role in (CURRENT, PREVIOUS)]
        out = []
        for role, folder in [*places, ("shipped", self._shipped), (NEXT, self.pending())]:
            if folder is not None and (folder / CARD_FILE).exists():
                out.append(Installed(role, folder, model_card.read_card(folder)))
        return out

    def install(self, bundle: Path, *, allow_unsigned: bool = False, later: bool = False) -> ModelCard:
        """Verify a bundle, try a copy of it in a process of its own, and switch to it.

        ``later`` keeps it as the pending one until ``switch``. Killed at any step, one working model
        remains. Raises ModelError, and then nothing has changed.
        """
        incoming = self._copy(bundle, model_card.read_card(bundle))
        try:
            card = verify(incoming, self._kind, trusted=self._trusted(), allow_unsigned=allow_unsigned)
            try_out(incoming, self._kind)
        except ModelError:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        version = incoming.with_name(_identity(incoming))
        if version.exists():  # perhaps damaged since, and perhaps in use: leave it alone
            version = Path(tempfile.mkdtemp(prefix=f"{version.name}.", dir=version.parent))
        incoming.replace(version)
        _sync(version.parent)
        self._point(NEXT, version)
        if not later:
            self.switch()
        self._prune()
        return card

    def pending(self) -> Path | None:
        """The bundle that is installed and not yet in use, None if there is none."""
        waiting = self._target(NEXT)
        return None if waiting == self._target(CURRENT) else waiting

    def switch(self) -> None:
        """Use the pending bundle from now on and keep the one in use; nothing if none is pending.

        If both are one bundle, the previous one stays what it was. Killed at any step, the old or the new one
        is in use, and another call completes it.
        """
        waiting, before = self.pending(), self._target(CURRENT)
        if waiting is not None:
            if before is not None and not _is_same(before, waiting):
                self._point(PREVIOUS, before)
            self._point(CURRENT, waiting)
        self.drop_pending()

    def drop_pending(self) -> None:
        """Forget the pending bundle; its files go with the next install."""
        (self._here / NEXT).unlink(missing_ok=True)
        if self._here.exists():
            _sync(self._here)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """True for one process at a time; who gets False leaves the work to the other."""
        self._here.mkdir(parents=True, exist_ok=True)
        with (self._here / ".lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def signed_by(self, bundle: Path) -> str | None:
        """Name of the trusted key that signed a bundle, None if it bears no signature. Raises ModelError."""
        if not (bundle / SIGNATURE_FILE).exists():
            return None
        return _check_signature(bundle, self._trusted())

    def rollback(self) -> ModelCard | None:
        """Go back to the previous bundle, or to the shipped one (then None); a pending one is forgotten.

        With one pending, that is all: the one in use stays. Raises ModelError if the shipped one is in use.
        """
        if self.pending() is not None:
            self.drop_pending()
            return model_card.read_card(self.folder())
        current, previous = self._target(CURRENT), self._target(PREVIOUS)
        if current is None:
            raise ModelError("the shipped model is in use: there is nothing to go back to")
        if previous is None or previous == current:
            (self._here / CURRENT).unlink()
            (self._here / PREVIOUS).unlink(missing_ok=True)
            _sync(self._here)
            return None
        self._point(CURRENT, previous)
        self._point(PREVIOUS, current)
        return model_card.read_card(previous)

    def working_folder(self) -> Path:
        """The bundle to open after a trial in a process of its own; a failing one is left by itself.

        Raises ModelError if even the shipped bundle fails.
        """
        for role in (CURRENT, PREVIOUS):
            folder = self._target(role)
            if folder is None:
                continue
            try:
                try_out(folder, self._kind)
            except ModelError as err:
                log.warning("the %s %s fails its trial: %s", role, self._kind, err)
                continue
            if role == PREVIOUS:
                self._point(CURRENT, folder)
            return folder
        try_out(self._shipped, self._kind)
        for role in (CURRENT, PREVIOUS):  # who enrols must use what the kiosk uses
            (self._here / role).unlink(missing_ok=True)
        return self._shipped

    def _trusted(self) -> dict[str, bytes]:
        return {
            path.stem: path.read_bytes() for folder in self._keys for path in sorted(folder.glob("*.pub"))
        }

    def _target(self, role: str) -> Path | None:
        link = self._here / role
        try:
            target = self._here / link.readlink()
        except OSError:
            return None
        return target if (target / CARD_FILE).exists() else None

    def _point(self, role: str, version: Path) -> None:
        fresh = self._here / f".{role}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version.relative_to(self._here))
        fresh.replace(self._here / role)
        _sync(self._here)

    def _copy(self, bundle: Path, card: ModelCard) -> Path:
        """A copy of the files that the card lists, on the disk for good."""
        incoming = self._here / "versions" / f".incoming.{os.getpid()}"
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            incoming.mkdir(parents=True)
            for name in (card.file, *card.files, SIGNATURE_FILE, CARD_FILE):
                if name != SIGNATURE_FILE or (bundle / name).exists():
                    _copy_file(bundle / name, incoming / name)
        except OSError as err:
            raise ModelError(f"cannot copy {bundle} to {incoming}: {err.strerror}") from err
        _sync(incoming)
        return incoming

    def _prune(self) -> None:
        keep = {self._target(role) for role in (CURRENT, PREVIOUS, NEXT)}
        for version in (self._here / "versions").iterdir():
            if version not in keep:
                shutil.rmtree(version, ignore_errors=True)


def verify(
    bundle: Path, kind: Kind, *, trusted: Mapping[str, bytes], allow_unsigned: bool = False
) -> ModelCard:
    """The card of a bundle whose files, hashes and signature are all right; nothing is executed.

    trusted: PEM public keys by name. Raises ModelError.
    """
    card = model_card.read_card(bundle)
    if card.kind != kind:
        raise ModelError(f"{bundle} holds a model of the kind {card.kind}, not {kind}")
    for name in (None, *card.files):
        model_card.read_file(bundle, card, name)
    if (bundle / SIGNATURE_FILE).exists() or not allow_unsigned:
        _check_signature(bundle, trusted)
    return card


def try_out(folder: Path, kind: Kind) -> None:
    """Open a bundle and run its golden vectors in a child process, which a damaged model may crash.

    Raises ModelError.
    """
    command = [sys.executable, "-m", "glancein.adapters.model_trial", str(folder), kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False)  # noqa: S603  # our own interpreter
    except subprocess.TimeoutExpired as err:
        raise ModelError(f"{folder}: the trial took more than {TRIAL_SECONDS:.0f} s") from err
    if done.returncode != 0:
        said = done.stderr.strip().rsplit("\n", 1)[-1] or f"the process ended with {done.returncode}"
        raise ModelError(f"{folder}: the trial failed: {said}")


def _check_signature(bundle: Path, trusted: Mapping[str, bytes]) -> str:
    """The name of the key that signed the card. Raises ModelError."""
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # only needed here
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    except ImportError as err:
        raise ModelError("signatures need the package cryptography: pip install cryptography") from err
    try:
        signature = (bundle / SIGNATURE_FILE).read_bytes()
        signed = (bundle / CARD_FILE).read_bytes()
    except OSError as err:
        raise ModelError(f"{bundle} is not signed: have it signed, or allow unsigned bundles") from err
    for name, pem in trusted.items():
        try:
            key = load_pem_public_key(pem)
        except ValueError:
            log.warning("a file among the trusted keys is no public key")
            continue
        if not isinstance(key, Ed25519PublicKey):
            continue
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return name
    raise ModelError(f"{bundle} is not signed by a key this kiosk trusts: put the key into trusted/")


def _identity(bundle: Path) -> str:
    return hashlib.sha256((bundle / CARD_FILE).read_bytes()).hexdigest()[:16]


def _is_same(one: Path, two: Path) -> bool:
    """True if both versions are copies of one bundle, also if its card was damaged since."""
    return one.name.partition(".")[0] == two.name.partition(".")[0]


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write)
        write.flush()
        os.fsync(write.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The folder of a site: the authority, the register, and one bundle to copy for everybody in it.

``site.json`` is the truth and is replaced whole; whatever was interrupted before that did not happen, and
whatever was interrupted after it is completed by the next command. Bundles that were taken away after
copying are not missed; of their files those come back that are no secrets and say something new since then.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from glancein.adapters.certificates import (
    Pair,
    Wanted,
    check_host,
    issue,
    make_authority,
    revocation_list,
    revoked_serials,
)
from glancein.adapters.keys_file import make_key
from glancein.errors import InputError, StoreError
from glancein.site import texts
from glancein.site.register import (
    Issue,
    Kind,
    Member,
    Register,
    decode_register,
    encode_register,
    member_name,
)

REGISTER = "site.json"
HANDED = "handed.json"  # what each file that is no secret said when it was last written
REVOKED = "revoked.crl"
FIRST_BROKER = "broker"
STAGING = ".staging"
AUTHORITY_DAYS = 7305  # twenty years: the machines that trust it are on walls
SIGNING = (Kind.KIOSK, Kind.CONSUMER)
OURS = frozenset(
    {f".{name}.partial" for name in (REGISTER, HANDED)}
    | {REGISTER, HANDED, STAGING, ".lock", "authority", "brokers", "kiosks", "consumers"}
)


@dataclass(slots=True)
class SiteFolder:
    """One site's folder, locked for one command; made by ``open_site``."""

    path: Path
    now: datetime
    register: Register
    authority: Pair
    changed: list[Path] = field(default_factory=list)  # files of bundles that were there, or copied, before

    def add(self, wanted: Member, *, days: int) -> tuple[Member, bool]:
        """Give somebody a certificate, and keys where they sign; False if they had one already."""
        known = self.register.find(wanted.name)
        if known is not None and known.kind is not wanted.kind:
            raise InputError(f"{wanted.name} is a {known.kind} already: take another name")
        if known is not None and known.newest is not None:
            return known, False
        for host in wanted.hosts:
            check_host(host)
        if wanted.name != FIRST_BROKER:
            self.register.get_broker(wanted.upstream or FIRST_BROKER)
        return self._issue(replace(wanted, issues=known.issues if known else ()), days), True

    def rotate(self, name: str, *, days: int) -> Member:
        """A new certificate and new keys; the former ones stay good until they are revoked."""
        member = self.register.get(name)
        if member.newest is None:
            raise InputError(f"{member.name} is revoked: add it again instead")
        return self._issue(member, days)

    def revoke(self, name: str, *, former_only: bool) -> Member:
        """Take certificates and keys back; with ``former_only`` all but the newest."""
        before = self.register.get(name)
        member = before.revoked(self.now, former_only=former_only)
        if member.kind is Kind.BROKER and not former_only:
            users = [m.name for m in self.register.members if m.newest and m.upstream == member.name]
            if member.name == FIRST_BROKER or users:
                raise InputError(f"the site needs the broker {member.name}: rotate it instead")
        if member != before:
            self._commit(self.register.put(member))
        return member

    def bundle(self, member: Member) -> Path:
        """Where the files to copy are."""
        match member.kind:
            case Kind.KIOSK:
                return self.path / "kiosks" / member.name
            case Kind.BROKER:
                return self.path / "brokers" / member.name
            case _:
                return self.path / "consumers" / member.name

    def settle(self) -> None:
        """Bring every file up to the register."""
        handed = _read_handed(self.path / HANDED)
        said: dict[str, str] = {}
        with _writing(self.path):
            for member in self.register.members:
                said |= self._settle_bundle(member, handed)
            shutil.rmtree(self.path / STAGING, ignore_errors=True)
            if said != handed:
                write_file(self.path / HANDED, f"{json.dumps(said, indent=1)}\n".encode())

    def _issue(self, member: Member, days: int) -> Member:
        """Make the secret files aside, then say in the register that they are the ones."""
        made = issue(self.authority, Wanted(member.name, days, member.hosts), now=self.now)
        facts = made.facts
        aside = self.path / STAGING / facts.serial
        own = _own(member)
        with _writing(aside):
            aside.mkdir(parents=True, mode=0o700)
            write_file(aside / f"{own}.key", made.key)
            write_file(aside / f"{own}.crt", made.certificate)
            signing_key = make_key(aside / "signing.key") if member.kind in SIGNING else ""
            sync_folder(aside)
        issued = Issue(facts.serial, facts.begins, facts.ends, signing_key)
        member = member.with_issue(issued)
        self._commit(self.register.put(member))
        return member

    def _commit(self, register: Register) -> None:
        with _writing(self.path):
            write_file(self.path / REGISTER, encode_register(register))
        self.register = register
        self.settle()

    def _settle_bundle(self, member: Member, handed: Mapping[str, str]) -> dict[str, str]:
        """Write what a bundle lacks; what its files say that are no secret.

        A bundle whose key was taken away lacks only what says something else than what was handed out.
        """
        home, newest = self.bundle(member), member.newest
        if newest is None:
            if home.exists():
                shutil.rmtree(home)
            return {}
        is_new = self._take_up(home, newest)
        is_whole = (home / f"{_own(member)}.key").exists()
        said: dict[str, str] = {}
        for name, content in self._shared_files(member, home).items():
            file = home / name
            where, before = str(file.relative_to(self.path)), _content(file)
            said[where] = _gist(name, content)
            is_known = before is None and not is_whole and handed.get(where) == said[where]
            if before == content or is_known:
                continue
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(file, content)
            if not is_new and file not in self.changed:
                self.changed.append(file)
        return said

    def _take_up(self, home: Path, newest: Issue) -> bool:
        """Put secret files that were made aside in their place; False if there are none."""
        aside = self.path / STAGING / newest.serial
        if not aside.is_dir():
            return False
        home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if home.exists():
            home.rename(self.path / STAGING / f"before-{newest.serial}")
        aside.rename(home)
        sync_folder(home.parent)
        return True

    def _shared_files(self, member: Member, home: Path) -> dict[str, bytes]:
        """What a bundle holds that is no secret and follows from the register."""
        found: dict[str, str | bytes] = {"ca.crt": self.authority.certificate}
        broker = self.register.get(member.upstream or FIRST_BROKER)
        match member.kind:
            case Kind.BROKER:
                found["glancein.acl"] = texts.access_list(self.register)
                found["glancein.conf"] = texts.configuration(self.register, member)
                found[REVOKED] = self._revocations(home / REVOKED)
            case Kind.KIOSK:
                found["trusted.keys"] = texts.trusted_consumers(self.register)
                found["kiosk.env"] = texts.settings(member, broker)
            case _:
                found["trusted.keys"] = texts.trusted_kiosks(self.register)
                found["feed.env"] = texts.settings(member, broker)
        return {name: text.encode() if isinstance(text, str) else text for name, text in found.items()}

    def _revocations(self, file: Path) -> bytes:
        """The list that is there if it says the same, else a new one."""
        revoked = self.register.revoked()
        content = _content(file)
        if content is not None and revoked_serials(content) == {serial for serial, _ in revoked}:
            return content
        return revocation_list(self.authority, revoked, now=self.now)


@contextmanager
def open_site(path: Path, *, now: datetime) -> Iterator[SiteFolder]:
    """A site's folder, one command at a time. Raises InputError, SettingsError, StoreError."""
    content = _content(path / REGISTER)
    if content is None:
        raise InputError(f"{path} is not a site's folder; make one with: glancein site init {path} --name …")
    with _locked(path):
        content = _content(path / REGISTER) or content
        site = SiteFolder(path, now, decode_register(content), _authority(path))
        site.settle()
        yield site


def make_site(path: Path, *, name: str, broker: Member, days: int, now: datetime) -> bool:
    """A new folder with an authority and one broker; False if it was there already, with the same names."""
    member_name(Kind.KIOSK, name, "kiosk")
    for host in broker.hosts:
        check_host(host)
    _check_free(path)
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path), _writing(path):
        if not (path / "authority").exists():
            _make_authority(path, name, now)
        is_new = not (path / REGISTER).exists()
        if is_new:
            write_file(path / REGISTER, encode_register(Register(name)))
    with open_site(path, now=now) as site:
        _check_same(site.register, name, broker)
        _, is_added = site.add(broker, days=days)
    return is_new or is_added


def write_file(path: Path, content: bytes) -> None:
    """Replace a file whole, readable by its owner only; durable when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_free(path: Path) -> None:
    try:
        strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in OURS)
    except FileNotFoundError:
        return
    except OSError as err:
        raise InputError(f"{path} cannot be a site's folder: {err.strerror}") from err
    if strangers and not (path / REGISTER).exists():
        raise InputError(f"{path} holds other things ({strangers[0]}): name a folder of its own")


def _check_same(register: Register, name: str, broker: Member) -> None:
    if register.site != name:
        raise InputError(f"this folder is the site {register.site!r} already, not {name!r}")
    known = register.find(broker.name)
    if known is not None and (known.hosts, known.port) != (broker.hosts, broker.port):
        where = f"{', '.join(known.hosts)} port {known.port}"
        raise InputError(f"the broker of this folder is {where} already; for another one: add-broker")


def _make_authority(path: Path, name: str, now: datetime) -> None:
    made = make_authority(f"glancein {name}"[:64], days=AUTHORITY_DAYS, now=now)
    aside = path / STAGING / "authority"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True, mode=0o700)
    write_file(aside / "ca.key", made.key)
    write_file(aside / "ca.crt", made.certificate)
    aside.rename(path / "authority")
    sync_folder(path)


def _own(member: Member) -> str:
    """The name of a member's certificate and key, without the ending."""
    return "broker" if member.kind is Kind.BROKER else "client"


def _gist(name: str, content: bytes) -> str:
    """What a file says, in short: two lists of the same revoked certificates say the same."""
    said = "\n".join(sorted(revoked_serials(content))).encode() if name == REVOKED else content
    return hashlib.sha256(said).hexdigest()


def _read_handed(file: Path) -> dict[str, str]:
    """What was written; nothing if that is not known, so that all of it is written once more."""
    try:
        document = json.loads(_content(file) or b"{}")
    except ValueError:
        return {}
    return {str(name): str(gist) for name, gist in document.items()} if isinstance(document, dict) else {}


def _authority(path: Path) -> Pair:
    certificate, key = (_content(path / "authority" / name) for name in ("ca.crt", "ca.key"))
    if certificate is None or key is None:
        raise InputError(f"{path}/authority has no ca.crt or no ca.key: nothing can be signed without them")
    return Pair(certificate, key)


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise StoreError(f"cannot read {file}: {err.strerror}") from err


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _writing(path):
        descriptor = os.open(path / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _writing(what: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StoreError(f"cannot write {err.filename or what}: {err.strerror}") from err

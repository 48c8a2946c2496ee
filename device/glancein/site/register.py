"""Who has a certificate: the one file of a site's folder that says what is true; all else follows from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum

from glancein.domain import wire
from glancein.errors import InputError, SettingsError

FORMAT = "glancein-site/1"


class Kind(StrEnum):
    """What somebody with a certificate is."""

    BROKER = "broker"
    KIOSK = "kiosk"
    CONSUMER = "consumer"  # reads and acknowledges
    READER = "reader"  # only reads


@dataclass(frozen=True, slots=True)
class Issue:
    """One certificate; ``signing_key`` is the public key that came with it, empty where none is needed."""

    serial: str
    begins: datetime
    ends: datetime
    signing_key: str = ""
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody with a name on the broker.

    ``issues`` oldest first. ``upstream`` is the broker it talks to, empty for the site's first one.
    """

    kind: Kind
    name: str  # the common name: <site>/<kiosk> for a kiosk
    issues: tuple[Issue, ...] = ()
    hosts: tuple[str, ...] = ()
    port: int = 8883
    upstream: str = ""

    @property
    def valid(self) -> tuple[Issue, ...]:
        """The certificates that were not revoked."""
        return tuple(issue for issue in self.issues if issue.revoked_at is None)

    @property
    def newest(self) -> Issue | None:
        """The certificate in use; None once all are revoked."""
        return self.valid[-1] if self.valid else None

    def with_issue(self, issue: Issue) -> Member:
        """The member with one more certificate."""
        return replace(self, issues=(*self.issues, issue))

    def revoked(self, at: datetime, *, former_only: bool) -> Member:
        """The member with its certificates revoked, all or all but the newest."""
        kept = self.newest if former_only else None
        return replace(
            self,
            issues=tuple(
                issue if issue is kept or issue.revoked_at else replace(issue, revoked_at=at)
                for issue in self.issues
            ),
        )


@dataclass(frozen=True, slots=True)
class Register:
    """Everybody of one site."""

    site: str
    members: tuple[Member, ...] = ()

    def find(self, name: str) -> Member | None:
        """The member of this name; a kiosk of the site itself may be called without the site."""
        by_name = {member.name: member for member in self.members}
        return by_name.get(name) or by_name.get(f"{self.site}/{name}")

    def get(self, name: str) -> Member:
        """The member of this name; raises InputError that names those there are."""
        member = self.find(name)
        if member is None:
            known = ", ".join(member.name for member in self.members)
            raise InputError(f"{name!r} has no certificate here; these have: {known}")
        return member

    def get_broker(self, name: str) -> Member:
        """The broker of this name, in use; raises InputError that names those there are."""
        member = self.get(name)
        if member.kind is not Kind.BROKER or member.newest is None:
            known = ", ".join(broker.name for broker in self.of(Kind.BROKER))
            raise InputError(f"{member.name!r} is not a broker in use; these are: {known}")
        return member

    def of(self, *kinds: Kind) -> tuple[Member, ...]:
        """The members of these kinds that have a valid certificate."""
        return tuple(member for member in self.members if member.kind in kinds and member.valid)

    def put(self, member: Member) -> Register:
        """The register with this member new or changed."""
        if all(known.name != member.name for known in self.members):
            return replace(self, members=(*self.members, member))
        return replace(self, members=tuple(member if m.name == member.name else m for m in self.members))

    def revoked(self) -> tuple[tuple[str, datetime], ...]:
        """Serial and moment of every revoked certificate."""
        issues = (issue for member in self.members for issue in member.issues)
        return tuple((issue.serial, issue.revoked_at) for issue in issues if issue.revoked_at)


def member_name(kind: Kind, site: str, name: str) -> str:
    """The common name for a new member; raises SettingsError for one that cannot stand in a topic."""
    wire.check_segment(kind.value, name)
    if kind is not Kind.KIOSK:
        return name
    return f"{wire.check_segment('site', site)}/{name}"


def encode_register(register: Register) -> bytes:
    """The file's content."""
    document = {"format": FORMAT} | asdict(register)
    return (json.dumps(document, indent=1, default=datetime.isoformat) + "\n").encode()


def decode_register(content: bytes) -> Register:
    """Read it back; raises SettingsError."""
    try:
        document = json.loads(content)
        if document.get("format") != FORMAT:
            raise SettingsError(
                f"this folder is of another version: {document.get('format')!r}, not {FORMAT!r}"
            )
        return Register(document["site"], tuple(_member(entry) for entry in document["members"]))
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise SettingsError(f"site.json is damaged ({err!r:.80}); take the folder from a copy") from err


def _member(entry: dict[str, object]) -> Member:
    issues, hosts = entry.pop("issues"), entry.pop("hosts")
    kind = Kind(str(entry.pop("kind")))
    if not isinstance(issues, list) or not isinstance(hosts, list):
        raise TypeError("issues and hosts are lists")
    return Member(kind=kind, issues=tuple(_issue(one) for one in issues), hosts=tuple(hosts), **entry)  # type: ignore[arg-type]  # plain values


def _issue(entry: dict[str, str | None]) -> Issue:
    revoked_at = entry["revoked_at"]
    return Issue(
        serial=str(entry["serial"]),
        begins=datetime.fromisoformat(str(entry["begins"])),
        ends=datetime.fromisoformat(str(entry["ends"])),
        signing_key=str(entry["signing_key"]),
        revoked_at=None if revoked_at is None else datetime.fromisoformat(revoked_at),
    )

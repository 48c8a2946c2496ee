"""Who may do what: permissions, the roles that carry them, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """One thing that may be allowed; roles and integration tokens carry some of them."""

    PEOPLE_READ = "people:read"
    PEOPLE_WRITE = "people:write"
    ATTENDANCE_READ = "attendance:read"
    ATTENDANCE_WRITE = "attendance:write"
    HEALTH_READ = "health:read"
    AUDIT_READ = "audit:read"
    ACCOUNTS_WRITE = "accounts:write"


class Door(StrEnum):
    """Routes that ask for no permission: open to anybody, to whoever is signed in, or to any token too."""

    ANYBODY = "anybody"
    KNOWN = "known"
    SIGNED_IN = "signed in"


class Role(StrEnum):
    """What an account is for."""

    HR = "hr"
    ADMIN = "admin"
    AUDITOR = "auditor"


GRANTS: dict[Role, frozenset[Permission]] = {
    Role.HR: frozenset(
        {
            Permission.PEOPLE_READ,
            Permission.PEOPLE_WRITE,
            Permission.ATTENDANCE_READ,
            Permission.ATTENDANCE_WRITE,
            Permission.HEALTH_READ,
        }
    ),
    Role.ADMIN: frozenset(Permission),
    # An auditor sees what was done, changes nothing, and makes nobody else able to.
    Role.AUDITOR: frozenset(
        {
            Permission.PEOPLE_READ,
            Permission.ATTENDANCE_READ,
            Permission.HEALTH_READ,
            Permission.AUDIT_READ,
        }
    ),
}
# An integration never makes accounts or other tokens.
TOKEN_SCOPES = frozenset(Permission) - {Permission.ACCOUNTS_WRITE}


@dataclass(frozen=True, slots=True)
class Who:
    """Who is asking. ``secret`` is the raw session or form cookie that the CSRF token is made from."""

    name: str = ""
    permissions: frozenset[Permission] = frozenset()
    role: Role | None = None
    secret: str = ""
    is_token: bool = False

    @property
    def is_known(self) -> bool:
        """True for a signed-in account or a valid token."""
        return bool(self.name)

    def may(self, needs: Permission | Door) -> bool:
        """True if this one may use a route with that need."""
        match needs:
            case Door.ANYBODY:
                return True
            case Door.KNOWN:
                return self.is_known
            case Door.SIGNED_IN:
                return self.role is not None
            case Permission():
                return needs in self.permissions

"""Accounts, sessions, integration tokens and the setup code: who somebody is."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from glancein.errors import InputError, StoreError
from glancein.web.access import GRANTS, TOKEN_SCOPES, Permission, Role, Who
from glancein.web.desk_file import DeskFile

IDLE_S = 30 * 60
ABSOLUTE_S = 12 * 3600
SEEN_STEP_S = 60  # a session's last use is written at most once a minute: reading a page costs no disk sync
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
TOKEN_PREFIX = "gl_"  # noqa: S105  # how our tokens are told from other secrets, not a secret
# OWASP's floor for argon2id (19 MiB, 2 passes, 1 lane), one pass more; one lane leaves cores to the camera.
_HASHER = PasswordHasher(time_cost=3, memory_cost=19 * 1024, parallelism=1)
# What an unknown name is checked against, so that it takes as long as a known one.
_NOBODYS_SECRET = (
    "$argon2id$v=19$m=19456,t=3,p=1$J4e6d1Ucjy1nY9WNc7SpWg$d5iQj0M+hnOGWntyAqv4oamE7r5XRZl+EH1H078Ah0o"  # noqa: S105
)


@dataclass(frozen=True, slots=True)
class Account:
    """One account as the list shows it."""

    name: str
    role: Role
    made_at: float


@dataclass(frozen=True, slots=True)
class Token:
    """One integration's token as the list shows it; the token itself was shown once."""

    number: int
    name: str
    scopes: frozenset[Permission]
    made_by: str
    made_at: float
    used_at: float | None
    revoked_at: float | None


class Accounts:
    """Knows people at the desk and integrations; safe to use from several threads."""

    def __init__(self, file: DeskFile, *, now_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now_s = now_s
        self._hashing = (
            threading.Lock()
        )  # one at a time: many sign-ins must not fill a small machine's memory
        self.setup_code = "" if self.accounts() else _new_setup_code()
        self._is_for_another = False

    def add(self, name: str, password: str, *, role: Role) -> None:
        """Make an account. Raises InputError for a bad or taken name, or a weak password."""
        _check_account_name(name)
        secret = self._hash(_checked_password(name, password))
        added = self._file.change(
            "INSERT OR IGNORE INTO accounts (name, role, secret, made_at) "
            "VALUES (:name, :role, :secret, :at)",
            name=name,
            role=role.value,
            secret=secret,
            at=self._now_s(),
        )
        if not added:
            raise InputError(f"there is an account {name} already: choose another name")

    @property
    def is_new(self) -> bool:
        """True until there is an account; another process on the same file may have made it."""
        return self.takes_admin and not self.accounts()

    @property
    def takes_admin(self) -> bool:
        """True while the setup code makes an admin: the first, or the one that ``invite_admin`` is for."""
        if self.setup_code and not self._is_for_another and self.accounts():
            self.setup_code = ""
        return bool(self.setup_code)

    def invite_admin(self) -> None:
        """A fresh setup code for one more admin, whatever accounts there are: nobody may know a password."""
        self.setup_code, self._is_for_another = _new_setup_code(), True

    def set_up(self, code: str, name: str, password: str) -> None:
        """Make an admin, once, for who can read the setup code. Raises InputError."""
        self.check_setup_code(code)
        self.add(name, password, role=Role.ADMIN)
        self.setup_code = ""

    def check_setup_code(self, code: str) -> None:
        """Raises InputError unless this is the code, however spaced, and still good."""
        typed = re.sub(r"[^A-Z0-9]", "", code.upper())
        wanted = self.setup_code.replace("-", "") if self.takes_admin else ""
        if not wanted or not secrets.compare_digest(typed, wanted):
            raise InputError("this is not the setup code: it stands on the console of the kiosk")

    def change_password(self, name: str, password: str) -> None:
        """Set another password and end every session of the account. Raises InputError."""
        secret = self._hash(_checked_password(name, password))
        changed, _ = self._file.change_all(
            [
                ("UPDATE accounts SET secret = :secret WHERE name = :name", {"secret": secret, "name": name}),
                ("DELETE FROM sessions WHERE account = :name", {"name": name}),
            ]
        )
        if not changed:
            raise InputError(f"there is no account {name}")

    def remove(self, name: str) -> None:
        """Take an account and its sessions away. Raises InputError for the last admin or no such account."""
        # One statement: two admins who remove each other at the same moment do not leave none.
        removed = self._file.change(
            "DELETE FROM accounts WHERE name = :name AND (role <> :admin "
            "OR (SELECT count(*) FROM accounts WHERE role = :admin) > 1)",
            name=name,
            admin=Role.ADMIN.value,
        )
        if removed:
            return
        if name in {account.name for account in self.accounts()}:
            raise InputError("this is the last admin: make another one first")
        raise InputError(f"there is no account {name}")

    def accounts(self) -> list[Account]:
        """Every account, by name."""
        rows = self._file.rows("SELECT name, role, made_at FROM accounts ORDER BY name")
        return [Account(name, Role(role), made_at) for name, role, made_at in rows]

    def sign_in(self, name: str, password: str) -> str | None:
        """A new session's secret for the browser's cookie, None for a wrong name or password."""
        rows = self._file.rows("SELECT secret FROM accounts WHERE name = :name", name=name)
        if not self._fits(rows[0][0] if rows else _NOBODYS_SECRET, password) or not rows:
            return None
        raw, now = secrets.token_urlsafe(32), self._now_s()
        self._file.change_all(
            [
                (
                    "DELETE FROM sessions WHERE seen_at < :idle OR made_at < :oldest",
                    {"idle": now - IDLE_S, "oldest": now - ABSOLUTE_S},
                ),
                (
                    (
                        "INSERT INTO sessions (hash, account, made_at, seen_at) "
                        "VALUES (:hash, :name, :now, :now)"
                    ),
                    {"hash": _hash_of(raw), "name": name, "now": now},
                ),
            ]
        )
        return raw

    def who_has_session(self, raw: str) -> Who:
        """Who holds this cookie; nobody if it is unknown, idle for too long or too old."""
        rows = self._file.rows(
            "SELECT name, role, sessions.made_at, seen_at FROM sessions JOIN accounts ON name = account "
            "WHERE hash = :hash",
            hash=_hash_of(raw),
        )
        now = self._now_s()
        if not rows:
            return Who()
        name, role, made_at, seen_at = rows[0]
        # Either way: a clock that was ahead and is set back must not lend a session years.
        if abs(now - seen_at) > IDLE_S or abs(now - made_at) > ABSOLUTE_S:
            return Who()
        if now - seen_at > SEEN_STEP_S:
            self._note_use(
                "UPDATE sessions SET seen_at = :now WHERE hash = :hash", now=now, hash=_hash_of(raw)
            )
        return Who(name, GRANTS[Role(role)], Role(role), raw)

    def sign_out(self, raw: str) -> None:
        """End a session."""
        self._file.change("DELETE FROM sessions WHERE hash = :hash", hash=_hash_of(raw))

    def make_token(self, name: str, scopes: frozenset[Permission], *, by: str) -> str:
        """A new integration's token, told this once. Raises InputError."""
        if not name.strip() or len(name) > 64 or not name.isprintable():
            raise InputError("say in 1 to 64 characters what the token is for")
        if not scopes or not scopes <= TOKEN_SCOPES:
            allowed = ", ".join(sorted(TOKEN_SCOPES))
            raise InputError(f"a token needs at least one scope out of {allowed}")
        raw = TOKEN_PREFIX + secrets.token_urlsafe(32)
        self._file.change(
            "INSERT INTO tokens (name, hash, scopes, made_by, made_at) "
            "VALUES (:name, :hash, :scopes, :by, :at)",
            name=name.strip(),
            hash=_hash_of(raw),
            scopes=" ".join(sorted(scopes)),
            by=by,
            at=self._now_s(),
        )
        return raw

    def tokens(self) -> list[Token]:
        """Every token that was made, the revoked ones too."""
        rows = self._file.rows(
            "SELECT number, name, scopes, made_by, made_at, used_at, revoked_at FROM tokens ORDER BY number"
        )
        return [
            Token(n, name, _scopes(words), by, made, used, gone)
            for n, name, words, by, made, used, gone in rows
        ]

    def revoke_token(self, number: int) -> None:
        """A token stops working at once. Raises InputError if there is none with that number."""
        changed = self._file.change(
            "UPDATE tokens SET revoked_at = coalesce(revoked_at, :at) WHERE number = :number",
            at=self._now_s(),
            number=number,
        )
        if not changed:
            raise InputError(f"there is no token {number}")

    def who_has_token(self, raw: str) -> Who:
        """Which integration holds this token; nobody if it is unknown or revoked."""
        rows = self._file.rows(
            "SELECT number, name, scopes, used_at FROM tokens WHERE hash = :hash AND revoked_at IS NULL",
            hash=_hash_of(raw),
        )
        if not rows:
            return Who()
        number, name, words, used_at = rows[0]
        now = self._now_s()
        if used_at is None or now - used_at > SEEN_STEP_S:
            self._note_use("UPDATE tokens SET used_at = :now WHERE number = :number", now=now, number=number)
        return Who(f"token {number} ({name})", _scopes(words) & TOKEN_SCOPES, is_token=True)

    def _note_use(self, sql: str, **parameters: object) -> None:
        """A full disk turns nobody away: they come to see why. Unwritten use only ends a session sooner."""
        with contextlib.suppress(StoreError):
            self._file.change(sql, **parameters)

    def _hash(self, password: str) -> str:
        with self._hashing:
            return _HASHER.hash(password)

    def _fits(self, secret: str, password: str) -> bool:
        with self._hashing:
            try:
                return _HASHER.verify(secret, password[:LONGEST_PASSWORD])
            except (VerificationError, InvalidHashError):
                return False


class Throttle:
    """Slows guessing: after ``free`` failures within the window a key must wait until they are old."""

    def __init__(
        self, *, free: int = 5, window_s: float = 900.0, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._free, self._window_s, self._now_s = free, window_s, now_s
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, *keys: str) -> float:
        """Seconds until these keys may try again, 0 if they may now."""
        with self._lock:
            return max((self._wait_of(key) for key in keys), default=0.0)

    def failed(self, *keys: str) -> None:
        """Count a failure. At most 4,096 keys are remembered; the oldest go first."""
        now = self._now_s()
        with self._lock:
            for key in keys:
                recent = [at for at in self._failures.pop(key, []) if at > now - self._window_s]
                self._failures[key] = [*recent, now][-self._free :]
            while len(self._failures) > 4096:
                self._failures.pop(next(iter(self._failures)))

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of these keys."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def _wait_of(self, key: str) -> float:
        now = self._now_s()
        recent = [at for at in self._failures.get(key, ()) if at > now - self._window_s]
        return 0.0 if len(recent) < self._free else recent[0] + self._window_s - now


def _new_setup_code() -> str:
    letters = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that is mistaken for another
    code = "".join(secrets.choice(letters) for _ in range(12))
    return f"{code[:4]}-{code[4:8]}-{code[8:]}"


def _check_account_name(name: str) -> None:
    if not ACCOUNT_NAME.match(name):
        raise InputError("an account's name has 1 to 64 letters, digits, '.', '_', '@' or '-'")


def _checked_password(name: str, password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InputError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    if name.lower() in password.lower():
        raise InputError("this password holds the account's name: take some unrelated words")
    if len(set(password)) < 5:
        raise InputError("this password is easy to guess: take some unrelated words")
    return password


def _hash_of(raw: str) -> str:
    """What is stored of a secret of 256 random bits: it needs no salt and no slow hash."""
    return hashlib.sha256(raw.encode(errors="surrogatepass")).hexdigest()


def _scopes(words: str) -> frozenset[Permission]:
    return frozenset(Permission(word) for word in words.split())

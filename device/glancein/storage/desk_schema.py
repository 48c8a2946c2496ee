"""The desk's own tables, in a file beside the kiosk's: a page view never delays a punch."""

from __future__ import annotations

from glancein.storage.schema import Schema

_VERSION_1 = (
    """
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY,
        role TEXT NOT NULL CHECK (role IN ('hr', 'admin', 'auditor')),
        secret TEXT NOT NULL,
        made_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    # Only the hash of what the browser or the integration holds is kept.
    """
    CREATE TABLE sessions (
        hash TEXT PRIMARY KEY,
        account TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
        made_at REAL NOT NULL,
        seen_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE tokens (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        made_by TEXT NOT NULL,
        made_at REAL NOT NULL,
        used_at REAL,
        revoked_at REAL
    )
    """,
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        who TEXT NOT NULL,
        did TEXT NOT NULL,
        about TEXT NOT NULL,
        detail TEXT NOT NULL
    )
    """,
    "CREATE INDEX audit_by_time ON audit (at)",
    """
    CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TABLE consents (
        number INTEGER PRIMARY KEY,
        person_id TEXT NOT NULL,
        version TEXT NOT NULL,
        text TEXT NOT NULL,
        at REAL NOT NULL,
        by TEXT NOT NULL
    )
    """,
    "CREATE INDEX consents_by_person ON consents (person_id, number)",
    # What happened at the camera, without picture, vector or score: why somebody was refused, who got in.
    """
    CREATE TABLE attempts (
        number INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        reason TEXT NOT NULL,
        person_id TEXT
    )
    """,
)

# A line is there before the change it tells of; how that ended is filled in once.
_VERSION_2 = (
    """
    ALTER TABLE audit ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done'
        CHECK (outcome IN ('begun', 'done', 'failed'))
    """,
    "DROP TRIGGER audit_is_append_only",
    """
    CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
    WHEN OLD.outcome <> 'begun' OR NEW.outcome = 'begun' OR OLD.number <> NEW.number OR OLD.at <> NEW.at
        OR OLD.who <> NEW.who OR OLD.did <> NEW.did OR OLD.about <> NEW.about
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
)

DESK = Schema(0x676C6E64, (_VERSION_1, _VERSION_2))  # "glnd"

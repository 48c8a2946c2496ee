"""The tables, as a list of migrations: number n takes a file from version n - 1 to n."""

from __future__ import annotations

APPLICATION_ID = 0x676C6E63  # "glnc": what `file` and we recognise the database by

_VERSION_1 = (
    """
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "INSERT INTO meta (key, value) VALUES ('people_version', '0')",
    """
    CREATE TABLE people (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        enrolled_at TEXT NOT NULL,
        photo_sha256 TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE person_history (
        number INTEGER PRIMARY KEY,
        person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        what TEXT NOT NULL,
        photo_sha256 TEXT NOT NULL,
        reason TEXT NOT NULL
    )
    """,
    "CREATE INDEX person_history_by_person ON person_history (person_id, number)",
    """
    CREATE TABLE templates (
        number INTEGER PRIMARY KEY,
        person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
        model_sha256 TEXT NOT NULL,
        vector BLOB NOT NULL,
        crop_png BLOB NOT NULL,
        quality TEXT NOT NULL,
        created_at TEXT NOT NULL,
        active INTEGER NOT NULL CHECK (active IN (0, 1))
    )
    """,
    "CREATE UNIQUE INDEX templates_one_active ON templates (person_id, model_sha256) WHERE active = 1",
    # The stream with the highest number is the one being written; `head` is the hash of its last event.
    """
    CREATE TABLE stream (
        number INTEGER PRIMARY KEY,
        epoch TEXT NOT NULL UNIQUE,
        site TEXT NOT NULL,
        kiosk TEXT NOT NULL,
        seq INTEGER NOT NULL,
        head TEXT NOT NULL,
        opened_at TEXT NOT NULL,
        why TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE events (
        number INTEGER PRIMARY KEY,
        epoch TEXT NOT NULL REFERENCES stream (epoch),
        seq INTEGER NOT NULL,
        person_id TEXT NOT NULL,
        body TEXT NOT NULL,
        hash TEXT NOT NULL,
        previous_hash TEXT NOT NULL,
        UNIQUE (epoch, seq)
    )
    """,
    "CREATE INDEX events_by_person ON events (person_id, number)",
    """
    CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END
    """,
    # An event that is still in the outbox cannot be deleted: the foreign key forbids it.
    "CREATE TABLE outbox (number INTEGER PRIMARY KEY REFERENCES events (number))",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1,)

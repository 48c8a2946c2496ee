"""The tables, as a list of migrations: number n takes a file from version n - 1 to n."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schema:
    """A kind of database: what it is recognised by, and its migrations."""

    application_id: int
    migrations: tuple[tuple[str, ...], ...]


def _read_out(column: str, kind: str, expression: str) -> str:
    return f"ALTER TABLE events ADD COLUMN {column} {kind} GENERATED ALWAYS AS ({expression}) VIRTUAL"


_KIOSK_VERSION_1 = (
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

# What an event says stands in its body alone; these columns are read out of it.
_KIOSK_VERSION_2 = (
    _read_out("kind", "TEXT", "json_extract(body, '$.kind')"),
    _read_out("boot_id", "TEXT", "json_extract(body, '$.boot_id')"),
    _read_out("mono_ms", "INTEGER", "json_extract(body, '$.mono_ms')"),
    _read_out("clock", "TEXT", "json_extract(body, '$.clock')"),
    # Whole seconds UTC: of a correction the time that a check-in gets by it, if it does.
    _read_out(
        "at_s",
        "INTEGER",
        """
        unixepoch(CASE json_extract(body, '$.kind')
            WHEN 'correction' THEN json_extract(body, '$.becomes.time')
            ELSE json_extract(body, '$.time')
        END)
        """,
    ),
    _read_out("of_epoch", "TEXT", "json_extract(body, '$.of.epoch')"),
    _read_out("of_seq", "INTEGER", "json_extract(body, '$.of.seq')"),
    "CREATE INDEX events_by_time ON events (at_s)",
    """
    CREATE INDEX events_to_fix ON events (boot_id, mono_ms)
    WHERE kind = 'check_in' AND clock <> 'synchronised'
    """,
    "CREATE INDEX time_fixes ON events (boot_id) WHERE kind = 'time_fix'",
    "CREATE INDEX corrections ON events (of_epoch, of_seq) WHERE kind = 'correction'",
)

# Ways in without a face. A PIN is kept as its argon2id hash; ``number`` is what is typed before it.
_KIOSK_VERSION_3 = (
    """
    CREATE TABLE pins (
        person_id TEXT PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
        number TEXT NOT NULL UNIQUE,
        hash TEXT NOT NULL,
        set_at TEXT NOT NULL,
        wrong INTEGER NOT NULL,
        locked_until TEXT
    )
    """,
    """
    CREATE TABLE passes (
        serial TEXT PRIMARY KEY,
        person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
        issued_at TEXT NOT NULL,
        revoked_at TEXT
    )
    """,
    "CREATE INDEX passes_by_person ON passes (person_id)",
)

# Events that cannot be delivered as they are: laid aside for a person, or recorded anew under another name.
_KIOSK_VERSION_4 = (
    """
    CREATE TABLE laid_aside (
        number INTEGER PRIMARY KEY REFERENCES events (number),
        why TEXT NOT NULL,
        at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    )
    """,
    """
    CREATE TABLE renewed (
        number INTEGER PRIMARY KEY REFERENCES events (number),
        became INTEGER NOT NULL REFERENCES events (number)
    )
    """,
)

# Whose punch a check-in became by a correction.
_KIOSK_VERSION_5 = (
    _read_out("to_person", "TEXT", "json_extract(body, '$.becomes.person_id')"),
    "CREATE INDEX corrections_to_person ON events (to_person) WHERE to_person IS NOT NULL",
)

KIOSK = Schema(  # "glnc"
    0x676C6E63, (_KIOSK_VERSION_1, _KIOSK_VERSION_2, _KIOSK_VERSION_3, _KIOSK_VERSION_4, _KIOSK_VERSION_5)
)

"""The feed's tables as a consumer keeps them, in SQLite and in PostgreSQL: one text, two dialects."""

from __future__ import annotations

from glancein.storage.schema import Schema

_VERSION_1 = (
    """
    CREATE TABLE checkins (
        number INTEGER PRIMARY KEY,
        kiosk TEXT NOT NULL,
        epoch TEXT NOT NULL,
        seq INTEGER NOT NULL,
        site TEXT NOT NULL,
        person_id TEXT NOT NULL,
        name TEXT,
        direction TEXT NOT NULL,
        time TEXT NOT NULL,
        time_utc TEXT NOT NULL,
        clock TEXT NOT NULL,
        score REAL NOT NULL,
        threshold REAL NOT NULL,
        model_sha256 TEXT NOT NULL,
        method TEXT NOT NULL,
        reason TEXT NOT NULL,
        chained INTEGER NOT NULL,
        hash TEXT NOT NULL,
        payload TEXT NOT NULL,
        received_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        UNIQUE (kiosk, epoch, seq)
    )
    """,
    "CREATE INDEX checkins_by_person ON checkins (person_id, time_utc)",
    """
    CREATE TABLE streams (
        kiosk TEXT NOT NULL,
        epoch TEXT NOT NULL,
        seq INTEGER NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (kiosk, epoch)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE troubles (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        kiosk TEXT NOT NULL,
        epoch TEXT NOT NULL,
        seq INTEGER NOT NULL,
        detail TEXT NOT NULL,
        noticed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        UNIQUE (kind, kiosk, epoch, seq, detail)
    )
    """,
    # How far the text file beside this one is written: the last row in it, and its size then.
    """
    CREATE TABLE written (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        number INTEGER NOT NULL,
        size INTEGER NOT NULL
    )
    """,
    "INSERT INTO written (id, number, size) VALUES (1, 0, 0)",
)

# Every event as it came. Append-only but for `fixed_*`: what the time would have been with a good clock.
# `person_id` to `model_sha256` are a check-in's; `lane` is what must stay in order towards an HR system.
_EVENTS = (
    """
    CREATE TABLE events (
        number {key},
        kind TEXT NOT NULL,
        kiosk TEXT NOT NULL,
        epoch TEXT NOT NULL,
        seq {whole} NOT NULL,
        site TEXT NOT NULL,
        lane TEXT NOT NULL,
        person_id TEXT,
        name TEXT,
        direction TEXT,
        time TEXT NOT NULL,
        time_utc {instant} NOT NULL,
        fixed_time TEXT,
        fixed_utc {instant},
        clock TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        mono_ms {whole} NOT NULL,
        score {real},
        threshold {real},
        model_sha256 TEXT,
        method TEXT,
        reason TEXT,
        chained INTEGER NOT NULL,
        hash TEXT NOT NULL,
        payload TEXT NOT NULL,
        received_at {instant} NOT NULL DEFAULT {now},
        received_s {real} NOT NULL,
        UNIQUE (kiosk, epoch, seq)
    )
    """,
    "CREATE INDEX events_by_person ON events (person_id, time_utc)",
    """
    CREATE INDEX events_to_fix ON events (boot_id, kiosk)
    WHERE clock <> 'synchronised' AND kind = 'check_in'
    """,
    "CREATE INDEX time_fixes ON events (boot_id, kiosk, mono_ms) WHERE kind = 'time_fix'",
)

# One row for each correction: exactly one of voided, person_id, direction and time says what it becomes.
_CORRECTIONS = (
    """
    CREATE TABLE corrections (
        number {whole} PRIMARY KEY REFERENCES events (number),
        of_kiosk TEXT NOT NULL,
        of_epoch TEXT NOT NULL,
        of_seq {whole} NOT NULL,
        voided INTEGER NOT NULL,
        person_id TEXT,
        direction TEXT,
        time TEXT,
        time_utc {instant},
        reason TEXT NOT NULL,
        by_whom TEXT NOT NULL
    )
    """,
    "CREATE INDEX corrections_of ON corrections (of_kiosk, of_epoch, of_seq, number)",
)

# What payroll counts: check-ins without the voided ones, each field as the latest correction has it, the
# time as corrected, else as fixed, else as recorded. `checkins` is what the kiosks said, as they said it.
_VIEWS = (
    """
    CREATE VIEW checkins AS
    SELECT number, kiosk, epoch, seq, site, person_id, name, direction, time, time_utc, fixed_time, fixed_utc,
           clock, score, threshold, model_sha256, method, reason, chained, hash, payload, received_at
    FROM events WHERE kind = 'check_in'
    """,
    """
    CREATE VIEW punches AS
    SELECT e.number, e.site, e.kiosk, e.epoch, e.seq,
           COALESCE(p.person_id, e.person_id) AS person_id,
           CASE WHEN p.person_id IS NULL THEN e.name END AS name,
           COALESCE(d.direction, e.direction) AS direction,
           COALESCE(t.time, e.fixed_time, e.time) AS time,
           COALESCE(t.time_utc, e.fixed_utc, e.time_utc) AS time_utc,
           CASE WHEN t.number IS NOT NULL THEN 'corrected' WHEN e.fixed_time IS NOT NULL THEN 'fixed'
                ELSE 'recorded' END AS time_is,
           e.clock, e.method
    FROM events e
    LEFT JOIN corrections p ON p.number = (
        SELECT max(c.number) FROM corrections c WHERE c.of_kiosk = e.kiosk AND c.of_epoch = e.epoch
        AND c.of_seq = e.seq AND c.person_id IS NOT NULL)
    LEFT JOIN corrections d ON d.number = (
        SELECT max(c.number) FROM corrections c WHERE c.of_kiosk = e.kiosk AND c.of_epoch = e.epoch
        AND c.of_seq = e.seq AND c.direction IS NOT NULL)
    LEFT JOIN corrections t ON t.number = (
        SELECT max(c.number) FROM corrections c WHERE c.of_kiosk = e.kiosk AND c.of_epoch = e.epoch
        AND c.of_seq = e.seq AND c.time IS NOT NULL)
    WHERE e.kind = 'check_in' AND NOT EXISTS (
        SELECT 1 FROM corrections c WHERE c.of_kiosk = e.kiosk AND c.of_epoch = e.epoch
        AND c.of_seq = e.seq AND c.voided = 1)
    """,
)

# What each connector has done with each event. `seen`: up to that number every event has its row. `as_of`:
# events up to that number were in what was handed over, or put together for it.
_DELIVERIES = (
    """
    CREATE TABLE connectors (
        name TEXT PRIMARY KEY,
        seen {whole} NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0,
        retry_at {real} NOT NULL DEFAULT 0,
        words TEXT
    )
    """,
    """
    CREATE TABLE deliveries (
        connector TEXT NOT NULL REFERENCES connectors (name),
        number {whole} NOT NULL REFERENCES events (number),
        lane TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'refused')),
        attempts INTEGER NOT NULL DEFAULT 0,
        retry_at {real} NOT NULL DEFAULT 0,
        as_of {whole} NOT NULL DEFAULT 0,
        label TEXT,
        words TEXT,
        changed_at {instant} NOT NULL DEFAULT {now},
        PRIMARY KEY (connector, number)
    )
    """,
    """
    CREATE INDEX deliveries_open ON deliveries (connector, lane, number)
    WHERE state IN ('pending', 'failed')
    """,
    "CREATE INDEX deliveries_due ON deliveries (connector, number) WHERE state IN ('pending', 'failed')",
    "CREATE INDEX deliveries_refused ON deliveries (connector, number) WHERE state = 'refused'",
    # How far a program of somebody's own has come through the events.
    "CREATE TABLE bookmarks (reader TEXT PRIMARY KEY, number {whole} NOT NULL)",
)

_SQLITE = {
    "key": "INTEGER PRIMARY KEY",
    "whole": "INTEGER",
    "real": "REAL",
    "instant": "TEXT",
    "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
}
_POSTGRES = {
    "key": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "whole": "BIGINT",
    "real": "DOUBLE PRECISION",
    "instant": "TIMESTAMPTZ",
    "now": "now()",
}


def _in_dialect(statements: tuple[str, ...], words: dict[str, str]) -> tuple[str, ...]:
    return tuple(statement.format(**words) for statement in statements)


_VERSION_2 = (
    "ALTER TABLE checkins RENAME TO checkins_1",
    "DROP INDEX checkins_by_person",
    *_in_dialect((*_EVENTS, *_CORRECTIONS), _SQLITE),
    """
    INSERT INTO events (
        number, kind, kiosk, epoch, seq, site, lane, person_id, name, direction, time, time_utc, clock,
        boot_id, mono_ms, score, threshold, model_sha256, method, reason, chained, hash, payload, received_at,
        received_s
    )
    SELECT number, 'check_in', kiosk, epoch, seq, site, person_id, person_id, name, direction, time, time_utc,
        clock, json_extract(payload, '$.boot_id'), json_extract(payload, '$.mono_ms'), score, threshold,
        model_sha256, method, reason, chained, hash, payload, received_at, unixepoch(received_at)
    FROM checkins_1
    """,
    "DROP TABLE checkins_1",
    *_in_dialect((*_VIEWS, *_DELIVERIES), _SQLITE),
)

FEED = Schema(0x676C6E66, (_VERSION_1, _VERSION_2))  # "glnf"

# PostgreSQL came with version 2: number n of these takes a database from version n - 1 to n.
POSTGRES_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _in_dialect(
        (
            *_EVENTS,
            *_CORRECTIONS,
            """
            CREATE TABLE streams (
                kiosk TEXT NOT NULL,
                epoch TEXT NOT NULL,
                seq {whole} NOT NULL,
                hash TEXT NOT NULL,
                PRIMARY KEY (kiosk, epoch)
            )
            """,
            """
            CREATE TABLE troubles (
                number {key},
                kind TEXT NOT NULL,
                kiosk TEXT NOT NULL,
                epoch TEXT NOT NULL,
                seq {whole} NOT NULL,
                detail TEXT NOT NULL,
                noticed_at {instant} NOT NULL DEFAULT {now}
            )
            """,
            # An index entry holds 2,704 bytes at most, a detail may be longer.
            "CREATE UNIQUE INDEX troubles_once ON troubles (kind, kiosk, epoch, seq, md5(detail))",
            *_VIEWS,
            *_DELIVERIES,
        ),
        _POSTGRES,
    ),
)

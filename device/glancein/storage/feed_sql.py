"""The SQL of the feed's tables, in the words that SQLite and PostgreSQL share; parameters are ``:name``."""

INSERT_EVENT = """
INSERT INTO events (
    kind, kiosk, epoch, seq, site, lane, person_id, name, direction, time, time_utc, clock, boot_id, mono_ms,
    score, threshold, model_sha256, method, reason, chained, hash, payload, received_s
) VALUES (
    :kind, :kiosk, :epoch, :seq, :site, :lane, :person_id, :name, :direction, :time, :time_utc, :clock,
    :boot_id, :mono_ms, :score, :threshold, :model_sha256, :method, :reason, :chained, :hash, :payload,
    :received_s
)
ON CONFLICT (kiosk, epoch, seq) DO NOTHING
"""

MOVE_HEAD = """
INSERT INTO streams (kiosk, epoch, seq, hash) VALUES (:kiosk, :epoch, :seq, :hash)
ON CONFLICT (kiosk, epoch) DO UPDATE SET seq = excluded.seq, hash = excluded.hash
WHERE excluded.seq > streams.seq
"""

INSERT_TROUBLE = """
INSERT INTO troubles (kind, kiosk, epoch, seq, detail)
SELECT :kind, :kiosk, :epoch, :seq, :detail
WHERE (SELECT count(*) FROM troubles WHERE kind = :kind) < :most
ON CONFLICT DO NOTHING
"""

TROUBLES = "SELECT kind, kiosk, epoch, seq, detail FROM troubles ORDER BY number DESC LIMIT :most"

INSERT_CORRECTION = """
INSERT INTO corrections (
    number, of_kiosk, of_epoch, of_seq, voided, person_id, direction, time, time_utc, reason, by_whom
)
SELECT number, :of_kiosk, :of_epoch, :of_seq, :voided, :person_id, :direction, :time, :time_utc, :reason,
    :by_whom
FROM events WHERE kiosk = :kiosk AND epoch = :epoch AND seq = :seq
ON CONFLICT DO NOTHING
"""

# A correction waits behind the check-in it speaks of.
LANE_OF_CORRECTION = """
UPDATE events SET lane = COALESCE((
    SELECT e.lane FROM events e WHERE e.kiosk = :of_kiosk AND e.epoch = :of_epoch AND e.seq = :of_seq
), '')
WHERE kiosk = :kiosk AND epoch = :epoch AND seq = :seq
"""

# The person it stands for is whose punches it must not overtake, nor be overtaken by; so do its corrections.
LANE_OF_OTHER_PERSON = """
UPDATE events SET lane = (
    SELECT p.person_id FROM corrections p WHERE p.number = (
        SELECT max(c.number) FROM corrections c WHERE c.of_kiosk = :of_kiosk AND c.of_epoch = :of_epoch
        AND c.of_seq = :of_seq AND c.person_id IS NOT NULL)
)
WHERE (kind = 'check_in' AND kiosk = :of_kiosk AND epoch = :of_epoch AND seq = :of_seq) OR number IN (
    SELECT c.number FROM corrections c
    WHERE c.of_kiosk = :of_kiosk AND c.of_epoch = :of_epoch AND c.of_seq = :of_seq
)
"""

LANE_OF_DELIVERIES = """
UPDATE deliveries SET lane = (SELECT e.lane FROM events e WHERE e.number = deliveries.number)
WHERE connector IN (SELECT name FROM connectors) AND number IN (
    SELECT e.number FROM events e WHERE e.kiosk = :of_kiosk AND e.epoch = :of_epoch AND e.seq = :of_seq
    UNION ALL
    SELECT c.number FROM corrections c
    WHERE c.of_kiosk = :of_kiosk AND c.of_epoch = :of_epoch AND c.of_seq = :of_seq
)
"""

FIXES = "SELECT time, mono_ms FROM events WHERE kind = 'time_fix' AND kiosk = :kiosk AND boot_id = :boot_id"

TO_FIX = """
SELECT number, time, mono_ms, fixed_time FROM events
WHERE kind = 'check_in' AND clock <> 'synchronised' AND kiosk = :kiosk AND boot_id = :boot_id
"""

ONE_TO_FIX = TO_FIX + "AND epoch = :epoch AND seq = :seq"

FIX = "UPDATE events SET fixed_time = :fixed_time, fixed_utc = :fixed_utc WHERE number = :number"

RELEASE = "UPDATE deliveries SET retry_at = 0 WHERE number = :number AND state = 'pending'"

AFTER = """
SELECT e.number, e.payload, e.lane, 0, NULL, p.person_id, p.direction, p.time, p.time_is, 0, 0, 0, NULL
FROM events e LEFT JOIN punches p ON p.number = e.number
WHERE e.number > :number ORDER BY e.number LIMIT :most
"""

DUE = """
SELECT e.number, e.payload, e.lane, d.attempts, d.label, p.person_id, p.direction, p.time, p.time_is,
    CASE WHEN d.label IS NOT NULL AND d.as_of > 0 THEN d.as_of ELSE (SELECT max(number) FROM events) END,
    (
        SELECT count(*) FROM corrections c
        JOIN events t ON t.kiosk = c.of_kiosk AND t.epoch = c.of_epoch AND t.seq = c.of_seq
        JOIN deliveries h ON h.connector = d.connector AND h.number = t.number
        WHERE c.number = d.number AND h.state = 'done' AND h.as_of < d.number
    ),
    (
        SELECT count(*) FROM corrections c
        WHERE d.as_of > 0 AND c.number > d.as_of
        AND c.of_kiosk = e.kiosk AND c.of_epoch = e.epoch AND c.of_seq = e.seq
    ) + (
        SELECT count(*) FROM events f
        WHERE d.as_of > 0 AND p.time_is = 'fixed' AND f.number = (
            SELECT min(g.number) FROM events g
            WHERE g.kind = 'time_fix' AND g.boot_id = e.boot_id AND g.kiosk = e.kiosk)
        AND f.number > d.as_of
    ),
    (
        SELECT COALESCE((SELECT q.time FROM punches q WHERE q.number = l.number), l.time) FROM (
            SELECT r.number, i.time FROM deliveries r JOIN events i ON i.number = r.number
            WHERE p.direction = 'out' AND r.connector = d.connector AND r.state = 'refused'
            AND r.number < d.number AND r.lane = d.lane AND i.kind = 'check_in'
            AND COALESCE((SELECT q.direction FROM punches q WHERE q.number = r.number), i.direction) = 'in'
            ORDER BY r.number DESC LIMIT 1
        ) l
        WHERE NOT EXISTS (
            SELECT 1 FROM deliveries m JOIN punches n ON n.number = m.number
            WHERE m.connector = d.connector AND m.lane = d.lane AND m.state = 'done'
            AND m.number > l.number AND m.number < d.number AND n.direction = 'in'
        )
    )
FROM deliveries d JOIN events e ON e.number = d.number LEFT JOIN punches p ON p.number = e.number
WHERE d.connector = :connector AND d.state IN ('pending', 'failed')
AND (d.retry_at <= :now OR d.retry_at > :latest)
AND (:begun = 0 OR d.label IS NOT NULL)
AND NOT EXISTS (
    SELECT 1 FROM deliveries b
    WHERE b.connector = d.connector AND b.lane = d.lane AND b.number < d.number
    AND b.state IN ('pending', 'failed') AND b.retry_at > :now AND b.retry_at <= :latest
)
ORDER BY d.number LIMIT :most
"""

# What was said by then of what became of one check-in, in the order of arrival.
SAID_BY_THEN = """
SELECT e.payload FROM events e WHERE e.number <= :as_of AND (
    (e.kiosk = :of_kiosk AND e.epoch = :of_epoch AND e.seq = :of_seq)
    OR e.number IN (
        SELECT c.number FROM corrections c
        WHERE c.of_kiosk = :of_kiosk AND c.of_epoch = :of_epoch AND c.of_seq = :of_seq
    )
    OR (e.kind = 'time_fix' AND e.kiosk = :of_kiosk AND e.boot_id = :boot_id)
)
ORDER BY e.number
"""

SET_BOOKMARK = """
INSERT INTO bookmarks (reader, number) VALUES (:reader, :number)
ON CONFLICT (reader) DO UPDATE SET number = excluded.number WHERE excluded.number > bookmarks.number
"""

BEGIN_CONNECTOR = """
INSERT INTO connectors (name, seen)
SELECT :name, CASE WHEN :only_new = 1 THEN (SELECT COALESCE(max(number), 0) FROM events) ELSE 0 END
WHERE NOT EXISTS (SELECT 1 FROM connectors WHERE name = :name)
"""

TOP = """
SELECT max(few.number) FROM (
    SELECT e.number FROM events e
    WHERE e.number > (SELECT c.seen FROM connectors c WHERE c.name = :name) ORDER BY e.number LIMIT :most
) AS few
"""

# Who takes no time fixes gets one that tells of punches there whose time is wrong.
ENLIST = """
INSERT INTO deliveries (connector, number, lane, state, retry_at)
SELECT c.name, e.number, e.lane, 'pending',
    CASE WHEN e.kind = 'check_in' AND e.clock = 'unsynchronised' AND e.fixed_time IS NULL
         THEN CASE WHEN e.received_s < :now THEN e.received_s ELSE :now END + :hold_s
         WHEN e.kind = 'check_in'
         THEN CASE WHEN e.received_s < :now THEN e.received_s ELSE :now END + :settle_s ELSE 0 END
FROM connectors c JOIN events e ON e.number > c.seen
WHERE c.name = :name AND e.number <= :top AND (:fixes = 1 OR e.kind <> 'time_fix' OR EXISTS (
    SELECT 1 FROM events i JOIN deliveries h ON h.connector = c.name AND h.number = i.number
    WHERE i.kind = 'check_in' AND i.clock <> 'synchronised' AND i.boot_id = e.boot_id AND i.kiosk = e.kiosk
    AND h.as_of > 0 AND h.as_of < e.number
))
"""

# What was handed over with the time of an unset clock, before the first time fix of that start of the kiosk.
LATE = """
SELECT i.number, i.payload, i.lane FROM events f
JOIN events i ON i.kind = 'check_in' AND i.clock <> 'synchronised' AND i.boot_id = f.boot_id
    AND i.kiosk = f.kiosk
JOIN deliveries h ON h.connector = :connector AND h.number = i.number
WHERE f.number = :number AND h.state = 'done' AND h.as_of < f.number AND NOT EXISTS (
    SELECT 1 FROM events g
    WHERE g.kind = 'time_fix' AND g.boot_id = f.boot_id AND g.kiosk = f.kiosk AND g.number < f.number
)
ORDER BY i.number
"""

SETTLE = """
UPDATE deliveries SET state = :state, attempts = attempts + :tried, retry_at = :retry_at, label = :label,
    words = :words, as_of = CASE WHEN as_of > :as_of THEN as_of ELSE :as_of END, changed_at = :at
WHERE connector = :connector AND number = :number
"""

HELD = """
SELECT d.number, e.payload, d.attempts, d.retry_at, d.words
FROM deliveries d JOIN events e ON e.number = d.number
WHERE d.connector = :connector AND d.state = :state ORDER BY d.number LIMIT :most
"""

# A batch that was under way stays together: its name was given away. Whoever tries again what was refused has
# looked there; what failed may be there still, as it was then.
AGAIN = """
UPDATE deliveries SET state = 'pending', retry_at = 0, changed_at = :at,
    as_of = CASE WHEN state = 'refused' THEN 0 ELSE as_of END
WHERE connector = :connector AND state IN ('refused', 'failed') AND (
    :number = 0 OR number = :number
    OR label = (SELECT o.label FROM deliveries o WHERE o.connector = :connector AND o.number = :number)
)
RETURNING number
"""

SEEN = "UPDATE connectors SET seen = :top WHERE name = :name"

STAND = "UPDATE connectors SET failures = :failures, retry_at = :retry_at, words = :words WHERE name = :name"

STANDING = "SELECT failures, retry_at, words FROM connectors WHERE name = :name"

STANDINGS = "SELECT name, failures, retry_at, words FROM connectors ORDER BY name"

COUNTS = "SELECT connector, state, count(*) FROM deliveries GROUP BY connector, state"

FORGIVE = "UPDATE connectors SET failures = 0, retry_at = 0 WHERE name = :name"

HEADS = "SELECT kiosk, epoch, seq, hash FROM streams"

HASH_OF = "SELECT hash FROM events WHERE kiosk = :kiosk AND epoch = :epoch AND seq = :seq"

BOOKMARK = "SELECT number FROM bookmarks WHERE reader = :reader"

"""The queries that look back over the record."""

# <> as well as =, because SQLite takes the partial index only for the condition it was made with.
UNFIXED = """
SELECT body, hash FROM events
WHERE boot_id = :boot AND kind = 'check_in' AND clock <> 'synchronised'
AND clock = 'unsynchronised' AND number > (
    SELECT coalesce(max(number), 0) FROM events WHERE boot_id = :boot AND kind = 'time_fix'
)
ORDER BY mono_ms DESC LIMIT 1
"""

# Those check-ins, with the corrections that name them and the time fixes of their boots; whether each waits.
# As bytes: text that is no UTF-8 any more would take the readable rows with it.
_WITH_WHAT_BELONGS_TO_THEM = """
SELECT epoch, seq, CAST(body AS BLOB), CAST(hash AS BLOB), number IN (SELECT number FROM outbox)
FROM events WHERE number NOT IN (SELECT number FROM renewed) AND number IN (
    SELECT number FROM meant
    UNION
    SELECT events.number FROM meant
    JOIN events ON kind = 'correction' AND of_epoch = meant.epoch AND of_seq = meant.seq
    UNION
    SELECT events.number FROM events WHERE kind = 'time_fix' AND boot_id IN (SELECT boot_id FROM meant)
)
ORDER BY number
"""

# By index in every part: recorded in the span; fixed into it; corrected into it.
_IN_THE_SPAN = """
    SELECT number, epoch, seq, boot_id FROM events
    WHERE at_s BETWEEN :first AND :end AND kind = 'check_in' {recorded_of}
    UNION
    SELECT number, epoch, seq, events.boot_id FROM fixes CROSS JOIN events ON
        events.boot_id = fixes.boot_id AND kind = 'check_in' AND clock <> 'synchronised'
        AND mono_ms BETWEEN :first * 1000 - zero_ms AND :end * 1000 - zero_ms {recorded_of}
    UNION
    SELECT target.number, target.epoch, target.seq, target.boot_id FROM events
    JOIN events AS target ON target.epoch = events.of_epoch AND target.seq = events.of_seq
    WHERE events.at_s BETWEEN :first AND :end AND events.kind = 'correction' {corrected_of}
"""
_FIXES = """
WITH
fixes AS (
    SELECT boot_id, at_s * 1000 - mono_ms AS zero_ms FROM events WHERE kind = 'time_fix'
),
"""
BETWEEN = (
    _FIXES
    + "meant AS ("
    + _IN_THE_SPAN.format(recorded_of="", corrected_of="")
    + ")"
    + _WITH_WHAT_BELONGS_TO_THEM
)

# What was recorded of a person in the span, and what became theirs by a correction, whenever it was.
_BECAME_THEIRS = """
    UNION
    SELECT target.number, target.epoch, target.seq, target.boot_id FROM events
    JOIN events AS target ON target.epoch = events.of_epoch AND target.seq = events.of_seq
    WHERE events.to_person = :person
"""
BETWEEN_OF = (
    _FIXES
    + "meant AS ("
    + _IN_THE_SPAN.format(
        recorded_of="AND events.person_id = :person", corrected_of="AND target.person_id = :person"
    )
    + _BECAME_THEIRS
    + ")"
    + _WITH_WHAT_BELONGS_TO_THEM
)

_RECORDED_OF = """
    SELECT number, epoch, seq, boot_id, at_s, json_extract(body, '$.method') IS 'manual' AS by_hand
    FROM events WHERE person_id = :person AND number NOT IN (SELECT number FROM renewed) {and_so}
    ORDER BY number DESC LIMIT 100
"""
# However much is noted at once by hand, or many punches recorded anew, it must not hide what somebody did
# today; and the time of a clock that was never set may be any. Among the latest 100 rows and the latest 100
# not made by hand, so that what it costs is bounded.
LATEST_OF = (
    f"""
WITH
recent AS (
    SELECT * FROM ({_RECORDED_OF.format(and_so="")})
    UNION
    SELECT * FROM ({_RECORDED_OF.format(and_so="AND NOT by_hand")})
),
placed AS (
    SELECT number, epoch, seq, boot_id,
        row_number() OVER (PARTITION BY by_hand ORDER BY number DESC) AS by_number,
        row_number() OVER (PARTITION BY by_hand ORDER BY at_s DESC) AS by_time
    FROM recent
),
named AS (
    SELECT of_epoch, of_seq FROM events WHERE to_person = :person ORDER BY number DESC LIMIT :limit
),
meant AS (
    SELECT number, epoch, seq, boot_id FROM placed WHERE by_number <= :limit OR by_time <= :limit
    UNION
    SELECT number, epoch, seq, boot_id FROM named JOIN events ON epoch = named.of_epoch AND seq = named.of_seq
)
"""  # noqa: S608  # both are constants
    + _WITH_WHAT_BELONGS_TO_THEM
)

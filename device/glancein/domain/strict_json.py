"""JSON from strangers, read field by field.

Each answer is what was asked for, or a FeedError that names the field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn

from glancein.errors import FeedError

LARGEST_PAYLOAD = 16 * 1024
LARGEST_SEQ = 2**53 - 1  # the largest integer every JSON reader keeps exactly
WORD_LIMIT = 64


def canonical(body: Mapping[str, object]) -> bytes:
    """Canonical JSON (RFC 8785) of an object whose numbers are whole or have few decimals."""
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def parse_object(payload: bytes) -> dict[str, object]:
    """A JSON object of bounded size without repeated fields; raises FeedError."""
    if len(payload) > LARGEST_PAYLOAD:
        raise FeedError(f"the message has {len(payload)} bytes, more than {LARGEST_PAYLOAD}")
    try:
        body = json.loads(payload.decode(), parse_constant=_no_constant, object_pairs_hook=_no_repeats)
        canonical(body if isinstance(body, dict) else {})
    except (ValueError, RecursionError) as err:
        raise FeedError(f"the message is not JSON: {str(err)[:100]}") from None
    if not isinstance(body, dict):
        raise FeedError("the message is not a JSON object")
    return body


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a field is there twice")
    return body


def refuse(field: str, why: str) -> NoReturn:
    """Say which field is wrong; raises FeedError."""
    raise FeedError(f"the message's {field} {why}")


def expect(condition: bool, field: str, why: str) -> None:  # noqa: FBT001  # reads as a sentence
    """Refuse the field unless the condition holds; raises FeedError."""
    if not condition:
        refuse(field, why)


def text(body: Mapping[str, object], field: str, limit: int, *, shortest: int = 1) -> str:
    """A printable text of bounded length; raises FeedError."""
    value = body.get(field)
    if not isinstance(value, str):
        refuse(field, "is not text")
    expect(shortest <= len(value) <= limit, field, f"has {len(value)} characters, not {shortest} to {limit}")
    expect(value.isprintable(), field, "has control characters")
    return value


def matching(body: Mapping[str, object], field: str, pattern: re.Pattern[str]) -> str:
    """A text of this form; raises FeedError."""
    value = text(body, field, WORD_LIMIT)
    expect(pattern.match(value) is not None, field, f"{value!r} has the wrong form")
    return value


def one_of(body: Mapping[str, object], field: str, words: set[str]) -> str:
    """One of these words; raises FeedError."""
    value = text(body, field, WORD_LIMIT)
    expect(value in words, field, f"is {value!r}, none of {', '.join(sorted(words))}")
    return value


def whole(body: Mapping[str, object], field: str, *, low: int, high: int = LARGEST_SEQ) -> int:
    """A whole number that every JSON reader keeps exactly; raises FeedError."""
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        refuse(field, "is not a whole number")
    expect(low <= value <= high, field, f"is not within {low} to {high}")
    return value


def cosine(body: Mapping[str, object], field: str) -> float:
    """A number between -1 and 1; raises FeedError."""
    value = body.get(field)
    if not isinstance(value, int | float) or isinstance(value, bool):
        refuse(field, "is not a number")
    expect(-1 <= value <= 1 and math.isfinite(value), field, "is not a cosine between -1 and 1")
    return float(value)


def time_of(body: Mapping[str, object], field: str) -> datetime:
    """A moment with its offset from UTC; raises FeedError."""
    value = text(body, field, WORD_LIMIT)
    try:
        moment = datetime.fromisoformat(value)
        aware = moment.utcoffset() is not None
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse(field, f"{value!r} is not a date and time")
    expect(aware, field, f"{value!r} has no offset from UTC")
    return moment

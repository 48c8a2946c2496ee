"""Figures as JSON that any program reads: what is no number is null."""

from __future__ import annotations

import json
import math


def to_json(content: object, *, indent: int | None = 1) -> str:
    """The text of plain values, lists and dictionaries; one line with ``indent`` None."""
    return json.dumps(finite(content), indent=indent, allow_nan=False)


def finite(value: object) -> object:
    """The same values with None where a number is not finite, however deep."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [finite(inner) for inner in value]
    return value

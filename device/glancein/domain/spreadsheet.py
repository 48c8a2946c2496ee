"""Cells that a spreadsheet shows and never runs. Pure."""

from __future__ import annotations

FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def harmless(value: object) -> object:
    """The value for a CSV cell: a text that begins like a formula is quoted (OWASP, CSV injection)."""
    if isinstance(value, str) and value.startswith(FORMULA_BEGINS):
        return f"'{value}"
    return "" if value is None else value

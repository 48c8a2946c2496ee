"""What conversion raises on purpose."""

from __future__ import annotations

from glancein.errors import GlanceinError


class ConversionError(GlanceinError):
    """A network cannot be converted, or the converted file is not good enough."""

    exit_code = 7

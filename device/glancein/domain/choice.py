"""A direction asked of the person in front of the kiosk, where the policy leaves it to them."""

from __future__ import annotations

from dataclasses import dataclass

from glancein.types import Direction


@dataclass(frozen=True, slots=True)
class Question:
    """In or out? ``token`` names the question when the answer comes; ``suggested`` is the likely one."""

    token: str
    person_id: str
    name: str | None
    suggested: Direction
    patience_s: float

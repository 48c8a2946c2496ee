"""What tests of frames share: visits of people whose frames differ in worth, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from glancein_training.frames.visits import Visits

PEOPLE, VISITS, FRAMES, NUMBERS = 12, 24, 4, 16


@pytest.fixture(scope="session")
def graded_visits() -> Visits:
    """Noisy frames whose noise shows in the norm, the first measure, the first label and the picture."""
    pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
    from glancein_training.frames.visits import SMALL_PX, Visits  # noqa: PLC0415  # torch may be absent

    rng = np.random.default_rng(0)
    template = rng.normal(size=(PEOPLE, NUMBERS))
    template /= np.linalg.norm(template, axis=1, keepdims=True)
    person = np.arange(VISITS) % PEOPLE
    noise = rng.random((VISITS, FRAMES))
    raw = template[person][:, None] + 0.6 * noise[..., None] * rng.normal(size=(VISITS, FRAMES, NUMBERS))
    raw *= ((2 - noise) / np.linalg.norm(raw, axis=2))[..., None]
    measures = rng.normal(size=(VISITS, FRAMES, 13))
    measures[..., 0] = -noise
    wrong = rng.random((VISITS, FRAMES, 7)) < 0.2
    wrong[..., 0] = noise > 0.5
    shade = np.rint(255 * noise).astype(np.uint8)
    small = np.broadcast_to(shade[..., None, None, None], (VISITS, FRAMES, SMALL_PX, SMALL_PX, 3))
    return Visits(
        template=template.astype(np.float32),
        person=person,
        raw=raw.astype(np.float32),
        measures=measures.astype(np.float32),
        overall=(1 - noise).astype(np.float32),
        passes=noise < 0.9,
        small=np.ascontiguousarray(small),
        wrong=wrong,
        known=rng.random((VISITS, FRAMES)) < 0.9,
    )

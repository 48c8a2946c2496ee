"""A new embedder: everybody gets a template of it from the stored crop, and only then it is used.

Until then the old network and its templates serve. Every step can be repeated: killed anywhere, the bundle in
use has a whole gallery, and the next call goes on where this one ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from glancein.domain.person import StoredTemplate
from glancein.enrolment import read_crop, template_of
from glancein.errors import ModelError, StoreError
from glancein.ports import Embedder, Models, Renewable

SOMEBODY_LEFT = 1  # exit code of a renewal that only a new photo can complete
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a call has done: templates made, people whose crop is damaged, and whether it switched."""

    made: int = 0
    left: tuple[str, ...] = ()
    switched: bool = False


def renew(
    models: Models, people: Renewable, *, opener: Callable[[Path], Embedder], now: Callable[[], datetime]
) -> Renewal:
    """Bring the gallery of the pending embedder up to date and switch to it, or that of the one in use.

    opener: opens and proves a bundle. A pending bundle that fails is forgotten. It stays pending while
    somebody has no template of it (``left``). Raises ModelError, StoreError.
    """
    waiting = models.pending()
    if waiting is None:
        return renew_people(people, opener(models.folder()), now=now)
    try:
        embedder = opener(waiting)
    except ModelError:
        models.drop_pending()
        raise
    done = renew_people(people, embedder, now=now)
    if done.left:
        return done
    models.switch()
    # Somebody may have been enrolled with the old one between the last look and the switch.
    late = renew_people(people, embedder, now=now)
    return Renewal(done.made + late.made, late.left, switched=True)


def renew_people(people: Renewable, embedder: Embedder, *, now: Callable[[], datetime]) -> Renewal:
    """Give everybody who lacks one a template of this embedder. Raises ModelError, StoreError."""
    made, left = 0, set[str]()
    while missing := set(people.lacking(embedder.model_sha256)) - left:
        for person_id in sorted(missing):
            portrait = people.portrait_of(person_id)
            if portrait is None:
                left.add(person_id)
                continue
            try:
                template = renewed(portrait, embedder, at=now())
            except StoreError as err:
                _log.warning("one person needs a new photo: %s", err)
                left.add(person_id)
                continue
            made += people.add_template(person_id, template, like=portrait)
    return Renewal(made, tuple(sorted(left)))


def renewed(portrait: StoredTemplate, embedder: Embedder, *, at: datetime) -> StoredTemplate:
    """The template that this embedder makes of a stored crop. Raises StoreError if the crop is damaged."""
    vector = template_of(read_crop(portrait.crop_png), embedder)
    return replace(portrait, vector=vector, model_sha256=embedder.model_sha256, created_at=at)

"""Refusals as JSON on standard output; their one line still goes to standard error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from glancein.errors import GlanceinError, PhotoError

if TYPE_CHECKING:
    from glancein.cli.output import Output
    from glancein.types import Candidate, Finding

# What is not the fault of a photo, by exit code, in the words of glancein --help.
_REASONS = {2: "bad_input", 3: "database", 4: "camera", 5: "feed", 6: "model"}


@contextmanager
def refusals_told(output: Output) -> Iterator[None]:
    """With ``--json`` an error of ours is printed as a document before it ends the command."""
    try:
        yield
    except GlanceinError as err:
        output.result(_error_json(err), lambda _: None)
        raise


def refusal_json(
    reason: str, message: str, findings: Sequence[Finding], like: Candidate | None
) -> dict[str, object]:
    """A refusal as JSON values."""
    return {
        "outcome": "refused",
        "reason": reason,
        "message": message,
        "findings": [finding_json(finding) for finding in findings],
        "most_like": like_json(like),
    }


def finding_json(finding: Finding) -> dict[str, object]:
    """A finding as JSON values."""
    return {
        "reason": str(finding.reason),
        "value": finding.value,
        "limit": finding.limit,
        "advice": finding.advice,
    }


def like_json(like: Candidate | None) -> dict[str, object] | None:
    """The most similar other person as JSON values."""
    return None if like is None else {"id": like.person_id, "score": like.score_cos}


def _error_json(err: GlanceinError) -> dict[str, object]:
    from glancein.enrolment import RefusedPhotoError  # noqa: PLC0415  # loads numpy

    if isinstance(err, RefusedPhotoError):
        return refusal_json(str(err.reason), str(err), err.refusal.findings, err.refusal.like)
    reason = err.reason if isinstance(err, PhotoError) else _REASONS.get(err.exit_code, "error")
    return refusal_json(str(reason), str(err), (), None)

"""The contract between convert/ and device/: what a bundle holds, how its numbers are read, how it was made.

A bundle is a folder with ``card.json`` (this file's ModelCard), the model, ``golden.npz`` and, for an
embedder, the cohort. The card names every other file with its SHA-256; ``model_card.schema.json`` describes
its JSON form.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from glancein.errors import ModelError

CARD_FILE = "card.json"
GOLDEN_FILE = "golden.npz"
SIGNATURE_FILE = "card.sig"
VERSION = 1
LARGEST_CARD_BYTES = 1 << 20
LARGEST_FILE_BYTES = 1 << 24

Kind = Literal["embedder", "finder"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The picture a network takes, int8 NHWC: value = pixel - 128, real = scale * (value - zero_point)."""

    height_px: int
    width_px: int
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One int8 output: real value = scale * (value - zero_point)."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """The cosine that impostors pass at this rate; low and high are the 95 % interval.

    ``extrapolated`` says that the rate lies beyond what was counted and comes from a fitted tail.
    """

    false_match_rate: float
    threshold_cos: float
    low_cos: float
    high_cos: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Matching:
    """How cosines are judged: points with falling rates, the impostor cohort, the runner-up margin."""

    points: tuple[ThresholdPoint, ...]
    cohort_file: str
    margin_cos: float


@dataclass(frozen=True, slots=True)
class Finding:
    """From which score on a finder's box is a face, and how many false faces a picture has there."""

    score_threshold: float
    false_faces_per_image: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything the device and a reader must know of one model."""

    kind: Kind
    name: str
    file: str
    sha256: str
    size_bytes: int
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    licence: str
    data_note: str
    training_command: str
    git_commit: str
    files: dict[str, str] = field(default_factory=dict)  # name -> SHA-256 of every other file of the bundle
    figures: dict[str, Any] = field(default_factory=dict)  # any JSON: the measured figures differ by kind
    embedding_dimension: int | None = None
    matching: Matching | None = None
    finding: Finding | None = None


def read_card(folder: Path) -> ModelCard:
    """The card of one bundle folder, validated; the files it names are not opened.

    Raises ModelError if there is none, it is not JSON, or it breaks the schema.
    """
    path = folder / CARD_FILE
    raw = _read_small(path, LARGEST_CARD_BYTES)
    try:
        document = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as err:
        raise ModelError(f"{path} is not JSON: install the bundle again") from err
    validate(document, where=str(path))
    return from_json(document)


def read_file(folder: Path, card: ModelCard, name: str | None = None) -> bytes:
    """Bytes of the model, or of the named other file, after their SHA-256 has been compared with the card's.

    Raises ModelError if the file is missing, not listed on the card, or differs.
    """
    wanted = card.sha256 if name is None else card.files.get(name)
    if wanted is None:
        raise ModelError(f"{folder / CARD_FILE} does not list {name}: install the bundle again")
    path = folder / (card.file if name is None else name)
    content = _read_small(path, LARGEST_FILE_BYTES)
    if hashlib.sha256(content).hexdigest() != wanted:
        raise ModelError(f"{path} is damaged (its SHA-256 is not the card's): install the bundle again")
    return content


def write_card(folder: Path, card: ModelCard) -> Path:
    """Write ``card.json`` whole or not at all; the same card gives the same bytes.

    Raises ModelError if the card breaks the schema.
    """
    document = to_json(card)
    path = folder / CARD_FILE
    validate(document, where=str(path))
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def to_json(card: ModelCard) -> dict[str, Any]:
    """The card as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(card)))
    return {"version": VERSION, **plain}


def from_json(document: dict[str, Any]) -> ModelCard:
    """The card of a document that has passed ``validate``."""
    plain = {name: value for name, value in document.items() if name != "version"}
    plain["input"] = InputSpec(**plain["input"])
    plain["outputs"] = tuple(OutputSpec(**(o | {"shape": tuple(o["shape"])})) for o in plain["outputs"])
    if (matching := plain.get("matching")) is not None:
        points = tuple(ThresholdPoint(**point) for point in matching["points"])
        plain["matching"] = Matching(**(matching | {"points": points}))
    if (finding := plain.get("finding")) is not None:
        plain["finding"] = Finding(**finding)
    return ModelCard(**plain)


def validate(document: object, *, where: str) -> None:
    """Raise ModelError naming the first thing that breaks the schema or the order of the points."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # 0.1 s, and only needed when a model is opened

    error = next(iter(Draft202012Validator(schema()).iter_errors(document)), None)
    if error is not None:
        at = "/".join(str(step) for step in error.absolute_path) or "the card"
        raise ModelError(f"{where}: {at}: {error.message[:200]}")
    matching = cast("dict[str, Any]", document).get("matching")
    if matching is not None and not _falls(matching["points"]):
        raise ModelError(f"{where}: matching/points: rates must fall and thresholds must not")


def schema() -> dict[str, Any]:
    """The JSON Schema of a card."""
    text = resources.files("glancein").joinpath("model_card.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _falls(points: list[dict[str, float]]) -> bool:
    return all(
        b["false_match_rate"] < a["false_match_rate"] and b["threshold_cos"] >= a["threshold_cos"]
        for a, b in itertools.pairwise(points)
    )


def _read_small(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as err:
        raise ModelError(f"cannot read {path}: {err.strerror}; install the bundle again") from err
    if len(content) > limit:
        raise ModelError(f"{path} is larger than {limit} bytes: it is not a model file of ours")
    return content

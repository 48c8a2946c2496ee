"""Embedded faces with their labels: reads what ``glancein embed`` writes, and the teachers' files."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glancein.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]

# Columns of a label file that describe the picture, not a group of people.
NOT_A_GROUP = frozenset(
    {
        "path",
        "tar",
        "identity",
        "id",
        "split",
        "age",
        "detector_score",
        "source_px_per_crop_px",
        "cosine_to_own_identity",
    }
)
MOST_GROUPS = 12  # a column with more values than this is a measurement, not a grouping
NO_FACE_COS = -1.0  # the score of a pair one side of which has no face: never a match


@dataclass(frozen=True, slots=True)
class Faces:
    """Embedded pictures in the order of their file. ``identity`` indexes ``people``."""

    path: Strings  # (n,)
    found: Bools  # (n,) False where no face was found: such a picture never matches
    vector: Floats  # (n, d) unit rows, zero where not found
    identity: Ints  # (n,)
    people: tuple[str, ...]
    split: Strings  # (n,) "" where the labels name none
    groups: Mapping[str, Strings] = field(default_factory=dict)  # column name -> (n,)
    quality: Floats | None = None  # (n,)
    template: Floats | None = None  # (n, d) unit rows: the pictures enrolled, where that gives other vectors

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: Ints | Bools) -> Faces:
        """These rows only, people renumbered."""
        kept, identity = np.unique(self.identity[rows], return_inverse=True)
        return replace(
            self,
            path=self.path[rows],
            found=self.found[rows],
            vector=self.vector[rows],
            identity=identity.astype(np.int64),
            people=tuple(self.people[k] for k in kept),
            split=self.split[rows],
            groups={name: column[rows] for name, column in self.groups.items()},
            quality=None if self.quality is None else self.quality[rows],
            template=None if self.template is None else self.template[rows],
        )

    @property
    def enrolled(self) -> Floats:
        """(n, d) what enrolling each picture stores."""
        return self.vector if self.template is None else self.template

    def half(self, parity: int) -> Faces:
        """The people with even (0) or odd (1) numbers: one half to choose on, the other to report on."""
        even = np.array([parity_of(name) == parity for name in self.people])
        return self.take(even[self.identity])

    def sample(self, people: int, *, seed: int) -> Faces:
        """At most this many people, drawn once."""
        if len(self.people) <= people:
            return self
        drawn = np.random.default_rng(seed).permutation(len(self.people))[:people]
        return self.take(np.isin(self.identity, drawn))


def read_faces(path: Path, *, labels: Path | None = None, identity_from: str = "folder") -> Faces:
    """Embeddings of one file with identities from ``labels`` or from their paths.

    ``path``: as ``glancein embed`` writes it (path, found, embedding, quality, template), or a teacher's file
    (vectors, scale) whose rows follow ``labels``. ``identity_from``: without labels the person is the
    "folder", the "stem" of its file, or each "picture" is a person. A picture that the labels name by path
    gets that path. Raises InputError if the files do not fit together.
    """
    stored = read_arrays(path)
    rows = read_labels(labels) if labels else []
    if "vectors" in stored:
        return _teacher(stored, rows, path)
    missing = {"path", "embedding"} - stored.keys()
    if missing:
        raise InputError(f"{path} has no array {min(missing)!r}; make it with `glancein embed`")
    paths = np.array([str(p).replace("\\", "/") for p in stored["path"].ravel()])
    if len(paths) == 0:
        raise InputError(f"{path} holds no pictures")
    embedding = numbers(stored, "embedding", (len(paths), None), path)
    found = np.ones(len(paths), bool)
    if "found" in stored:
        found = np.asarray(numbers(stored, "found", (len(paths),), path), bool)
    quality = numbers(stored, "quality", (len(paths),), path) if "quality" in stored else None
    template = numbers(stored, "template", embedding.shape, path) if "template" in stored else None
    matched = _match(paths, rows, labels) if rows else [_from_path(p, identity_from) for p in paths]
    kept = np.array([row is not None for row in matched], bool)
    if not kept.any():
        raise InputError(f"no picture of {path} is named in {labels}")
    named = [row.get("path") or path for row, path in zip(matched, paths, strict=True) if row is not None]
    return _assemble(
        np.array(named),
        found[kept],
        np.asarray(embedding, np.float32)[kept],
        [row for row in matched if row is not None],
        quality=None if quality is None else np.asarray(quality, np.float32)[kept],
        template=None if template is None else np.asarray(template, np.float32)[kept],
    )


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Every array of one ``.npz``. Raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            stored = np.load(file)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is a single array, no .npz; make it with `glancein embed`")
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as err:
        raise InputError(f"cannot read {path} as .npz: {err}") from err


def numbers(
    stored: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int | None, ...], path: Path
) -> NDArray[np.generic]:
    """One array of ``path``, None for any length. Raises InputError for other shapes and for text."""
    if name not in stored:
        raise InputError(f"{path} has no array {name!r}")
    found = stored[name]
    fits = len(found.shape) == len(shape) and all(
        wanted in {None, had} for wanted, had in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype.kind not in "biuf":
        told = " x ".join("any" if wanted is None else str(wanted) for wanted in shape)
        had = " x ".join(map(str, found.shape)) or "a single"
        raise InputError(f"{name!r} of {path} is {had} {found.dtype}, not {told} numbers")
    return found


def teacher_vectors(stored: Mapping[str, NDArray[np.generic]], path: Path) -> Floats:
    """(n, d) vectors of a teacher's file as float32, of any length. Raises InputError if it holds none."""
    vectors = numbers(stored, "vectors", (None, None), path)
    scale = numbers(stored, "scale", (len(vectors),), path)
    return np.asarray(vectors, np.float32) * np.asarray(scale, np.float32)[:, None]


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by its header. Raises InputError if it is no CSV in UTF-8, OSError as ``open``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # with the mark that spreadsheets write
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as err:
        raise InputError(f"cannot read labels {path}: {err}; save it as CSV in UTF-8") from err


def read_labels(path: Path) -> list[dict[str, str]]:
    """Rows of a label file; without identities each picture is a person. Raises InputError if unreadable."""
    try:
        rows = read_table(path)
    except OSError as err:
        raise InputError(f"cannot read labels {path}: {err.strerror}") from err
    if not rows or not {"path", "identity", "id"} & rows[0].keys():
        raise InputError(f"{path} needs a header with `path` and `identity` (or `id`) and at least one row")
    return rows


def parity_of(person: str) -> int:
    """0 or 1, the same for ever: the number's parity, or that of a name's checksum."""
    if person.isdecimal():
        return int(person) % 2
    # Without the last digit, which is 0 of all who are kept out of a training (people.is_training).
    return zlib.crc32(person.encode()) // 10 % 2


def cosines(left: Faces, right: Faces) -> Floats:
    """(n, m) scores of looks at left and enrolled right pictures; NO_FACE_COS where either has no face."""
    scores = left.vector @ right.enrolled.T
    scores[~left.found] = NO_FACE_COS
    scores[:, ~right.found] = NO_FACE_COS
    return np.asarray(scores, np.float32)


def unit_rows(vectors: Floats) -> Floats:
    """Rows scaled to unit length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _teacher(stored: Mapping[str, NDArray[np.generic]], rows: list[dict[str, str]], path: Path) -> Faces:
    vectors = teacher_vectors(stored, path)
    if len(rows) != len(vectors):
        raise InputError(
            f"{path} has {len(vectors)} rows in the order of a labels.csv; give that file with --labels"
        )
    paths = np.array([row["path"] for row in rows])
    return _assemble(paths, np.ones(len(rows), bool), vectors, rows)


def _assemble(
    paths: Strings,
    found: Bools,
    vectors: Floats,
    rows: Sequence[Mapping[str, str]],
    *,
    quality: Floats | None = None,
    template: Floats | None = None,
) -> Faces:
    usable = found & _has_direction(vectors)
    if template is not None:
        usable &= _has_direction(template)
    people, identity = np.unique(
        [row.get("identity") or row.get("id") or row["path"] for row in rows], return_inverse=True
    )
    return Faces(
        path=paths,
        found=usable,
        vector=unit_rows(np.where(usable[:, None], vectors, 0)),
        identity=identity.astype(np.int64),
        people=tuple(str(name) for name in people),
        split=np.array([row.get("split", "") for row in rows]),
        groups=_groups(rows),
        quality=quality,
        template=None if template is None else unit_rows(np.where(usable[:, None], template, 0)),
    )


def _has_direction(vectors: Floats) -> Bools:
    return np.asarray(np.isfinite(vectors).all(axis=1) & (np.abs(vectors).sum(axis=1) > 0), np.bool_)


def _groups(rows: Sequence[Mapping[str, str]]) -> dict[str, Strings]:
    columns = {
        name: np.array([row.get(name) or "" for row in rows]) for name in rows[0] if name not in NOT_A_GROUP
    }
    return {name: column for name, column in columns.items() if 1 < len(np.unique(column)) <= MOST_GROUPS}


def _from_path(path: str, identity_from: str) -> dict[str, str]:
    folder = path.rpartition("/")[0].rpartition("/")[2]
    match identity_from:
        case "folder":
            return {"identity": folder or _stem(path)}
        case "stem":
            return {"identity": _stem(path)}
        case "picture":
            return {"identity": path}
    raise InputError(f"--identity-from is folder, stem or picture, not {identity_from!r}")


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0] or path


def _match(paths: Strings, rows: list[dict[str, str]], labels: Path | None) -> list[dict[str, str] | None]:
    """The label row of each picture: by the longest tail of its path, or by id as file or folder name."""
    if "path" not in rows[0]:
        named = [(row.get("id") or row.get("identity"), row) for row in rows]
        by_id = {name: row for name, row in named if name}  # spreadsheets end in lines of commas alone
        return [
            by_id.get(_stem(p)) or by_id.get(p.rpartition("/")[0].rpartition("/")[2]) for p in paths.tolist()
        ]
    by_path = {row["path"]: row for row in rows}
    if len(by_path) < len(rows):
        raise InputError(f"{labels} names a path twice")
    return [_longest_tail(p, by_path) for p in paths.tolist()]


def _longest_tail(path: str, by_path: Mapping[str, dict[str, str]]) -> dict[str, str] | None:
    parts = path.split("/")
    for start in range(len(parts)):
        row = by_path.get("/".join(parts[start:]))
        if row is not None:
            return row
    return None

"""Make a new network's vectors comparable with an old one's, so that templates need not be made again.

Only the new network's last layer is learned (FaceNet's first stage, Schroff et al. 2015, appendix): its
features are computed once, and a run takes minutes. The old network is known by its vectors alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.checkpoints import load_network, read_checkpoint, write_checkpoint
from glancein_training.configuration import at_least, record
from glancein_training.descent import descend
from glancein_training.evaluate.cross import Crossed, cross
from glancein_training.evaluate.faces import Faces, Ints, parity_of, read_faces, read_labels
from glancein_training.figures import to_json
from glancein_training.losses.distillation import relational_distillation
from glancein_training.losses.harmonic import harmonic_loss
from glancein_training.networks import Embedder, network_pictures
from glancein_training.outputs import check_folder
from glancein_training.sampling import people_sampler

BEGINNINGS = ("turned", "as-is", "random")
BATCH = 256
LEAST = {
    "pictures": 1,
    "people": 2,
    "each": 2,
    "steps": 0,  # then the layer is turned and learns nothing
    "rate": 0,
    "threads": 1,
    "resamples": 2,
    "seed": 0,
}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on; saved beside its weights."""

    start: str = "training/weights/embedder.pt"  # the new network
    data: str = "../shared/data/faces"  # a pack with identities
    old: str = "../shared/data/faces/teacher_b.npz"  # the old network's vectors of the pack's pictures
    begin: str = "turned"  # the last layer: turned to fit, as it is, or random
    pictures: int = 6000  # of training people, to learn from
    people: int = 48
    each: int = 5
    steps: int = 600
    rate: float = 3e-4
    margin: float = 0.2
    triplet_weight: float = 1.0
    old_weight: float = 1.0  # 1 - cos to the old vector of the same picture
    keep_weight: float = 2.0  # the batch's cosines stay what they were before
    threads: int = 1
    resamples: int = 100
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Material:
    """Training pictures and development pictures as both networks see them."""

    features: Tensor  # (n, f) float32, what enters the new network's last layer
    old: Tensor  # (n, d) unit rows
    label: Ints  # (n,)
    judged: Tensor  # (m, f) features of development pictures
    old_faces: Faces  # the same m pictures with the old vectors


def run(config: Config, out: Path, cache: Path) -> Crossed:
    """Learn the last layer, write ``checkpoint.pt``, ``config.json`` and ``harmonic.json``; the figures.

    The figures are of the odd development people, the crop alone, without its mirror image. Raises InputError
    if ``out`` can be no folder or holds a run already, or the data, the old vectors and the network do not
    fit together.
    """
    at_least(config, LEAST)
    check_folder(out, "RUN")
    refuse_used(out)
    if config.begin not in BEGINNINGS:
        raise InputError(f"begin is {', '.join(BEGINNINGS)}, not {config.begin!r}")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = load_network(Path(config.start))
    material = gather(config, network, cache)
    before = F.normalize(network.project(material.features)).detach()
    begin(network.project, config.begin, before, material.old)
    loss_of = objective(config, material, before)
    learn(network.project, material, loss_of, config)
    found = judge(network, material, config)
    out.mkdir(parents=True, exist_ok=True)
    kept = record(config, old_sha256=hashlib.sha256(Path(config.old).read_bytes()).hexdigest())
    (out / "config.json").write_text(to_json(kept) + "\n", encoding="utf-8")
    (out / "harmonic.json").write_text(to_json(asdict(found)) + "\n", encoding="utf-8")
    stored = read_checkpoint(Path(config.start))
    state = network.state_dict()
    content = {"network": stored["network"], "images": stored.get("images", 0), "config": asdict(config)}
    write_checkpoint({**content, "average": state}, out / "checkpoint.pt")
    return found


def refuse_used(out: Path) -> None:
    """Raise InputError if a run lies in this folder: one of minutes has no half way to go on from."""
    if (out / "checkpoint.pt").exists():
        raise InputError(f"{out} holds a run already; take a fresh folder")


def gather(config: Config, network: Embedder, cache: Path) -> Material:
    """Features and old vectors of training and development pictures. Raises InputError if they do not fit."""
    folder = Path(config.data)
    if not (folder / "labels.csv").exists():
        raise InputError(f"{folder} is no pack of crops: it has no labels.csv")
    crops = packs.load(folder, cache=cache)
    faces = read_faces(Path(config.old), labels=folder / "labels.csv")
    width = network.project.out_features
    if faces.vector.shape[1] != width:
        raise InputError(
            f"{config.old} has vectors of {faces.vector.shape[1]} numbers, the network of {width}"
        )
    row_of = _rows_by_path(folder)
    known = np.array([row_of[str(path)] for path in faces.path], np.int64)  # rows of the pack
    training = crops.is_train[known] & faces.found
    judging = ~crops.is_train[known] & np.array([parity_of(faces.people[k]) == 1 for k in faces.identity])
    chosen = _some_people(faces.identity, training, config.pictures, config.seed)
    if len(chosen) == 0 or not judging.any():
        raise InputError(f"{config.old} names no training or no odd development pictures of {folder}")
    rows = np.concatenate([known[chosen], known[judging]])
    features = torch.from_numpy(features_of(network, crops, rows, Path(config.start), cache))
    count = len(chosen)
    old = torch.from_numpy(faces.vector[chosen])
    return Material(features[:count], old, faces.identity[chosen], features[count:], faces.take(judging))


@torch.no_grad()
def features_of(
    network: Embedder, crops: packs.Crops, rows: Ints, weights: Path, cache: Path
) -> packs.Floats:
    """(n, f) what enters the last layer for these rows of a pack; kept in ``cache`` for the next run."""
    told = weights.read_bytes() + crops.data_sha256.encode() + np.asarray(rows, np.int64).tobytes()
    kept = cache / f"features-{hashlib.sha256(told).hexdigest()[:16]}.npy"
    if kept.exists():
        return np.asarray(np.load(kept), np.float32)
    out = []
    for start in range(0, len(rows), BATCH):
        stored = torch.from_numpy(np.stack([crops.pixels[row] for row in rows[start : start + BATCH]]))
        inputs = network_pictures(network, stored.permute(0, 3, 1, 2))
        out.append(network.body(inputs.contiguous(memory_format=torch.channels_last)).flatten(1).numpy())
    found = np.concatenate(out).astype(np.float16)  # so that fresh and kept features are the same
    cache.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part.npy")
    np.save(part, found)
    part.replace(kept)
    return np.asarray(found, np.float32)


@torch.no_grad()
def begin(layer: nn.Linear, how: str, before: Tensor, old: Tensor) -> None:
    """Put the last layer where learning begins.

    "turned": by the rotation that lays the new vectors best onto the old ones (orthogonal Procrustes,
    Schönemann 1966), which changes no angle between new vectors. "as-is": nothing. "random": fresh weights.
    """
    match how:
        case "turned":
            turn = procrustes(before, old)
            layer.weight.copy_(turn.T @ layer.weight)
            layer.bias.copy_(turn.T @ layer.bias)
        case "random":
            layer.reset_parameters()


def procrustes(new: Tensor, old: Tensor) -> Tensor:
    """(d, d) the rotation R for which ``new @ R`` lies nearest to ``old``, rows (n, d)."""
    left, _, right = torch.linalg.svd(new.T @ old)
    rotation: Tensor = left @ right
    return rotation


def objective(config: Config, material: Material, before: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a batch's new vectors at these rows of the material."""
    rng = torch.Generator().manual_seed(config.seed)
    label = torch.from_numpy(material.label)

    def loss_of(vectors: Tensor, rows: Tensor) -> Tensor:
        old = material.old[rows]
        mixed, _ = harmonic_loss(vectors, old, label[rows], margin=config.margin, rng=rng)
        near = (1 - F.cosine_similarity(vectors, old)).mean()
        kept = relational_distillation(vectors, before[rows])
        return config.triplet_weight * mixed + config.old_weight * near + config.keep_weight * kept

    return loss_of


def learn(
    layer: nn.Linear, material: Material, loss_of: Callable[[Tensor, Tensor], Tensor], config: Config
) -> None:
    """Batches of people through the last layer alone, the rate falling along a line."""
    sampler = people_sampler(material.label, people=config.people, each=config.each, seed=config.seed)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=config.rate)
    for step in range(config.steps):
        rows = torch.from_numpy(sampler.batch(step))
        loss = loss_of(layer(material.features[rows]), rows)
        descend((optimiser,), loss, rate=config.rate * (1 - step / config.steps))


@torch.no_grad()
def judge(network: Embedder, material: Material, config: Config) -> Crossed:
    """True accepts of old against old, new against new and new against old vectors."""
    vectors = F.normalize(network.project(material.judged)).numpy()
    old = material.old_faces
    new = Faces(old.path, old.found, vectors, old.identity, old.people, old.split)
    return cross(old, new, resamples=config.resamples, seed=config.seed)


def _rows_by_path(pack: Path) -> dict[str, int]:
    return {row["path"]: number for number, row in enumerate(read_labels(pack / "labels.csv"))}


def _some_people(
    identity: Ints, training: np.ndarray[tuple[int], np.dtype[np.bool_]], pictures: int, seed: int
) -> Ints:
    """Rows of whole people, drawn until there are this many pictures."""
    people = np.random.default_rng(seed).permutation(np.unique(identity[training]))
    counts = np.bincount(identity[training], minlength=int(identity.max()) + 1)[people]
    taken = people[: int(np.searchsorted(np.cumsum(counts), pictures)) + 1]
    return np.flatnonzero(training & np.isin(identity, taken))

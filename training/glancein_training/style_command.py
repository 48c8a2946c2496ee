"""Does style transfer earn its time? The embedder's last layer tuned on, four ways, judged on worse looks.

Only the last layer learns: the body's features of every picture are then computed once, and the trial is
short enough for anybody to repeat.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein.domain.align import CROP_PX
from glancein.errors import InputError
from glancein_training import augment, packs
from glancein_training.checkpoints import basis_of, load_network, read_checkpoint
from glancein_training.configuration import at_least, record
from glancein_training.evaluate import identification
from glancein_training.evaluate.bootstrap import Estimate
from glancein_training.evaluate.faces import Faces, Floats
from glancein_training.evaluate.identification import draw_galleries, identify
from glancein_training.evaluate.robustness import Disturbance, Embed, couples, disturbed, measure
from glancein_training.figures import to_json
from glancein_training.lessons import make_target, refuse_without_teachers
from glancein_training.losses.distillation import cosine_distillation
from glancein_training.networks import Embedder, to_network_floats
from glancein_training.robustness import Choice, pictures_of, with_vectors
from glancein_training.style import Transfer, restyle

Progress = Callable[[int, int], None]
Look = Callable[[Tensor, torch.Generator], Tensor]
GALLERIES, FPIRS = 10, (0.01, 0.1)  # drawings of who is enrolled, and rates to set the threshold by
LEAST = {
    "images": 1,
    "passes": 1,
    "rate": 0,
    "people": 0,
    "seed": 0,
    "transfer.layers": 1,
    "transfer.steps": 0,
    "transfer.rate": 0,
}
MARGIN_PX = (packs.STORED_PX - CROP_PX) // 2


@dataclass(frozen=True, slots=True)
class Trial:
    """A short fine-tune; every arm sees the same pictures in the same order, half of them changed its way."""

    images: int = 256
    passes: int = 8
    batch: int = 32
    rate: float = 3e-4
    people: int = 50  # development people to judge on
    half: str = "odd"
    seed: int = 1
    transfer: Transfer = field(default_factory=Transfer)


@dataclass(frozen=True, slots=True)
class Place:
    """Where weights and pictures are, and where the figures go."""

    weights: Path
    pack: Path
    cache: Path
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One arm: true accepts at FAR 1e-3, one side clean, the other as named; FNIR of such looks by FPIR."""

    name: str
    clean: Estimate
    camera: Estimate
    badge: Estimate
    camera_misses: dict[str, Estimate]
    badge_misses: dict[str, Estimate]


def compare(
    place: Place, trial: Trial, *, resamples: int = 100, progress: Progress | None = None
) -> list[Row]:
    """As it is, tuned on with clean pictures, restyled ones, ones brought back, and ones disturbed directly.

    "Camera" and "badge" looks are drawn by ``augment``. Restyled: a clean picture in the look of somebody
    else's poor one; brought back: a poor one in the look of somebody else's clean one.
    Writes ``style.json`` into ``out``. Raises InputError if settings, weights or pack cannot be used.
    """
    at_least(trial, LEAST)
    crops = packs.load(place.pack, cache=place.cache)
    refuse_without_teachers([crops])
    rows = np.random.default_rng(trial.seed).permutation(np.flatnonzero(crops.is_train))[: trial.images]
    if not 1 <= trial.batch <= len(rows):
        raise InputError(
            f"a batch of {trial.batch} out of {len(rows)} pictures tunes nothing; set images or batch"
        )
    clean = torch.from_numpy(np.asarray(crops.pixels[rows])).permute(0, 3, 1, 2).contiguous()
    basis = basis_of(read_checkpoint(place.weights), place.weights)
    target, _ = make_target([t[rows] for t in crops.teachers], basis, basis.shape[1])
    network = load_network(place.weights)
    bench = _bench(network, place, trial, resamples)  # refuses who cannot be judged, before minutes of work
    looks = spoilt_looks(clean, trial.seed)
    arms = {
        "clean": clean,
        "restyled": _restyled(clean, looks, network, trial, progress),
        "brought back": _restyled(looks, clean, network, trial, progress),
        "disturbed": looks,
    }
    judged = [bench.judge("as it is", network.project)]
    plain = body_features(network, clean)
    for name, changed in arms.items():
        tuned = tune(network.project, plain, body_features(network, changed), target, trial)
        judged.append(bench.judge(f"tuned on: {name}", tuned))
    if place.out is not None:
        place.out.mkdir(parents=True, exist_ok=True)
        content = record(trial, rows=[asdict(row) for row in judged])
        (place.out / "style.json").write_text(to_json(content) + "\n", encoding="utf-8")
    return judged


def spoilt_looks(clean: Tensor, seed: int) -> Tensor:
    """uint8 (n, 3, 128, 128): by turns as a poor camera sees them and as a badge printed and scanned."""
    rng = torch.Generator().manual_seed(seed)
    looks = [(camera_look if k % 2 else badge_look)(one.float()[None], rng) for k, one in enumerate(clean)]
    return torch.cat(looks).round().clamp(0, 255).to(torch.uint8)


def camera_look(images: Tensor, rng: torch.Generator) -> Tensor:
    """Few pixels, poor light, noise."""
    strength = replace(augment.Strength(), exposure=0.8, grey=0.0)
    seen = augment.change_light(augment.lower_resolution(images.clone(), rng, 1.0), rng, strength)
    return augment.add_noise(seen, rng, 1.0)


def badge_look(images: Tensor, rng: torch.Generator) -> Tensor:
    """Printed and scanned."""
    return augment.print_and_scan(images.clone(), rng, 1.0)


@torch.no_grad()
def body_features(network: Embedder, stored: Tensor, *, batch: int = 64) -> Tensor:
    """(n, m) what the last layer sees of stored crops, uint8 (n, 3, 128, 128)."""
    middle = slice(MARGIN_PX, MARGIN_PX + CROP_PX)
    out = []
    for start in range(0, len(stored), batch):
        inputs = to_network_floats(stored[start : start + batch, :, middle, middle])
        features: Tensor = network.body(inputs.contiguous(memory_format=torch.channels_last))
        out.append(features.flatten(1))
    return torch.cat(out)


def tune(project: nn.Linear, plain: Tensor, changed: Tensor, target: Tensor, trial: Trial) -> nn.Linear:
    """A last layer distilled on from features (n, m), every second picture of a batch as it was changed."""
    tuned = copy.deepcopy(project)
    optimiser = torch.optim.AdamW(tuned.parameters(), lr=trial.rate, weight_decay=0.01)
    steps = trial.passes * (len(plain) // trial.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = torch.Generator().manual_seed(trial.seed)
    for _ in range(trial.passes):
        order = torch.randperm(len(plain), generator=rng)
        for start in range(0, len(order) - trial.batch + 1, trial.batch):
            rows = order[start : start + trial.batch]
            is_changed = (torch.arange(len(rows)) % 2 == 0)[:, None]
            vectors = tuned(torch.where(is_changed, changed[rows], plain[rows]))
            loss = cosine_distillation(vectors, target[rows], hard_power=0.5)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
    return tuned


def _restyled(
    contents: Tensor, looks: Tensor, network: Embedder, trial: Trial, progress: Progress | None
) -> Tensor:
    styles = looks.roll(len(looks) // 3, 0)  # the look of somebody else's picture
    out = []
    for start in range(0, len(contents), trial.batch):
        part = slice(start, start + trial.batch)
        out.append(restyle(contents[part], styles[part], network.body, trial.transfer))
        if progress is not None:
            progress(min(start + trial.batch, len(contents)), len(contents))
    return torch.cat(out)


@dataclass(frozen=True, slots=True)
class _Bench:
    """The pictures that every arm is judged on; their looks and the body's features of them are kept."""

    network: Embedder
    faces: Faces
    pixels: packs.Pixels
    kinds: tuple[Disturbance, ...]
    resamples: int
    seed: int
    kept: dict[bytes, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def judge(self, name: str, project: nn.Linear) -> Row:
        """True accepts and misses with this last layer, crop and mirror summed."""

        @torch.no_grad()
        def vectors_of(stored: packs.Pixels) -> Floats:
            crop, mirror = (F.normalize(project(features)) for features in self._features(stored))
            return np.asarray(F.normalize(crop + mirror).numpy(), np.float32)

        faces = with_vectors(self.faces, vectors_of(self.pixels))
        worse = disturbed(self.pixels, vectors_of)
        found = measure(faces, worse, kinds=self.kinds, resamples=self.resamples, seed=self.seed)
        camera, badge = (row.true_accepts[0] for row in found)
        return Row(
            name, found[0].clean, camera, badge, *(self._misses(faces, k, vectors_of) for k in self.kinds)
        )

    def _misses(self, faces: Faces, kind: Disturbance, vectors_of: Embed) -> dict[str, Estimate]:
        """FNIR of the looks of half of the people, each enrolled with one clean picture."""
        first = np.unique(faces.identity, return_index=True)[1]
        others = np.setdiff1d(np.arange(len(faces)), first)
        worse = np.stack([kind.apply(picture, kind.values[0]) for picture in self.pixels[others]])
        looked_for = faces.take(np.concatenate([first, others]))
        vectors = np.concatenate([faces.vector[first], vectors_of(worse)])
        looked_for = replace(looked_for, vector=vectors)
        galleries = draw_galleries(
            looked_for,
            len(first),
            GALLERIES,
            padding=0,
            seed=self.seed,
            enrol=np.arange(len(faces)) < len(first),
        )
        bench = identification.Bench(looked_for)
        return identify(bench, galleries, FPIRS, resamples=self.resamples, seed=self.seed).misses

    def _features(self, stored: packs.Pixels) -> tuple[Tensor, Tensor]:
        key = stored.tobytes()
        if key not in self.kept:
            pictures = torch.from_numpy(np.ascontiguousarray(stored)).permute(0, 3, 1, 2)
            mirrored = pictures.flip(3)
            self.kept[key] = body_features(self.network, pictures), body_features(self.network, mirrored)
        return self.kept[key]


def _bench(network: Embedder, place: Place, trial: Trial, resamples: int) -> _Bench:
    """Raises InputError if the half or the people chosen cannot be judged."""
    choice = Choice(place.pack, half=trial.half, people=trial.people)
    faces, rows = pictures_of(choice, seed=trial.seed)
    couples(faces, seed=trial.seed)  # raises if they make no pairs
    pixels = np.asarray(packs.load(place.pack, cache=place.cache).pixels[rows])
    kinds = tuple(Disturbance(name, "", (1.0,), _remembered(look)) for name, look in _LOOKS.items())
    return _Bench(network, faces, pixels, kinds, resamples, trial.seed)


def _remembered(look: Look) -> Callable[[packs.Pixels, float], packs.Pixels]:
    """A look for one stored crop, the same for the same picture, drawn once for all arms."""
    seen: dict[bytes, packs.Pixels] = {}

    def apply(picture: packs.Pixels, _value: float) -> packs.Pixels:
        key = picture.tobytes()
        if key not in seen:
            rng = torch.Generator().manual_seed(int(picture.sum()))
            worse = look(torch.from_numpy(picture.copy()).permute(2, 0, 1).float()[None], rng)[0]
            seen[key] = worse.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
        return seen[key]

    return apply


_LOOKS: dict[str, Look] = {"camera": camera_look, "badge": badge_look}

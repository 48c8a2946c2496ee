"""Does style transfer earn its time? Three short fine-tunes on the same pictures, judged on worse looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glancein_training import augment, packs
from glancein_training.checkpoints import load_network, read_checkpoint
from glancein_training.configuration import record
from glancein_training.distill import embed, make_target
from glancein_training.evaluate.bootstrap import Estimate
from glancein_training.evaluate.faces import Floats
from glancein_training.evaluate.robustness import Disturbance, measure
from glancein_training.losses.distillation import cosine_distillation
from glancein_training.networks import Embedder, to_network_floats
from glancein_training.robustness import Choice, pictures_of, with_vectors
from glancein_training.style import Transfer, restyle

Progress = Callable[[int, int], None]
CHANGED = 2  # every second picture of a batch is restyled, or disturbed; the others stay clean


@dataclass(frozen=True, slots=True)
class Trial:
    """A short fine-tune; every arm sees the same pictures in the same order."""

    images: int = 480
    passes: int = 3
    batch: int = 32
    rate: float = 3e-4
    people: int = 120  # development people to judge on
    half: str = "odd"
    seed: int = 1
    transfer: Transfer = field(default_factory=Transfer)


@dataclass(frozen=True, slots=True)
class Row:
    """One arm: true accepts at FAR 1e-3, one side clean, the other as named."""

    name: str
    clean: Estimate
    camera: Estimate
    badge: Estimate


@dataclass(frozen=True, slots=True)
class Place:
    """Where weights and pictures are, and where the figures go."""

    weights: Path
    pack: Path
    cache: Path
    out: Path | None = None


def compare(
    place: Place, trial: Trial, *, resamples: int = 100, progress: Progress | None = None
) -> list[Row]:
    """As it is, fine-tuned on clean pictures, on restyled ones, and on ones disturbed directly.

    "Camera" and "badge" looks are drawn by ``augment``; style transfer sees them as styles only.
    Writes ``style.json`` into ``out``. Raises InputError if weights or pack cannot be used.
    """
    crops = packs.load(place.pack, cache=place.cache)
    rows = np.random.default_rng(trial.seed).permutation(np.flatnonzero(crops.is_train))[: trial.images]
    clean = torch.from_numpy(np.asarray(crops.pixels[np.sort(rows)])).permute(0, 3, 1, 2).contiguous()
    stored = read_checkpoint(place.weights)
    basis = np.asarray(stored["basis"].float().numpy(), np.float32)
    target, _ = make_target([t[np.sort(rows)] for t in crops.teachers], basis, basis.shape[1])
    looks = spoilt_looks(clean, trial.seed)
    styles = looks.roll(trial.images // 3, 0)  # the look of somebody else's picture
    network = load_network(place.weights)
    arms: dict[str, Tensor] = {
        "clean": clean,
        "restyled": _restyled(clean, styles, network, trial, progress),
        "disturbed": looks,
    }
    judged = [_judge("as it is", network, place, trial, resamples=resamples)]
    for name, changed in arms.items():
        tuned = fine_tune(load_network(place.weights), clean, changed, target, trial)
        judged.append(_judge(f"fine-tuned: {name}", tuned, place, trial, resamples=resamples))
    if place.out is not None:
        place.out.mkdir(parents=True, exist_ok=True)
        content = record(trial, rows=[asdict(row) for row in judged])
        (place.out / "style.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
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


def fine_tune(network: Embedder, clean: Tensor, changed: Tensor, target: Tensor, trial: Trial) -> Embedder:
    """Distil on, every second picture of a batch as it was changed; running statistics stay."""
    matrices = list(network.parameters())
    optimiser = torch.optim.AdamW(matrices, lr=trial.rate, weight_decay=0.01)
    steps = trial.passes * (len(clean) // trial.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = torch.Generator().manual_seed(trial.seed)
    still = replace(augment.Strength(), rotate_deg=7, scale=0.07, shift_px=3)
    network.eval()
    for _ in range(trial.passes):
        order = torch.randperm(len(clean), generator=rng)
        for start in range(0, len(order) - trial.batch + 1, trial.batch):
            rows = order[start : start + trial.batch]
            images = torch.where(
                (torch.arange(len(rows)) % CHANGED == 0)[:, None, None, None], changed[rows], clean[rows]
            )
            moved = augment.jitter_pose(images.float(), rng, still, out_px=network.shape.input_px)
            vectors = network(to_network_floats(moved).contiguous(memory_format=torch.channels_last))
            loss = cosine_distillation(vectors, target[rows], hard_power=0.5)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
    return network


def _restyled(
    clean: Tensor, styles: Tensor, network: Embedder, trial: Trial, progress: Progress | None
) -> Tensor:
    out = []
    for start in range(0, len(clean), trial.batch):
        part = slice(start, start + trial.batch)
        out.append(restyle(clean[part], styles[part], network.body, trial.transfer))
        if progress is not None:
            progress(min(start + trial.batch, len(clean)), len(clean))
    return torch.cat(out)


def _judge(name: str, network: Embedder, place: Place, trial: Trial, *, resamples: int) -> Row:
    choice = Choice(place.pack, half=trial.half, people=trial.people)
    faces, rows = pictures_of(choice, seed=trial.seed)
    pixels = np.asarray(packs.load(place.pack, cache=place.cache).pixels[rows])

    def vectors_of(stored: packs.Pixels) -> Floats:
        return np.asarray(embed(network, stored).numpy(), np.float32)

    kinds = tuple(Disturbance(n, "", (1.0,), _picture_by_picture(f)) for n, f in _LOOKS.items())
    found = measure(
        with_vectors(faces, vectors_of(pixels)),
        pixels,
        vectors_of,
        kinds=kinds,
        resamples=resamples,
        seed=trial.seed,
    )
    camera, badge = (row.true_accepts[0] for row in found)
    return Row(name, found[0].clean, camera, badge)


def _picture_by_picture(
    look: Callable[[Tensor, torch.Generator], Tensor],
) -> Callable[[packs.Pixels, float], packs.Pixels]:
    """A look for one stored crop, the same for the same picture."""

    def apply(picture: packs.Pixels, _value: float) -> packs.Pixels:
        rng = torch.Generator().manual_seed(int(picture.sum()))
        seen = look(torch.from_numpy(picture.copy()).permute(2, 0, 1).float()[None], rng)[0]
        return np.asarray(seen.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy())

    return apply


_LOOKS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"camera": camera_look, "badge": badge_look}

"""Distil the teachers into one embedder: warm-up, a stable rate, then a decay; it can be stopped.

The stable part may go on for as many sessions as there are; ``stable_images`` end it, or ``--decay`` at the
latest checkpoint. The decay is ``decay_images`` long and ends in the weights that ship. Resuming continues
step for step.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from numpy.typing import NDArray
from torch import Tensor

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.augment import Strength
from glancein_training.averaging import follow
from glancein_training.checkpoints import (
    basis_of,
    known_as,
    load_head,
    read_checkpoint,
    write_checkpoint,
    write_kept,
)
from glancein_training.configuration import at_least, keep_record, with_settings
from glancein_training.descent import descend, take_up
from glancein_training.lessons import Batch, Batches, Lessons, prepare, training_identities
from glancein_training.losses.distillation import cosine_distillation, crowding, relational_distillation
from glancein_training.losses.margin import MarginSoftmax
from glancein_training.mining.collapse import stop_unless_finite
from glancein_training.muon import Muon
from glancein_training.networks import (
    LEAST_PX,
    Embedder,
    network_pictures,
    shape_named,
    to_network_floats,
    with_other_depth,
)
from glancein_training.outputs import check_folder
from glancein_training.processes import ALONE, Place, first_says, join, leave, share_gradients
from glancein_training.schedule import share_of_rate
from glancein_training.terminal import bar, say_finished, say_start_unused

CURVE_COLUMNS = [
    *(
        "images",
        "cosine",
        "relation",
        "identity",
        "crowding",
    ),  # progress, and mean losses since the line before
    *("tar_1e-2", "tar_1e-3", "tar_1e-4"),  # per cent, on the choosing half
    *("images_per_s", "rate"),
]
ENDLESS = 100_000_000  # images
# A picture alone has no relation to another.
LEAST = {"batch": 2, "threads": 1, "workers": 0, "seed": 0, "train_px": LEAST_PX}
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on; saved beside its weights."""

    network: str = "glance-158"
    data: str = "../shared/data"
    packs: tuple[str, ...] = ("faces", "unlabelled")
    batch: int = 64
    train_px: int = 112  # smaller is cheaper: 80 for the first part of a long run
    threads: int = 2
    bfloat16: bool = False  # three times as fast on processors that have it (AVX-512 BF16, AMX)
    workers: int = 1  # processes that prepare pictures beside the training; 0: it does so itself
    optimiser: str = "muon"  # or "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up_images: int = 20_000
    stable_images: int = ENDLESS  # then the decay begins by itself, as ``--decay`` begins it by hand
    decay_images: int = 0
    hard_power: float = 0.5
    relation_weight: float = 2.0
    crowding_weight: float = 0.0  # against vectors that lie near to many people
    crowding_others: int = 8192
    to_people: float = 0.0  # share of the way that targets move to what their person's other pictures say
    identity_weight: float = 0.0
    identity_scale: float = 32.0
    identity_margin: float = 0.2
    average_decay: float = 0.999
    both_sides: bool = False  # the loss is of crop and mirror image summed, as the kiosk looks: half the pace
    held_layers: int = 0  # the first so many of the body learn no more: a sixth faster with the stem alone
    note_every_images: int = 25_600  # a line of the curve, and a checkpoint
    seed: int = 1
    augment: Strength = field(default_factory=Strength)


@dataclass(slots=True)
class State:
    """What a checkpoint holds beside the configuration."""

    student: Embedder
    head: MarginSoftmax
    average: Embedder
    optimisers: tuple[torch.optim.Optimizer, ...]
    images: int = 0
    decay_from: int | None = None
    start_from: dict[str, str] | None = None  # name and hash of the kept weights it began with


def rate_at(images: int, config: Config, decay_from: int | None) -> float:
    """Share of the full rate after ``images`` pictures: warm-up, stable, then down to a hundredth."""
    return share_of_rate(
        images,
        batch=config.batch,
        warm_up=config.warm_up_images,
        decay=config.decay_images,
        decay_from=decay_from,
    )


def build(config: Config, identities: int, place: Place = ALONE) -> State:
    """Fresh networks and optimiser for one configuration."""
    shape = shape_named(config.network)
    torch.manual_seed(config.seed)
    student = Embedder(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layer in list(student.body.children())[: config.held_layers]:
        layer.requires_grad_(requires_grad=False)
    average = Embedder(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.load_state_dict(student.state_dict())
    head = MarginSoftmax(
        student.shape.embedding, identities, scale=config.identity_scale, margin=config.identity_margin
    )
    return State(
        student,
        head,
        average,
        optimisers(student, head, config, place),
    )


def optimisers(
    student: Embedder, head: MarginSoftmax, config: Config, place: Place = ALONE
) -> tuple[torch.optim.Optimizer, ...]:
    """AdamW, or Muon for the student's matrices with AdamW for the rest. Raises InputError for another."""
    if config.optimiser not in {"adamw", "muon"}:
        raise InputError(f"there is no optimiser {config.optimiser!r}; there are adamw and muon")
    matrices = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    rest = {"params": [*others, *head.parameters()], "weight_decay": 0.0}
    if config.optimiser == "adamw":
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, rest]
        return (torch.optim.AdamW(groups, lr=config.rate, fused=True),)
    return (
        Muon(
            matrices,
            lr=config.rate,
            weight_decay=config.weight_decay,
            precision=torch.bfloat16 if config.bfloat16 else torch.float32,
            place=place,
        ),
        torch.optim.AdamW([rest], lr=config.rate, fused=True),
    )


@torch.no_grad()
def embed(network: Embedder, pixels: packs.Pixels, *, batch: int = 256) -> Tensor:
    """Unit vectors (n, d) of stored crops, crop and mirror summed."""
    network.eval()
    out = []
    for start in range(0, len(pixels), batch):
        stored = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch]))
        inputs = network_pictures(network, stored.permute(0, 3, 1, 2))
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        out.append(F.normalize(F.normalize(network(inputs)) + F.normalize(network(inputs.flip(3)))))
    return torch.cat(out)


def tar_at(vectors: Tensor, identity: Tensor, rates: Sequence[float]) -> list[float]:
    """True accept rate at each false accept rate over all pairs; not a number without impostor pairs."""
    upper = torch.triu(torch.ones(len(vectors), len(vectors), dtype=torch.bool), 1)
    scores = (vectors @ vectors.T)[upper]
    same = (identity[:, None] == identity[None])[upper]
    impostor = scores[~same].sort(descending=True).values
    if len(impostor) == 0:
        return [math.nan for _ in rates]
    return [float((scores[same] > impostor[int(rate * len(impostor))]).float().mean()) for rate in rates]


def main(argv: Sequence[str] | None = None) -> int:
    """Run or resume a distillation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the run: checkpoint.pt, config.json, curve.csv")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="one setting of Config"
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/glancein", help="decoded crops")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long, with a checkpoint")
    parser.add_argument("--decay", action="store_true", help="start the decay from the latest checkpoint")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="begin a fresh run with kept weights")
    parser.add_argument("--no-compile", action="store_true", help="do without a C++ compiler, more slowly")
    args = parser.parse_args(argv)
    config = with_settings(Config(), args.set)
    compiled = not args.no_compile
    run(
        config,
        args.out,
        args.cache,
        minutes=args.minutes,
        decay=args.decay,
        compiled=compiled,
        start_from=args.start_from,
    )
    return 0


def run(
    config: Config,
    out: Path,
    cache: Path,
    *,
    minutes: float = math.inf,
    decay: bool = False,
    compiled: bool = True,
    stop_at_images: int | None = None,
    start_from: Path | None = None,
) -> None:
    """Train until the decay is over, the time is up or ``stop_at_images`` were seen, and leave a checkpoint.

    A checkpoint in ``out`` is continued step for step, or stays as it is if its decay is over; without one,
    ``start_from`` gives the first weights (training/weights/embedder.pt). ``compiled`` False does without a
    C++ compiler and is slower in float32. Under ``torchrun`` each process takes ``batch`` pictures a step.
    Raises InputError if the data or the checkpoint does not fit the configuration, TrainingCollapsed if the
    loss is no number any more.
    """
    at_least(config, LEAST)
    check_folder(out, "RUN")
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)  # the workers': one picture at a time
    place = join()
    crops = load_data(config, cache)
    state = build(config, len(training_identities(crops[0])), place)
    checkpoint = out / "checkpoint.pt"
    out.mkdir(parents=True, exist_ok=True)
    basis = first_weights(state, checkpoint, start_from, network=config.network, says=place.rank == 0)
    if is_over(state, config):
        if place.rank == 0:
            say_finished(out, f"{state.images} images")
        leave()
        return
    fresh_head = not checkpoint.exists()
    lessons, basis = prepare(crops, basis, state.student.shape.embedding, to_people=config.to_people)
    if config.identity_weight and fresh_head:
        place_centres(state.head, lessons)
    if decay and state.decay_from is None:
        state.decay_from = state.images
    if place.rank == 0:
        keep_record(
            out,
            config,
            start=start_from if fresh_head else None,
            data_sha256=[c.data_sha256 for c in crops],
            processes=place.size,
            images=state.images,
            decay=decay,
        )
    forward: Forward = torch.compile(state.student) if compiled else state.student
    started = noted = time.monotonic()
    seen, sums = 0, np.zeros(4)
    others = config.crowding_others if config.crowding_weight else 0
    batches = Batches(
        lessons, config.seed, config.batch, config.augment, config.train_px, others, place
    ).after(state.images, workers=config.workers)
    at_once = config.batch * place.size
    with bar(shown=place.rank == 0) as progress:
        task = progress.add_task("", total=end_of(state, config), completed=state.images, told="")
        while first_says(word=time.monotonic() - started < 60 * minutes) and not reached(
            state, stop_at_images
        ):
            losses = step(state, forward, config, next(batches))
            sums += losses
            seen += at_once
            speed = seen / (time.monotonic() - noted)
            told = f"images, cosine loss {losses[0]:.3f}, {speed:.0f} images/s"
            progress.update(task, completed=state.images, told=told)
            over = is_over(state, config)
            if place.rank == 0 and (seen >= config.note_every_images or over):
                save(state, checkpoint, config, basis)  # before its line: a run cut between has no line twice
                note(out, crops[0], state, losses=sums * at_once / seen, speed=speed)
                seen, sums, noted = 0, np.zeros(4), time.monotonic()
            if over:
                break
    if place.rank == 0:
        save(state, checkpoint, config, basis)
    leave()


def load_data(config: Config, cache: Path) -> list[packs.Crops]:
    """The packs to learn from. Raises InputError if none is named."""
    if not config.packs:
        raise InputError("""packs is empty: name folders of data, such as --set 'packs=["faces"]'""")
    return [packs.load(Path(config.data) / name, cache=cache) for name in config.packs]


def end_of(state: State, config: Config) -> int | None:
    """After how many pictures the decay is over; None while nobody knows when it begins."""
    begins = config.stable_images if state.decay_from is None else state.decay_from
    return None if begins >= ENDLESS else begins + config.decay_images


def is_over(state: State, config: Config) -> bool:
    """True when the decay has reached its end."""
    end = end_of(state, config)
    return end is not None and state.images >= end


def reached(state: State, stop_at_images: int | None) -> bool:
    """True when so many pictures were seen."""
    return stop_at_images is not None and state.images >= stop_at_images


@torch.no_grad()
def place_centres(head: MarginSoftmax, lessons: Lessons) -> None:
    """Begin with each person's centre where their targets point on the mean, instead of anywhere.

    The student's vectors lie in the targets' space, so that the labels teach from the first step.
    """
    for target, label, crops in zip(lessons.targets, lessons.labels, lessons.crops, strict=True):
        known = torch.from_numpy((label >= 0) & crops.is_train)
        people = torch.from_numpy(label)[known]
        sums = torch.zeros_like(head.centres).index_add_(0, people, target[known])
        head.centres.copy_(torch.where(sums.any(1, keepdim=True), F.normalize(sums), head.centres))


def student_vectors(forward: Forward, config: Config, pictures: Tensor) -> Tensor:
    """The student's vectors (n, d), any length, of network floats (n, 3, px, px), one or both sides."""
    looks = torch.cat([pictures, pictures.flip(3)]) if config.both_sides else pictures
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        vectors = forward(looks.contiguous(memory_format=torch.channels_last))
    vectors = vectors.float()
    if not config.both_sides:
        return vectors
    crops, mirrors = F.normalize(vectors).chunk(2)
    return crops + mirrors


def step(state: State, forward: Forward, config: Config, batch: Batch) -> NDArray[np.float64]:
    """One update of student, head and running average; returns its four losses.

    Raises TrainingCollapsed if their sum is no number.
    """
    if state.decay_from is None and state.images >= config.stable_images:
        state.decay_from = state.images
    share = rate_at(state.images, config, state.decay_from)
    state.student.train()
    for layer in list(state.student.body.children())[: config.held_layers]:
        layer.eval()
    vectors = student_vectors(forward, config, to_network_floats(batch.pictures))
    cosine = cosine_distillation(vectors, batch.target, hard_power=config.hard_power)
    relation = relational_distillation(vectors, batch.target)
    identity = state.head(vectors, batch.label) if config.identity_weight else torch.zeros(())
    loss = cosine + config.relation_weight * relation + config.identity_weight * identity
    crowd = torch.zeros(())
    if config.crowding_weight:
        crowd = crowding(vectors, batch.target, batch.others)
        loss = loss + config.crowding_weight * crowd
    stop_unless_finite(loss)
    every = [p for optimiser in state.optimisers for group in optimiser.param_groups for p in group["params"]]
    descend(state.optimisers, loss, rate=config.rate * share, before_step=lambda: share_gradients(every))
    follow(state.average, state.student, config.average_decay)
    state.images = batch.images
    return np.array([cosine.item(), relation.item(), identity.item(), crowd.item()])


def note(out: Path, crops: packs.Crops, state: State, *, losses: NDArray[np.float64], speed: float) -> None:
    """One line of the curve: losses, speed, and TAR on the choosing half of the development identities."""
    rows = np.flatnonzero(crops.is_choosing())
    identity = torch.from_numpy(crops.identity[rows])
    tars = tar_at(embed(state.average, crops.pixels[rows]), identity, (1e-2, 1e-3, 1e-4))
    line = [
        state.images,
        *(round(float(x), 4) for x in losses),
        *(round(100 * t, 2) for t in tars),
        round(speed, 1),
    ]
    first = state.optimisers[0]
    line.append(round(first.param_groups[0]["lr"] / first.defaults["lr"], 3))
    path = out / "curve.csv"
    fresh = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(CURVE_COLUMNS)
        writer.writerow(line)
    print(", ".join(f"{name} {value}" for name, value in zip(CURVE_COLUMNS, line, strict=True)), flush=True)


def save(state: State, path: Path, config: Config, basis: packs.Floats) -> None:
    """Write the checkpoint whole or not at all."""
    write_checkpoint(
        {
            "network": config.network,
            "student": state.student.state_dict(),
            "head": state.head.state_dict(),
            "average": state.average.state_dict(),
            "optimisers": [o.state_dict() for o in state.optimisers],
            "images": state.images,
            "decay_from": state.decay_from,
            "start_from": state.start_from,
            "basis": torch.from_numpy(basis),
            "config": asdict(config),
        },
        path,
    )


def keep(checkpoint: Path, out: Path) -> None:
    """Write what is worth going on from: the averaged weights as float16 and the target's axes."""
    stored = read_checkpoint(checkpoint)
    write_kept(stored, stored["average"], out)


def first_weights(
    state: State, checkpoint: Path, start_from: Path | None, *, network: str, says: bool = True
) -> packs.Floats | None:
    """Take up a run's checkpoint, or else kept weights, if there are such; returns the target's axes."""
    if checkpoint.exists():
        if says and start_from is not None:
            say_start_unused(checkpoint.parent, start_from)
        return restore(state, checkpoint, network=network)
    return None if start_from is None else adopt(state, start_from, network=network)


def adopt(state: State, weights: Path, *, network: str) -> packs.Floats:
    """Begin with kept weights; the optimiser and the count of images start anew. Returns the target's axes.

    They may be of a member of the family with fewer or more blocks. Raises InputError for another's.
    """
    stored = read_checkpoint(weights)
    basis = basis_of(stored, weights)
    first = stored["average"]
    if stored["network"] != network:
        first = with_other_depth(first, shape_named(stored["network"]), state.student)
    for part in (state.student, state.average):
        part.load_state_dict(first)
    state.start_from = known_as(weights)
    return basis


def restore(state: State, path: Path, *, network: str) -> packs.Floats:
    """Continue from a checkpoint; returns the target's axes. Raises InputError if it is of another."""
    stored = read_checkpoint(path)
    basis = basis_of(stored, path)
    if stored["network"] != network:
        raise InputError(
            f"{path} is of {stored['network']}, not {network}; set network, or take a fresh folder"
        )
    state.student.load_state_dict(stored["student"])
    load_head(state.head, stored["head"], path)
    state.average.load_state_dict(stored["average"])
    take_up(state.optimisers, stored["optimisers"], path)
    state.images = stored["images"]
    state.decay_from = stored["decay_from"]
    state.start_from = stored.get("start_from")
    return basis


if __name__ == "__main__":
    raise SystemExit(main())

"""Train an embedder from identities alone: any loss, any mining, batches of P people times K pictures.

A run can be stopped and resumed step for step, and spread over processes with ``torchrun``.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.augment import Strength, augment
from glancein_training.averaging import follow
from glancein_training.checkpoints import (
    load_head,
    load_network,
    read_checkpoint,
    refuse_other_data,
    refuse_others,
    write_checkpoint,
)
from glancein_training.configuration import at_least, keep_record
from glancein_training.descent import descend
from glancein_training.distill import embed, tar_at
from glancein_training.mining.collapse import CollapseWatch, stop_unless_finite
from glancein_training.mining.offline import offline_triplets
from glancein_training.networks import LEAST_PX, Embedder, shape_named, to_network_floats
from glancein_training.objectives import LOSSES, TAKEN_BY, Moment, Objective, objective
from glancein_training.outputs import check_folder
from glancein_training.people import load_people, write_labels
from glancein_training.processes import Place, all_say, first_says, join, leave, share_gradients
from glancein_training.sampling import PeopleSampler, people_sampler
from glancein_training.terminal import bar, say

FIRST = "glance-33"  # the network of a run that names neither one nor a start
LEAST = {
    "people": 2,
    "each": 2,
    "note_every_steps": 1,
    "mine_every_steps": 0,
    "train_px": LEAST_PX,
    "threads": 1,
    "seed": 0,
}
SAME = ("network", "loss", "mining", "margin", "people", "each", "seed")  # settings that a run keeps
CURVE_COLUMNS = ["step", "loss", "active", "tar_1e-2", "tar_1e-3", "tar_1e-4", "images_per_s"]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on; saved beside its weights."""

    network: str = ""  # empty: that of ``start``, or FIRST
    data: str = "../shared/data/faces"  # a pack, or a folder per person with ``landmarks``
    landmarks: str = ""
    start: str = ""  # a checkpoint to begin with
    loss: str = "triplet"
    mining: str = "semi-hard"
    margin: float = 0.0  # 0 takes the loss's own
    scale: float = 32.0
    people: int = 24
    each: int = 5
    steps: int = 10_000
    rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up_steps: int = 200
    average_decay: float = 0.999
    note_every_steps: int = 200
    mine_every_steps: int = 0  # offline mining from the latest weights this often; it needs a number
    train_px: int = 112
    bfloat16: bool = False
    threads: int = 2
    seed: int = 1
    augment: Strength = field(default_factory=Strength)


@dataclass(frozen=True, slots=True)
class Picked:
    """The pictures of one step, and which of them are triplets where they were mined offline."""

    rows: NDArray[np.int64]  # (n,) rows of the data
    triplets: Tensor | None = None  # (t, 3) places among ``rows``


@dataclass(slots=True)
class State:
    """What a checkpoint holds beside the configuration."""

    student: Embedder
    average: Embedder
    aim: Objective
    optimiser: torch.optim.Optimizer
    rng: torch.Generator
    watch: CollapseWatch
    data_sha256: str = ""
    step: int = 0
    mined: NDArray[np.int64] | None = None  # (t, 3) rows of the data


def run(
    config: Config, out: Path, cache: Path, *, minutes: float = math.inf, stop_at_step: int | None = None
) -> None:
    """Train to the last step, until the time is up or to ``stop_at_step``, and leave a checkpoint.

    A run on own photos leaves ``labels.csv`` too: who was kept out. If those are too few to judge by, it says
    so first. Raises InputError if the data or the checkpoint does not fit, TrainingCollapsed if nothing can
    be learned.
    """
    at_least(config, LEAST)
    check_folder(out, "RUN")
    refuse_unused(config, goes_on=(out / "checkpoint.pt").exists())
    torch.set_num_threads(config.threads)
    place = join()
    config = with_network(config)
    crops = load_data(config, cache)
    labels, people = training_labels(crops)
    unjudged = told_of_kept_out(crops)
    if unjudged and place.rank == 0:
        say(unjudged)
    sampler = people_sampler(labels, people=config.people, each=config.each, seed=config.seed)
    state = build(config, people, place)
    state.data_sha256 = crops.data_sha256
    checkpoint = out / ("checkpoint.pt" if place.rank == 0 else f"checkpoint-{place.rank}.pt")
    out.mkdir(parents=True, exist_ok=True)
    is_fresh = not checkpoint.exists()
    if not is_fresh:
        restore(state, checkpoint, config, place)
    refuse_other_steps(all_say(state.step), out)
    if place.rank == 0:
        keep_record(
            out,
            config,
            start=Path(config.start) if config.start and is_fresh else None,
            data_sha256=crops.data_sha256,
            processes=place.size,
            step=state.step,
        )
        if config.landmarks:
            write_labels(Path(config.landmarks), out / "labels.csv")
    forward = spread(state, place)
    last = config.steps if stop_at_step is None else min(stop_at_step, config.steps)
    started = time.monotonic()
    with bar(shown=place.rank == 0) as progress:
        task = progress.add_task("", total=config.steps, completed=state.step, told="")
        note = Note(out / "curve.csv", crops, config, place)
        while first_says(word=time.monotonic() - started < 60 * minutes) and state.step < last:
            if config.mine_every_steps and state.step % config.mine_every_steps == 0:
                state.mined = mine(state, crops, labels, config)
            picked = pick(state, sampler, config, place)
            loss, active = update(state, forward, config, crops=crops, labels=labels, picked=picked)
            if state.step % config.note_every_steps == 0:
                save(state, checkpoint, config, place)  # before its line: a run cut between has no line twice
            progress.update(task, completed=state.step, told=note.add(state, loss, active))
    save(state, checkpoint, config, place)
    leave()


def refuse_unused(config: Config, *, goes_on: bool) -> None:
    """Raise InputError naming a setting that this loss or mining would pass over.

    A run that ``goes_on`` keeps what it began with.
    """
    if config.mine_every_steps and config.mining != "offline":
        raise InputError(
            f"mine_every_steps={config.mine_every_steps} is for mining=offline, not {config.mining}: "
            f"set mining=offline, or leave it out"
        )
    if goes_on or config.loss not in LOSSES:
        return
    for name, losses in TAKEN_BY.items():
        value = getattr(config, name)
        if config.loss not in losses and value != getattr(Config(), name):
            raise InputError(
                f"loss={config.loss} takes no {name}: leave {name}={value} out, "
                f"or set loss to {', '.join(losses)}"
            )


def refuse_other_steps(steps: list[int], out: Path) -> None:
    """Raise InputError if the processes would go on from several steps, cut while they kept theirs."""
    if len(set(steps)) > 1:
        raise InputError(
            f"the checkpoints of {out} are of steps {', '.join(map(str, steps))}: "
            f"take a fresh folder with start={out / 'checkpoint.pt'}"
        )


def with_network(config: Config) -> Config:
    """The configuration with its network named: that of the checkpoint to start from, if it names none."""
    if config.network:
        return config
    named = str(read_checkpoint(Path(config.start))["network"]) if config.start else FIRST
    return replace(config, network=named)


def load_data(config: Config, cache: Path) -> packs.Crops:
    """A pack of crops, or a folder for each person. Raises InputError if it is neither."""
    folder = Path(config.data)
    if config.landmarks:
        return load_people(folder, Path(config.landmarks))
    if not (folder / "labels.csv").exists():
        raise InputError(
            f"{folder} has no labels.csv; for a folder per person set landmarks=FILE.npz of `glancein embed`"
        )
    return packs.load(folder, cache=cache)


def training_labels(crops: packs.Crops) -> tuple[NDArray[np.int64], int]:
    """(n,) a number for each training person, NO_IDENTITY for the rest; and how many people."""
    names = np.unique(crops.identity[crops.is_train & (crops.identity >= 0)])
    numbers = np.searchsorted(names, crops.identity).clip(0, max(len(names) - 1, 0))
    labels = np.where(crops.is_train & (crops.identity >= 0), numbers, packs.NO_IDENTITY)
    return labels.astype(np.int64), len(names)


def told_of_kept_out(crops: packs.Crops) -> str:
    """What cannot be judged as too few people are kept out, and what to do, in one line; else nothing."""
    kept_out = crops.identity[~crops.is_train & (crops.identity >= 0)]
    lacking = [
        what
        for what, identity in (
            ("the curve will show no true accepts", crops.identity[crops.is_choosing()]),
            ("`compare` with the split `val` will find too few people", kept_out),
        )
        if not 1 < len(np.unique(identity)) < len(identity)
    ]
    if not lacking:
        return ""
    people = len(np.unique(crops.identity[crops.identity >= 0]))
    told = f"{len(np.unique(kept_out))} of {people} people are kept out"
    needed = "two are needed, one of them with two pictures; the curve shows every second one"
    if not crops.names:
        return f"{told}, so {' and '.join(lacking)}: set the split of more people to val ({needed})"
    return (
        f"{told}, one in ten by the folder's name, so {' and '.join(lacking)}: "
        f"add folders of more people and begin anew, or compare on photos of others ({needed})"
    )


def build(config: Config, people: int, place: Place) -> State:
    """Fresh networks and optimiser, or those of the checkpoint to start from.

    Raises InputError for what cannot be trained.
    """
    if config.mining == "offline" and config.mine_every_steps < 1:
        raise InputError("offline mining needs to know how often: set mine_every_steps, such as 500")
    shape = shape_named(config.network)
    torch.manual_seed(config.seed)
    student = load_network(Path(config.start)) if config.start else Embedder(shape)
    if student.shape != shape:
        raise InputError(
            f"{config.start} is of {student.shape.name}, not {config.network}; leave network empty"
        )
    average = Embedder(shape)
    average.load_state_dict(student.state_dict())
    aim = objective(
        config.loss,
        mining=config.mining,
        margin=config.margin,
        scale=config.scale,
        width=shape.embedding,
        people=people,
    )
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [*others, *aim.head.parameters()], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.rate)
    # Each process disturbs its pictures in its own way.
    rng = torch.Generator().manual_seed(config.seed + 1000 * place.rank)
    return State(student, average, aim, optimiser, rng, CollapseWatch())


def pick(state: State, sampler: PeopleSampler, config: Config, place: Place) -> Picked:
    """This process's batch: people times each, or about as many pictures of triplets mined offline."""
    number = state.step * place.size + place.rank
    if config.mining != "offline" or state.mined is None or len(state.mined) == 0:
        return Picked(sampler.batch(number))
    rng = np.random.default_rng([config.seed, number])
    wanted = max(1, config.people * config.each // 3)
    drawn = state.mined[rng.permutation(len(state.mined))[:wanted]]
    return Picked(drawn.ravel(), torch.arange(drawn.size).view(-1, 3))


def update(
    state: State,
    forward: Callable[[Tensor], Tensor],
    config: Config,
    *,
    crops: packs.Crops,
    labels: NDArray[np.int64],
    picked: Picked,
) -> tuple[float, float]:
    """One step; the loss and the share that still pulls.

    Raises TrainingCollapsed if all vectors coincide or the loss is no number.
    """
    stored = torch.from_numpy(np.stack([crops.pixels[row] for row in picked.rows])).permute(0, 3, 1, 2)
    inputs = to_network_floats(augment(stored, state.rng, config.augment, out_px=config.train_px))
    state.student.train()
    state.aim.head.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bfloat16):
        vectors = forward(inputs)
    vectors = vectors.float()
    state.watch.look(vectors)
    moment = Moment(state.step / max(1, config.steps), state.rng, picked.triplets)
    loss, active = state.aim(vectors, torch.from_numpy(labels[picked.rows]), moment)
    stop_unless_finite(loss)
    descend(
        (state.optimiser,),
        loss,
        rate=config.rate * rate_at(state.step, config),
        before_step=lambda: share_gradients(state.aim.head.parameters()),
    )
    follow(state.average, state.student, config.average_decay)
    state.step += 1
    return loss.item(), active.item()


def rate_at(step: int, config: Config) -> float:
    """Share of the full rate: up over the warm-up, then down along half a cosine."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up_steps))
    return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, step / max(1, config.steps)))) / 2)


def mine(state: State, crops: packs.Crops, labels: NDArray[np.int64], config: Config) -> NDArray[np.int64]:
    """Offline triplets out of at most 6,000 training pictures, embedded with the latest weights."""
    rng = np.random.default_rng([config.seed, state.step])
    people = rng.permutation(np.unique(labels[labels >= 0]))
    rows = np.flatnonzero(np.isin(labels, people[: 6000 // config.each]))[:6000]
    vectors = embed(state.student, crops.pixels[rows]).numpy()
    found = offline_triplets(vectors, labels[rows], hardest=10, per_anchor=2, rng=rng)
    return rows[found] if len(found) else found


def spread(state: State, place: Place) -> Callable[[Tensor], Tensor]:
    """The network as it is, or wrapped so that gradients are averaged over the processes."""
    return DistributedDataParallel(state.student) if place.size > 1 else state.student


@dataclass(slots=True)
class Note:
    """Collects losses and writes a line of the curve every so often."""

    path: Path
    crops: packs.Crops
    config: Config
    place: Place
    losses: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def add(self, state: State, loss: float, active: float) -> str:
        """Take one step in; what the progress bar says."""
        self.losses.append(loss)
        self.shares.append(active)
        images = len(self.losses) * self.config.people * self.config.each * self.place.size
        speed = images / max(time.monotonic() - self.since, 1e-9)
        if state.step % self.config.note_every_steps == 0 and self.place.rank == 0:
            self.write(state, speed)
            self.losses, self.shares, self.since = [], [], time.monotonic()
        return f"loss {loss:.3f}, {100 * active:.0f} % active, {speed:.0f} images/s"

    def write(self, state: State, speed: float) -> None:
        """Means since the line before, and true accepts on the choosing half of the development people."""
        rows = np.flatnonzero(self.crops.is_choosing())
        tars = [math.nan] * 3
        if len(rows) > 1:
            identity = torch.from_numpy(self.crops.identity[rows])
            tars = tar_at(embed(state.average, self.crops.pixels[rows]), identity, (1e-2, 1e-3, 1e-4))
        means = [round(float(np.mean(values)), 4) for values in (self.losses, self.shares)]
        fresh = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(CURVE_COLUMNS)
            writer.writerow([state.step, *means, *(round(100 * t, 2) for t in tars), round(speed, 1)])


def save(state: State, path: Path, config: Config, place: Place) -> None:
    """Write the checkpoint whole or not at all."""
    content = {
        "network": config.network,
        "student": state.student.state_dict(),
        "average": state.average.state_dict(),
        "head": state.aim.head.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "rng": state.rng.get_state(),
        "step": state.step,
        "images": state.step * config.people * config.each * place.size,
        "mined": None if state.mined is None else torch.from_numpy(state.mined),
        "bad_steps": state.watch.steps,
        "processes": place.size,
        "data_sha256": state.data_sha256,
        "config": asdict(config),
    }
    write_checkpoint(content, path)


def restore(state: State, path: Path, config: Config, place: Place) -> None:
    """Continue from a checkpoint.

    Raises InputError for other settings of SAME, other data or another number of processes.
    """
    stored = read_checkpoint(path)
    refuse_others(stored, config, path, same=SAME)
    refuse_other_data(stored, state.data_sha256, path, data=config.data)
    processes = stored.get("processes", place.size)  # earlier checkpoints do not say
    if processes != place.size:
        raise InputError(
            f"{path} was trained by {processes} processes, not {place.size}; "
            f"start as many (torchrun --nproc-per-node), or take a fresh folder"
        )
    state.student.load_state_dict(stored["student"])
    state.average.load_state_dict(stored["average"])
    load_head(state.aim.head, stored["head"], path)
    state.optimiser.load_state_dict(stored["optimiser"])
    state.rng.set_state(stored["rng"])
    state.step = stored["step"]
    state.mined = None if stored["mined"] is None else stored["mined"].numpy()
    state.watch.steps = stored["bad_steps"]

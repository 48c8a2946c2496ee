"""Train the finder: warm-up, a stable rate, then a decay; stop and resume at will.

Scene number k is drawn from a generator seeded with (seed, k): a resumed run sees what an uninterrupted one
does.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from glancein.errors import InputError
from glancein_training.averaging import follow
from glancein_training.checkpoints import read_checkpoint, refuse_other_data, refuse_others, write_checkpoint
from glancein_training.configuration import at_least, keep_record, refuse_below, with_settings
from glancein_training.descent import descend, take_up
from glancein_training.figures import to_json
from glancein_training.finder import data, measures, predict
from glancein_training.finder.disturb import Strength, disturb
from glancein_training.finder.exits import exit_code_of
from glancein_training.finder.network import STRIDES, Finder, shape_named
from glancein_training.finder.scenes import Choice, compose
from glancein_training.finder.targets import Target, Weights, loss, make_target
from glancein_training.muon import Muon
from glancein_training.networks import to_network_floats
from glancein_training.schedule import share_of_rate
from glancein_training.terminal import say_finished, say_start_unused

Losses = NDArray[np.float64]  # (3,) of score, box, landmarks
LEAST = {
    "width_px": 32,
    "height_px": 32,
    "batch": 1,
    "rate": 0,
    "weight_decay": 0,
    "warm_up_scenes": 0,
    "decay_scenes": 0,
    "average_decay": 0,
    "seed": 0,
}
SAME = ("seed",)  # settings that a run keeps, beside its network


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on; saved beside its weights."""

    network: str = "finder-33"
    data: str = "../shared/data/finder"
    width_px: int = 256
    height_px: int = 192
    batch: int = 32
    rate: float = 3e-3
    weight_decay: float = 1e-4
    warm_up_scenes: int = 3_000
    decay_scenes: int = 40_000
    average_decay: float = 0.998
    seed: int = 1
    choice: Choice = field(default_factory=Choice)
    strength: Strength = field(default_factory=Strength)
    weights: Weights = field(default_factory=Weights)


@dataclass(slots=True)
class State:
    """What a checkpoint holds beside the configuration."""

    network: Finder
    average: Finder
    optimisers: tuple[torch.optim.Optimizer, ...]
    scenes: int = 0
    decay_from: int | None = None
    data_sha256: str = ""


class Scenes(Dataset[tuple[Tensor, tuple[Target, ...]]]):
    """Batch k of the endless stream of scenes."""

    def __init__(self, pictures: Sequence[data.Picture], config: Config) -> None:
        """Raises InputError if no picture shows a face."""
        if not any(len(picture.labels) for picture in pictures):
            raise InputError(f"no training picture of {config.data} shows a face")
        self.pictures = pictures
        self.config = config

    def __getitem__(self, first: int) -> tuple[Tensor, tuple[Target, ...]]:
        """The batch that begins with scene number ``first``."""
        config = self.config
        scenes, disturbed = [], []
        for number in range(first, first + config.batch):
            rng = np.random.default_rng([config.seed, number])
            cv2_seed(number)
            scene = compose(self.pictures, rng, config.choice, width=config.width_px, height=config.height_px)
            scenes.append(scene)
            disturbed.append(disturb(scene.pixels, rng, config.strength))
        pixels = torch.from_numpy(np.stack(disturbed)).permute(0, 3, 1, 2)
        return pixels, tuple(make_target(scenes, stride) for stride in STRIDES)


def cv2_seed(number: int) -> None:
    """OpenCV draws its noise from a generator of its own."""
    import cv2  # noqa: PLC0415  # one call

    cv2.setNumThreads(0)

    cv2.setRNGSeed(number % 2**31)


def build(config: Config) -> State:
    """Fresh networks and optimiser. Raises InputError for a network that is not of the family."""
    torch.manual_seed(config.seed)
    shape = shape_named(config.network)
    network = Finder(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    average = Finder(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as above
    average.load_state_dict(network.state_dict())
    return State(network, average, optimisers(network, config))


def optimisers(network: nn.Module, config: Config) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the convolutions of the body, AdamW for the heads, the biases and the normalisation."""
    inner = [p for name, p in network.named_parameters() if p.ndim > 1 and not name.startswith("heads")]
    heads = [p for name, p in network.named_parameters() if p.ndim > 1 and name.startswith("heads")]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": heads, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return (
        Muon(inner, lr=config.rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(groups, lr=config.rate),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run or resume a training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the run: checkpoint.pt, config.json, curve.csv")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="one setting of Config"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long, with a checkpoint")
    parser.add_argument("--decay", action="store_true", help="start the decay from the latest checkpoint")
    parser.add_argument("--decay-after", type=float, default=1e9, help="start the decay after these minutes")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="begin a fresh run with kept weights")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the network; more than free cores is slower"
    )
    args = parser.parse_args(argv)

    def act() -> None:
        refuse_below("--threads", args.threads, 1)
        refuse_below("--workers", args.workers, 0)
        torch.set_num_threads(args.threads)
        run(
            with_settings(Config(), args.set),
            args.out,
            minutes=args.minutes,
            decay_after=0.0 if args.decay else args.decay_after,
            workers=args.workers,
            start_from=args.start_from,
        )

    return exit_code_of(act)


def run(
    config: Config,
    out: Path,
    *,
    minutes: float,
    decay_after: float,
    workers: int,
    start_from: Path | None = None,
) -> None:
    """Train until the decay is over or the time is up; a checkpoint in ``out`` is continued.

    One whose decay is over stays as it is. The size of the scenes may change, data and seed may not. Raises
    InputError for impossible settings, and if data or checkpoint do not fit.
    """
    at_least(config, LEAST)
    refuse_odd_sizes(config)
    state = build(config)
    checkpoint = out / "checkpoint.pt"
    is_fresh = not checkpoint.exists()
    stored = first_weights(state, checkpoint, start_from)
    refuse_others({"config": asdict(config), **stored}, config, checkpoint, same=SAME)
    if is_over(state, config):
        say_finished(out, f"{state.scenes} scenes")
        return
    scenes = Scenes(data.load(Path(config.data), "train"), config)
    held_back = data.load(Path(config.data), "val")
    state.data_sha256 = data.sha256_of(Path(config.data))
    refuse_other_data(stored, state.data_sha256, checkpoint, data=config.data)
    if start_from is not None and not is_fresh:
        say_start_unused(out, start_from)
    out.mkdir(parents=True, exist_ok=True)
    keep_record(
        out,
        config,
        start=start_from if is_fresh else None,
        data_sha256=state.data_sha256,
        scenes=state.scenes,
        decay_after_minutes=decay_after,
    )
    stream = batches(scenes, state.scenes, workers)
    started = noted = time.monotonic()
    seen, sums = 0, np.zeros(3)
    while time.monotonic() - started < 60 * minutes:
        if state.decay_from is None and time.monotonic() - started >= 60 * decay_after:
            state.decay_from = state.scenes
        pixels, targets = next(stream)
        sums += step(state, pixels, targets, config)
        seen += config.batch
        over = is_over(state, config)
        if seen >= 6_400 or over:
            note(out, held_back, state, sums * config.batch / seen, seen / (time.monotonic() - noted))
            save(state, checkpoint, config)
            seen, sums, noted = 0, np.zeros(3), time.monotonic()
        if over:
            break
    save(state, checkpoint, config)


def refuse_odd_sizes(config: Config) -> None:
    """Raise InputError if the grids do not cover scenes of this size."""
    for name in ("width_px", "height_px"):
        if getattr(config, name) % STRIDES[-1]:
            raise InputError(
                f"{name}={getattr(config, name)} is no multiple of {STRIDES[-1]}, a cell's width"
            )


def first_weights(state: State, checkpoint: Path, start_from: Path | None) -> Mapping[str, Any]:
    """Take up a run's checkpoint, or else kept weights, if there are such; what the checkpoint holds."""
    if checkpoint.exists():
        return restore(state, checkpoint)
    if start_from is not None:
        adopt(state, start_from)
    return {}


def is_over(state: State, config: Config) -> bool:
    """True when the decay has reached its end."""
    return state.decay_from is not None and state.scenes - state.decay_from >= config.decay_scenes


def step(state: State, pixels: Tensor, targets: tuple[Target, ...], config: Config) -> Losses:
    """One update of network and running average; the three losses."""
    share = share_of_rate(
        state.scenes,
        batch=config.batch,
        warm_up=config.warm_up_scenes,
        decay=config.decay_scenes,
        decay_from=state.decay_from,
    )
    state.network.train()
    outputs = state.network(to_network_floats(pixels).contiguous(memory_format=torch.channels_last))
    parts = loss(outputs, targets, config.weights)
    descend(
        state.optimisers,
        torch.stack(parts).sum(),
        rate=config.rate * share,
        before_step=lambda: nn.utils.clip_grad_norm_(state.network.parameters(), 10.0),
    )
    steps = state.scenes / config.batch
    follow(state.average, state.network, min(config.average_decay, 1 - 1 / (1 + steps)))
    state.scenes += config.batch
    return np.array([part.item() for part in parts])


def batches(scenes: Scenes, first: int, workers: int) -> Iterator[tuple[Tensor, tuple[Target, ...]]]:
    """The endless stream of batches from scene number ``first`` on."""
    numbers = range(first, 1_000_000_000, scenes.config.batch)
    loader: DataLoader[tuple[Tensor, tuple[Target, ...]]] = DataLoader(
        scenes, sampler=numbers, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    return iter(loader)


def note(out: Path, held_back: Sequence[data.Picture], state: State, losses: Losses, speed: float) -> None:
    """One line of the curve: losses, recall and landmark error on the held-back pictures, speed."""
    found = predict.find_all(state.average, held_back)
    report = measures.measure(found, [picture.labels for picture in held_back])
    line = {
        "scenes": state.scenes,
        **{
            name: round(float(value), 4)
            for name, value in zip(("score", "box", "landmarks"), losses, strict=True)
        },
        **report.brief(),
        "scenes_per_s": round(speed, 1),
        "rate": state.optimisers[0].param_groups[0]["lr"],
    }
    path = out / "curve.csv"
    fresh = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(line))
        if fresh:
            writer.writeheader()
        writer.writerow(line)
    print(to_json(line, indent=None), flush=True)


def save(state: State, path: Path, config: Config) -> None:
    """Write the checkpoint whole or not at all."""
    write_checkpoint(
        {
            "network": config.network,
            "weights": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in state.optimisers],
            "scenes": state.scenes,
            "decay_from": state.decay_from,
            "data_sha256": state.data_sha256,
            "config": asdict(config),
        },
        path,
    )


def restore(state: State, path: Path) -> Mapping[str, Any]:
    """Continue from a checkpoint; all that it holds.

    Raises InputError if it is damaged or another network's or optimiser's.
    """
    stored = read_checkpoint(path)
    if stored["network"] != state.network.shape.name:
        name = state.network.shape.name
        raise InputError(f"{path} is of {stored['network']}, not {name}; set network or take a fresh folder")
    take_up(state.optimisers, stored.get("optimisers", ()), path)
    state.network.load_state_dict(stored["weights"])
    state.average.load_state_dict(stored["average"])
    state.scenes = stored["scenes"]
    state.decay_from = stored["decay_from"]
    return stored


def adopt(state: State, path: Path) -> None:
    """Begin with the averaged weights of a checkpoint or of the repository; the optimiser starts anew.

    They may be of a finder with fewer blocks at its end: an added block begins as the identity. Raises
    InputError if they do not fit.
    """
    stored = read_checkpoint(path)["average"]
    known = state.network.state_dict()
    if any(name not in known or known[name].shape != weight.shape for name, weight in stored.items()):
        raise InputError(f"{path} is of another kind of finder than {state.network.shape.name}; set network")
    for network in (state.network, state.average):
        network.load_state_dict(stored, strict=False)


if __name__ == "__main__":
    raise SystemExit(main())

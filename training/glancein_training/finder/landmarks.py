"""The second look: a small network that puts five landmarks exactly, and says whether there is a face.

The finder's own landmarks bring a face to the template (``glancein.domain.align``) at 88 x 88 pixels; this
network says where the five points really lie there. Because pose and size are gone, it is small and quick to
train. Warm-up, a stable rate, then a decay; look number k is drawn from (seed, k), so a resumed run sees what
an uninterrupted one does.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from glancein.domain import landmarks as look
from glancein.errors import InputError
from glancein_training import packs
from glancein_training.averaging import follow
from glancein_training.checkpoints import (
    known_as,
    read_checkpoint,
    refuse_other_data,
    refuse_others,
    write_checkpoint,
)
from glancein_training.configuration import at_least, keep_record, refuse_below, with_settings
from glancein_training.descent import descend, take_up
from glancein_training.figures import to_json
from glancein_training.finder import data, measures
from glancein_training.finder.data import Floats
from glancein_training.finder.evaluate import load_weights
from glancein_training.finder.exits import exit_code_of
from glancein_training.finder.looks import (
    FALSE,
    OWN,
    Batch,
    Choice,
    Jitter,
    Looks,
    Source,
    false_faces,
    jittered,
    sources_of,
)
from glancein_training.finder.network import Bottleneck
from glancein_training.muon import Muon
from glancein_training.networks import Residual, convolution, to_network_floats
from glancein_training.schedule import share_of_rate
from glancein_training.terminal import say_finished, say_start_unused

Losses = NDArray[np.float64]  # (2,) of the points and of the face

NAME = "second-look"
NOTE_LOOKS = 16_000
LEAST = {
    "batch": 1,
    "rate": 0,
    "weight_decay": 0,
    "warm_up_looks": 0,
    "decay_looks": 0,
    "average_decay": 0,
    "mined_every": 1,
    "blanks": 0,
    "seed": 0,
}
SAME = ("seed",)  # settings that a run keeps
MEASURED = Jitter(6.0, 0.06, 3.2)  # how rough the pose of the held-back faces is
EYES_PX = float(look.template()[1, 0] - look.template()[0, 0])


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on."""

    data: str = "../shared/data"
    finder: str = "training/weights/finder.pt"  # whose false faces are shown
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 0.01
    warm_up_looks: int = 6_000
    decay_looks: int = 100_000
    average_decay: float = 0.998
    mined_every: int = 2  # of the training pictures, to look for false faces in
    blanks: int = 800  # and so many faceless ones
    vote_weight: float = 0.3
    face_weight: float = 0.05
    bfloat16: bool = False  # faster on processors that have it
    seed: int = 1
    choice: Choice = field(default_factory=Choice)


class LandmarkNetwork(nn.Module):
    """(n, 3, 88, 88) floats -> weights (n, 6, 11, 11), the last a face's logit, and offsets (n, 10, 11, 11).

    What they mean is said in ``glancein.domain.landmarks``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(3, 16, stride=2),
            convolution(16, 32, stride=2),
            Residual(32, 16),
            Residual(32, 16),
            convolution(32, 64, stride=2),
            Residual(64, 32),
            Bottleneck(64, 32, 2),
            Bottleneck(64, 24, 3),
            Bottleneck(64, 24, 2),
        )
        self.weights = nn.Conv2d(64, look.POINTS + 1, 1)
        self.offsets = nn.Conv2d(64, 2 * look.POINTS, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the votes and of a face, and the votes."""
        features = self.body(pixels)
        return self.weights(features), self.offsets(features)


@dataclass(slots=True)
class State:
    """What a checkpoint holds beside the configuration."""

    network: LandmarkNetwork
    average: LandmarkNetwork
    optimisers: tuple[torch.optim.Optimizer, ...]
    looks: int = 0
    decay_from: int | None = None
    data_sha256: str = ""


def loss(outputs: tuple[Tensor, Tensor], batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Of the points, in eye distances, and of the question whether there is a face.

    Points: the mean vote's distance, with a logarithm that pulls near zero (Feng et al. 2018, Wing Loss), and
    the mean distance of the votes, so that each is right by itself. Where only the pose is known the three
    nearest points count: the aligner that gave the pose is a fit to its inliers.
    """
    weights, offsets = outputs
    count = len(weights)
    shares = weights[:, : look.POINTS].flatten(2).softmax(2)[:, :, None]  # (n, 5, 1, cells)
    middles = torch.from_numpy(look.centres()).permute(2, 0, 1).reshape(1, 1, 2, -1)
    votes = middles + look.CELL_PX * offsets.view(count, look.POINTS, 2, -1)  # (n, 5, 2, cells)
    found = (shares * votes).sum(3)
    error = (found - batch.points).abs().mean(2) / EYES_PX  # (n, 5)
    spread = (shares * (votes - batch.points[..., None]).abs()).sum(3).mean(2) / EYES_PX
    shaped = 0.5 * error + 0.03 * torch.log1p(error / 0.03) + config.vote_weight * spread
    nearest = shaped.sort(dim=1).values[:, :3].mean(1)
    each = torch.where(batch.kinds == OWN, shaped.mean(1), 0.5 * nearest) * (batch.kinds != FALSE)
    face = F.binary_cross_entropy_with_logits(
        weights[:, look.POINTS].mean((1, 2)), (batch.kinds != FALSE).float()
    )
    return each.mean(), config.face_weight * face


def main(argv: Sequence[str] | None = None) -> int:
    """Run or resume a training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the run: checkpoint.pt, config.json, curve.jsonl")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="one setting of Config"
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/glancein", help="decoded crops")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long, with a checkpoint")
    parser.add_argument("--decay", action="store_true", help="start the decay from the latest checkpoint")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="begin a fresh run with kept weights")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)

    def act() -> None:
        refuse_below("--threads", args.threads, 1)
        torch.set_num_threads(args.threads)
        train(
            with_settings(Config(), args.set),
            args.out,
            args.cache,
            minutes=args.minutes,
            decay=args.decay,
            start_from=args.start_from,
        )

    return exit_code_of(act)


def build(config: Config) -> State:
    """Fresh networks; Muon for the body's convolutions, AdamW for the rest."""
    torch.manual_seed(config.seed)
    network, average = LandmarkNetwork(), LandmarkNetwork()
    average.load_state_dict(network.state_dict())
    inner = [p for p in network.body.parameters() if p.ndim > 1]
    chosen = {id(p) for p in inner}
    rest = {"params": [p for p in network.parameters() if id(p) not in chosen], "weight_decay": 0.0}
    return State(
        network,
        average,
        (
            Muon(inner, lr=config.rate, weight_decay=config.weight_decay),
            torch.optim.AdamW([rest], lr=config.rate),
        ),
    )


def train(
    config: Config,
    out: Path,
    cache: Path,
    *,
    minutes: float = 1e9,
    decay: bool = False,
    start_from: Path | None = None,
) -> None:
    """Train until the decay is over or the time is up; a checkpoint in ``out`` is continued.

    One whose decay is over stays as it is. Raises InputError for impossible settings, and if data or
    checkpoint do not fit: a run keeps its data and its seed.
    """
    at_least(config, LEAST)
    state, checkpoint = build(config), out / "checkpoint.pt"
    is_fresh = not checkpoint.exists()
    stored = first_weights(state, checkpoint, start_from)
    refuse_others({"config": asdict(config), **stored}, config, checkpoint, same=SAME)
    if is_over(state, config):
        say_finished(out, f"{state.looks} looks")
        return
    looks, held_back, state.data_sha256 = prepare(config, cache)
    refuse_other_data(stored, state.data_sha256, checkpoint, data=config.data)
    if start_from is not None and not is_fresh:
        say_start_unused(out, start_from)
    out.mkdir(parents=True, exist_ok=True)
    if decay and state.decay_from is None:
        state.decay_from = state.looks
    keep_record(
        out,
        config,
        start=start_from if is_fresh else None,
        data_sha256=state.data_sha256,
        finder_sha256=known_as(Path(config.finder))["sha256"],
        looks=state.looks,
        decay=decay,
    )
    noted, seen, sums = time.monotonic(), 0, np.zeros(2)
    started = noted
    for batch in stream(looks, state.looks):
        sums += step(state, batch, config)
        seen += config.batch
        over = is_over(state, config) or time.monotonic() - started >= 60 * minutes
        if seen >= NOTE_LOOKS or over:
            note(out, state, held_back, sums * config.batch / seen, seen / (time.monotonic() - noted))
            save(state, checkpoint, config)
            noted, seen, sums = time.monotonic(), 0, np.zeros(2)
        if over:
            break


def is_over(state: State, config: Config) -> bool:
    """True when the decay has reached its end."""
    return state.decay_from is not None and state.looks - state.decay_from >= config.decay_looks


def first_weights(state: State, checkpoint: Path, start_from: Path | None) -> Mapping[str, Any]:
    """Take up a run's checkpoint, or else kept weights, if there are such; what the checkpoint holds."""
    if checkpoint.exists():
        return restore(state, checkpoint)
    if start_from is not None:
        adopt(state, start_from)
    return {}


def prepare(config: Config, cache: Path) -> tuple[Looks, list[Source], str]:
    """The stream of looks, the held-back faces of 40 px and more, and the hash of the data.

    Raises InputError if there are no faces of either kind.
    """
    folder = Path(config.data) / "finder"
    pictures = data.load(folder, "train")
    faces = sources_of(pictures)
    held_back = sources_of(data.load(folder, "val"), smallest_px=40.0)
    if not faces or not held_back:
        raise InputError(
            f"{folder} has {len(faces)} faces to train on and {len(held_back)} held back: too few"
        )
    crops = packs.load(Path(config.data) / "faces", cache=cache)
    false = false_faces(
        load_weights(Path(config.finder)), pictures[:: config.mined_every], blanks=config.blanks
    )
    print(f"{len(false)} false faces", flush=True)
    taken = (crops.pixels, np.flatnonzero(crops.is_train))
    looks = Looks((faces, false), taken, config.choice, batch=config.batch, seed=config.seed)
    both = f"{data.sha256_of(folder)} {crops.data_sha256}"
    return looks, held_back, hashlib.sha256(both.encode()).hexdigest()


def stream(looks: Looks, first: int) -> Iterator[Batch]:
    """The endless stream of batches from look number ``first`` on."""
    numbers = range(first, 1_000_000_000, looks.batch)
    loader: DataLoader[Batch] = DataLoader(
        looks, sampler=numbers, batch_size=None, num_workers=1, prefetch_factor=8
    )
    return iter(loader)


def step(state: State, batch: Batch, config: Config) -> Losses:
    """One update of network and running average; the two losses."""
    share = share_of_rate(
        state.looks,
        batch=config.batch,
        warm_up=config.warm_up_looks,
        decay=config.decay_looks,
        decay_from=state.decay_from,
    )
    state.network.train()
    pixels = to_network_floats(batch.pixels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        weights, offsets = state.network(pixels)
    parts = loss((weights.float(), offsets.float()), batch, config)
    descend(state.optimisers, parts[0] + parts[1], rate=config.rate * share)
    follow(state.average, state.network, min(config.average_decay, 1 - 1 / (1 + state.looks / config.batch)))
    state.looks += config.batch
    return np.array([part.item() for part in parts])


def note(out: Path, state: State, held_back: Sequence[Source], losses: Losses, speed: float) -> None:
    """One line of the curve: losses and held-back errors after one look and after two."""
    line = {"looks": state.looks, "points": round(float(losses[0]), 5), "face": round(float(losses[1]), 5)}
    for passes in (1, 2):
        errors = 100 * measure(state.average, held_back, passes=passes)
        line[f"median_{passes}"] = round(float(np.median(errors)), 2)
        line[f"p95_{passes}"] = round(float(np.percentile(errors, 95)), 2)
    line["looks_per_s"] = round(speed, 1)
    with (out / "curve.jsonl").open("a", encoding="utf-8") as file:
        file.write(to_json(line, indent=None) + "\n")
    print(to_json(line, indent=None), flush=True)


def save(state: State, path: Path, config: Config) -> None:
    """Write the checkpoint whole or not at all."""
    write_checkpoint(
        {
            "network": NAME,
            "weights": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in state.optimisers],
            "looks": state.looks,
            "decay_from": state.decay_from,
            "data_sha256": state.data_sha256,
            "config": asdict(config),
        },
        path,
    )


def restore(state: State, path: Path) -> Mapping[str, Any]:
    """Continue from a checkpoint; all that it holds. Raises InputError if it is damaged or another kind's."""
    stored = read_checkpoint(path)
    if stored["network"] != NAME:
        raise InputError(f"{path} is no checkpoint of a {NAME}; take a fresh folder")
    take_up(state.optimisers, stored.get("optimisers", ()), path)
    state.network.load_state_dict(stored["weights"])
    state.average.load_state_dict(stored["average"])
    state.looks, state.decay_from = stored["looks"], stored["decay_from"]
    return stored


def adopt(state: State, path: Path) -> None:
    """Begin with the averaged weights of a file, those whose names and shapes still fit."""
    stored = read_checkpoint(path)["average"]
    known = state.network.state_dict()
    fitting = {
        name: w.float() for name, w in stored.items() if name in known and w.shape == known[name].shape
    }
    if not fitting:
        raise InputError(f"nothing in {path} fits a {NAME}; start without it")
    for network in (state.network, state.average):
        network.load_state_dict(fitting, strict=False)


def load_network(path: Path) -> LandmarkNetwork:
    """The averaged network of a checkpoint or of kept weights. Raises InputError if it is another kind's."""
    network, stored = LandmarkNetwork(), read_checkpoint(path)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in stored["average"].items()})
    except (KeyError, RuntimeError, AttributeError) as err:
        raise InputError(f"{path} is of {stored['network']}, not of a {NAME}") from err
    return network.eval()


@torch.no_grad()
def measure(network: nn.Module, faces: Sequence[Source], *, seed: int = 0, passes: int = 1) -> Floats:
    """(n,) landmark errors in eye distances of faces seen in a rough pose, ``passes`` times."""
    rng = np.random.default_rng(seed)
    network.eval()
    errors = []
    for start in range(0, len(faces), 64):
        part = faces[start : start + 64]
        matrices = [jittered(look.look_matrix(face.landmarks), rng, MEASURED) for face in part]
        found: list[Floats] = []
        for number in range(passes):
            if number:
                matrices = [look.look_matrix(points) for points in found]
            found = put(network, part, matrices)
        errors += [measures.landmark_error(f, face.landmarks) for f, face in zip(found, part, strict=True)]
    return np.asarray(errors, np.float32)


def put(network: nn.Module, faces: Sequence[Source], matrices: Sequence[Floats]) -> list[Floats]:
    """Landmarks in the faces' own pixels, each looked at through its matrix."""
    looks = np.stack([look.cut(face.pixels, matrix) for face, matrix in zip(faces, matrices, strict=True)])
    outputs = network(to_network_floats(torch.from_numpy(looks).permute(0, 3, 1, 2)))
    weights, offsets = (output.permute(0, 2, 3, 1).numpy() for output in outputs)
    return [
        look.to_points(w[..., : look.POINTS], o, m)
        for w, o, m in zip(weights, offsets, matrices, strict=True)
    ]


if __name__ == "__main__":
    raise SystemExit(main())

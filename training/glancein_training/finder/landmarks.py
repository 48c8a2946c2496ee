"""The second look: a small network that puts five landmarks exactly, given a face roughly upright.

The finder's own landmarks bring a face to the template (``glancein.domain.align``) at 80 x 80 pixels; this
network says where the five points really lie there. Because pose and size are gone, it is small and quick to
train.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from glancein.domain import align
from glancein.domain import landmarks as look
from glancein_training import packs
from glancein_training.averaging import follow
from glancein_training.finder import data, measures
from glancein_training.finder.data import Floats, Pixels
from glancein_training.finder.disturb import Strength, disturb
from glancein_training.finder.network import Bottleneck
from glancein_training.finder.scenes import hide
from glancein_training.networks import Residual, convolution, to_network_floats

Rows = NDArray[np.int64]

NOTE_STEPS = 250
EYES_PX = float(look.template()[1, 0] - look.template()[0, 0])


@dataclass(frozen=True, slots=True)
class Jitter:
    """How far the rough pose may be off: turned, scaled and shifted around the template's middle."""

    rotate_deg: float = 12.0  # standard deviations
    scale: float = 0.12
    shift_px: float = 3.5


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on."""

    data: str = "../shared/data"
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 0.01
    samples: int = 400_000
    start: str = ""  # a landmarks.pt to begin with instead of random weights
    crops_share: float = 0.4  # of a batch, falling to 0 over the first 60 % of the run
    average_decay: float = 0.998
    sure_face: float = 0.75
    smallest_px: float = 24.0
    seed: int = 1
    jitter: Jitter = Jitter()


class LandmarkNetwork(nn.Module):
    """(n, 3, 80, 80) floats -> (n, 10, 1, 1) offsets of the five points from the template, in 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(3, 16, stride=2),
            convolution(16, 32, stride=2),
            Residual(32, 16),
            convolution(32, 64, stride=2),
            Residual(64, 32),
            Bottleneck(64, 32, 2),
            convolution(64, 48, stride=2),
            Residual(48, 24),
        )
        self.point = nn.Conv2d(48, 10, look.LOOK_PX // 16)
        nn.init.zeros_(self.point.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """Offsets in units of look.OUTPUT_UNIT_PX."""
        return self.point(self.body(pixels))  # type: ignore[no-any-return]  # torch types Module calls as Any


@dataclass(frozen=True, slots=True)
class Source:
    """A face to draw from; ``own`` says whether the landmarks are its own or only the template's."""

    pixels: Pixels
    landmarks: Floats  # (5, 2)
    own: bool


def sources_of(pictures: Sequence[data.Picture], config: Config) -> list[Source]:
    """Every face that is sure and large enough."""
    return [
        Source(picture.pixels, picture.labels.landmarks[index], own=True)
        for picture in pictures
        for index in range(len(picture.labels))
        if picture.labels.scores[index] >= config.sure_face
        and picture.labels.boxes[index, 2:].min() >= config.smallest_px
    ]


def jittered(matrix: Floats, rng: Generator, jitter: Jitter) -> Floats:
    """The matrix followed by a random turn, scale and shift around the look's middle."""
    angle = np.radians(rng.normal(0, jitter.rotate_deg))
    size = np.exp(rng.normal(0, jitter.scale))
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, look.LOOK_PX / 2)
    shift = middle - turn @ middle + rng.normal(0, jitter.shift_px, 2)
    return np.asarray(np.column_stack([turn @ matrix[:, :2], turn @ matrix[:, 2] + shift]), np.float32)


class Looks(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Batch k: pixels (n, 3, 80, 80) uint8, true points (n, 5, 2), whether they are the faces' own."""

    def __init__(self, faces: Sequence[Source], crops: Pixels, rows: Rows, config: Config) -> None:
        self.faces = faces
        self.crops = crops
        self.rows = rows  # of the crops, the training identities
        self.config = config

    def __getitem__(self, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch that begins with sample number ``first``."""
        rng = np.random.default_rng([self.config.seed, first])
        cv2.setNumThreads(0)
        cv2.setRNGSeed(first % 2**31)
        share = self.config.crops_share * max(0.0, 1 - first / (0.6 * self.config.samples))
        made = [self.one(rng, from_crops=bool(rng.random() < share)) for _ in range(self.config.batch)]
        pixels = torch.from_numpy(np.stack([one for one, _, _ in made])).permute(0, 3, 1, 2)
        points = torch.from_numpy(np.stack([one for _, one, _ in made]))
        return pixels, points, torch.tensor([own for *_, own in made])

    def one(self, rng: Generator, *, from_crops: bool) -> tuple[Pixels, Floats, bool]:
        """One look with its points."""
        if from_crops:
            crop = np.asarray(self.crops[rng.choice(self.rows)])
            face = Source(crop, np.asarray(align.TEMPLATE, np.float32) + 8, own=False)
        else:
            face = self.faces[int(rng.integers(len(self.faces)))]
        matrix = jittered(look.look_matrix(face.landmarks), rng, self.config.jitter)
        pixels = look.cut(face.pixels, matrix)
        points = align.transform(matrix, face.landmarks)
        if rng.random() < 0.5:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
            points = (
                np.asarray([look.LOOK_PX - 1, 0], np.float32) + points * np.asarray([-1, 1], np.float32)
            )[[1, 0, 2, 4, 3]]
        if rng.random() < 0.1:
            hide(pixels, points, rng)
        return disturb(pixels, rng, Strength(coarse=0.2)), np.asarray(points, np.float32), face.own


def loss(outputs: Tensor, points: Tensor, own: Tensor) -> Tensor:
    """Distance in eye distances, with a logarithm that pulls near zero (Feng et al. 2018, Wing Loss).

    Where only the template is known, the three nearest points count: the aligner is a fit to its inliers.
    """
    found = outputs.view(-1, 5, 2) * look.OUTPUT_UNIT_PX + torch.from_numpy(look.template())
    error = (found - points).abs().mean(2) / EYES_PX  # (n, 5)
    shaped = 0.5 * error + 0.03 * torch.log1p(error / 0.03)
    trimmed = shaped.sort(dim=1).values[:, :3].mean(1)
    return torch.where(own, shaped.mean(1), 0.5 * trimmed).mean()


def main(argv: Sequence[str] | None = None) -> int:
    """Train from nothing to the end of the schedule."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the run: landmarks.pt, config.json, curve.jsonl")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="one setting of Config"
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/glancein", help="decoded crops")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    changed = {name: json.loads(value) for name, value in (item.split("=", 1) for item in args.set)}
    train(replace(Config(), **changed), args.out, args.cache)
    return 0


def train(config: Config, out: Path, cache: Path) -> None:
    """Write ``landmarks.pt`` with the averaged weights."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=1), encoding="utf-8")
    faces = sources_of(data.load(Path(config.data) / "finder", "train"), config)
    held_back = sources_of(data.load(Path(config.data) / "finder", "val"), replace(config, smallest_px=40.0))
    crops = packs.load(Path(config.data) / "faces", cache=cache)
    torch.manual_seed(config.seed)
    network, average = LandmarkNetwork(), LandmarkNetwork()
    if config.start:
        network = load_network(Path(config.start))
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    started, total, steps = time.monotonic(), 0.0, 0
    looks = Looks(faces, crops.pixels, np.flatnonzero(crops.is_train), config)
    for number, (pixels, points, own) in stream(looks, config):
        done = number / config.samples
        share = min(1.0, (number + config.batch) / 10_000, 0.01 + 1.4 * (1 - done))
        for group in optimiser.param_groups:
            group["lr"] = config.rate * share
        network.train()
        outputs = network(to_network_floats(pixels).contiguous(memory_format=torch.channels_last))
        value = loss(outputs, points, own)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimiser.step()
        follow(average, network, min(config.average_decay, 1 - 1 / (1 + number / config.batch)))
        total, steps = total + value.item(), steps + 1
        if steps == NOTE_STEPS or number + config.batch >= config.samples:
            errors = measure(average, held_back)
            line = {
                "samples": number + config.batch,
                "loss": round(total / steps, 5),
                "error_median": round(100 * float(np.median(errors)), 2),
                "error_p95": round(100 * float(np.percentile(errors, 95)), 2),
                "samples_per_s": round((number + config.batch) / (time.monotonic() - started), 1),
            }
            with (out / "curve.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            stored = {"average": average.state_dict(), "samples": number, "config": asdict(config)}
            torch.save(stored, out / "landmarks.pt")
            total, steps = 0.0, 0


def stream(looks: Looks, config: Config) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """Sample numbers and batches, to the end of the schedule."""
    numbers = range(0, config.samples, config.batch)
    loader: DataLoader[tuple[Tensor, Tensor, Tensor]] = DataLoader(
        looks, sampler=numbers, batch_size=None, num_workers=1, prefetch_factor=8
    )
    return zip(numbers, loader, strict=True)


def load_network(path: Path) -> LandmarkNetwork:
    """The averaged network of a ``landmarks.pt``."""
    stored = torch.load(path, weights_only=True, map_location="cpu")
    network = LandmarkNetwork()
    network.load_state_dict({name: tensor.float() for name, tensor in stored["average"].items()})
    return network.eval()


@torch.no_grad()
def measure(network: LandmarkNetwork, faces: Sequence[Source], *, seed: int = 0) -> Floats:
    """(n,) landmark errors in eye distances of held-back faces seen in a rough pose, in their own pixels."""
    rng = np.random.default_rng(seed)
    network.eval()
    errors = []
    for start in range(0, len(faces), 64):
        part = faces[start : start + 64]
        matrices = [jittered(look.look_matrix(face.landmarks), rng, Jitter(6.0, 0.06, 2.0)) for face in part]
        looks = np.stack([look.cut(face.pixels, matrix) for face, matrix in zip(part, matrices, strict=True)])
        outputs = network(to_network_floats(torch.from_numpy(looks).permute(0, 3, 1, 2)))
        for face, matrix, offsets in zip(part, matrices, outputs.flatten(1).numpy(), strict=True):
            errors.append(measures.landmark_error(look.to_points(offsets, matrix), face.landmarks))
    return np.asarray(errors, np.float32)


if __name__ == "__main__":
    raise SystemExit(main())

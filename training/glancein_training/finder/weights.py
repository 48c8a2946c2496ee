"""A run's checkpoint -> the small file of weights that the repository keeps: the average, half precision."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from glancein_training.checkpoints import halved, without_places, write_checkpoint


def main(argv: Sequence[str] | None = None) -> int:
    """Write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    keep(args.checkpoint, args.out)
    return 0


def keep(checkpoint: Path, out: Path) -> None:
    """Network name, configuration, count of scenes, averaged weights as float16, statistics as float32."""
    stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: stored[name] for name in ("network", "scenes", "looks") if name in stored}
    kept["config"] = without_places(stored["config"])
    write_checkpoint({**kept, "average": halved(stored["average"])}, out)


if __name__ == "__main__":
    raise SystemExit(main())

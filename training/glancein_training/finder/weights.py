"""A run's checkpoint -> the small file of weights that the repository keeps: the average, half precision."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from glancein.errors import InputError
from glancein_training.checkpoints import halved, read_checkpoint, without_places, write_checkpoint
from glancein_training.finder.exits import exit_code_of


def main(argv: Sequence[str] | None = None) -> int:
    """Write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    return exit_code_of(lambda: keep(args.checkpoint, args.out))


def keep(checkpoint: Path, out: Path) -> None:
    """Network name, configuration, count of scenes, averaged weights as float16, statistics as float32.

    Raises InputError if it is no checkpoint of a run.
    """
    stored = read_checkpoint(checkpoint)
    if not {"average", "config"} <= stored.keys():
        raise InputError(f"{checkpoint} is no checkpoint of a run: it has no averaged weights or no settings")
    out.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, object] = {k: stored[k] for k in ("network", "scenes", "looks") if k in stored}
    kept["config"] = without_places(stored["config"])
    write_checkpoint({**kept, "average": halved(stored["average"])}, out)


if __name__ == "__main__":
    raise SystemExit(main())

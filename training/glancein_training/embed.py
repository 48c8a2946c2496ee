"""A checkpoint's embeddings of a pack, in the form that `evaluate` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glancein.array_file import check_writable, writing
from glancein.errors import InputError
from glancein_training import packs
from glancein_training.checkpoints import load_network
from glancein_training.distill import embed
from glancein_training.evaluate.faces import read_table


def embed_pack(checkpoint: Path, pack: Path, out: Path, *, cache: Path, split: str = "") -> int:
    """Write path, found and embedding (crop and mirror image summed) of a pack; returns the number.

    Raises InputError if the pack has no labels, the split no pictures, or ``out`` cannot be written.
    """
    check_writable(out)
    network = load_network(checkpoint)
    labels = pack / "labels.csv"
    if not labels.exists():
        raise InputError(f"{pack} is no pack of crops: it has no labels.csv")
    rows = read_table(labels)
    wanted = [k for k, row in enumerate(rows) if not split or row.get("split") == split]
    if not wanted:
        raise InputError(f"{labels} has no pictures of split {split!r}")
    crops = packs.load(pack, cache=cache)
    vectors = embed(network, crops.pixels[wanted]).numpy()
    paths = [rows[k]["path"] for k in wanted]
    with writing(out) as part:
        np.savez(part, path=paths, found=np.ones(len(wanted), bool), embedding=vectors)
    return len(wanted)

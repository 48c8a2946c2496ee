"""A bundle's int8 vectors of a pack's aligned crops: what the network does without the finder before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glancein.adapters.tflite_runtime import open_model
from glancein.array_file import check_writable, writing
from glancein_convert import crops, vectors
from glancein_convert.errors import ConversionError
from glancein_training import packs
from glancein_training.evaluate.faces import read_table


def embed_pack(  # noqa: PLR0913  # what the command takes
    model: Path, pack: Path, out: Path, *, split: str, most: int, templates: bool, cache: Path
) -> int:
    """Write path, found and embedding (crop and mirror image summed) of a pack; returns their number.

    ``split`` "" takes all pictures; ``most`` of them are drawn, always the same ones. With ``templates`` also
    ``template``, what enrolling each crop would store. Raises ConversionError if there are none, ModelError
    for what is no model, InputError if ``out`` cannot be written or the labels cannot be read.
    """
    check_writable(out)
    labels = pack / "labels.csv"
    if not labels.exists():
        raise ConversionError(f"{pack} is no pack of crops: it has no labels.csv")
    rows = read_table(labels)
    wanted = np.array([k for k, row in enumerate(rows) if not split or row.get("split") == split], np.int64)
    if len(wanted) == 0:
        raise ConversionError(f"{labels} has no pictures of split {split!r}")
    wanted = np.sort(np.random.default_rng(0).permutation(wanted)[:most])
    network = open_model(model)
    pixels = packs.load(pack, cache=cache).pixels
    aligned = crops.centre(pixels, wanted)
    arrays = {
        "path": np.array([rows[k]["path"] for k in wanted]),
        "found": np.ones(len(wanted), bool),
        "embedding": vectors.by_int8(network, aligned).summed,
    }
    if templates:
        arrays["template"] = vectors.templates_by_int8(network, aligned)
    with writing(out) as part:
        np.savez(part, allow_pickle=False, **arrays)
    return len(wanted)

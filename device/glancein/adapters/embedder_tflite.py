"""The embedder: canonical crops -> int8 network -> unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glancein.adapters.bundle_folder import open_bundle
from glancein.domain.align import CROP_PX
from glancein.domain.gallery import unit
from glancein.domain.quantize import pixels_to_int8, to_float
from glancein.errors import ModelError
from glancein.model_card import ModelCard
from glancein.types import Crop, Floats, Pixels


class TfliteEmbedder:
    """Port Embedder over one bundle. Threads may share it; one inference runs at a time.

    A crop and its mirror image are embedded and their unit vectors summed: a face is nearly symmetric, its
    light is not. The card's thresholds and figures are of such sums.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Open and prove the bundle. Raises ModelError."""
        bundle = open_bundle(folder, "embedder", threads=threads)
        shape = bundle.network.input.shape
        if shape[1:3] != (CROP_PX, CROP_PX) or len(bundle.network.outputs) != 1:
            raise ModelError(f"{folder}: the embedder takes {shape}, but crops are {CROP_PX} x {CROP_PX}")
        self._network = bundle.network
        self._output = bundle.network.outputs[0]
        self.card: ModelCard = bundle.card

    @property
    def model_sha256(self) -> str:
        """Hash of the model file that makes the vectors."""
        return self.card.sha256

    @property
    def runtime_name(self) -> str:
        """Which runtime computes, and on what."""
        return f"{self._network.runtime_name} ({self._network.delegate_name})"

    def embed(self, crops: Sequence[Crop]) -> Floats:
        """(n, 128) unit rows.

        Raises ModelError if a crop has another size or the runtime fails.
        """
        rows = [unit(self._vector(crop.pixels) + self._vector(crop.pixels[:, ::-1])) for crop in crops]
        width = self._output.shape[-1]
        return np.asarray(rows, np.float32).reshape(len(rows), width)

    def _vector(self, pixels: Pixels) -> Floats:
        (steps,) = self._network.run(pixels_to_int8(pixels)[None])
        values = to_float(steps.reshape(-1), scale=self._output.scale, zero_point=self._output.zero_point)
        return unit(values)

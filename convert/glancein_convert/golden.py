"""Golden vectors: synthetic pictures and the int8 model's answers: a device proves its arithmetic by them."""

from __future__ import annotations

import io

import numpy as np

from glancein.adapters.tflite_runtime import Int8s, Network

PICTURES = 32
BLOCK_PX = 8  # blocks compress: 32 pictures take some 50 kB instead of 1.2 MB


def make_golden(network: Network, *, seed: int = 0) -> bytes:
    """An .npz, always the same bytes: ``inputs`` (32, h, w, 3), ``output_0`` ... and ``plain_0`` ..., int8.

    ``output`` is what XNNPACK's kernels answer, ``plain`` what TFLite's own do: they round differently, and
    tflite-runtime 2.14 has only the latter for int8.
    """
    _, height, width, _ = network.input.shape
    inputs = synthetic_pictures(height, width, seed=seed)
    answers = {"output": network, "plain": without_delegates(network)}
    arrays = {}
    for family, asked in answers.items():
        runs = [asked.run(picture[None]) for picture in inputs]
        for index in range(len(network.outputs)):
            arrays[f"{family}_{index}"] = np.concatenate([run[index] for run in runs])
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, inputs=inputs, **arrays)
    return file.getvalue()


def without_delegates(network: Network) -> Network:
    """The same model on TFLite's own kernels."""
    from ai_edge_litert.interpreter import (  # type: ignore[import-untyped]  # noqa: PLC0415  # heavy
        Interpreter,
        OpResolverType,
    )

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=network.content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return Network(interpreter, runtime_name="ai_edge_litert", delegate_name="none")


def synthetic_pictures(height: int, width: int, *, seed: int) -> Int8s:
    """(32, h, w, 3) int8: flat ones, ramps, blocks of noise, and a dark oval with lighter spots."""
    rng = np.random.default_rng(seed)
    pictures = [np.full((height, width, 3), level) for level in (-128, 0, 127)]
    ramp = np.linspace(-128, 127, width)[None, :, None] * np.ones((height, 1, 3))
    pictures += [ramp, ramp[:, ::-1], -np.abs(ramp) + rng.integers(-20, 20, 3)]
    while len(pictures) < PICTURES - 8:
        pictures.append(_blocks(rng, height, width))
    while len(pictures) < PICTURES:
        pictures.append(_oval(rng, height, width))
    return np.asarray(np.clip(np.rint(np.stack(pictures)), -128, 127), np.int8)


def _blocks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    rows, columns = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    small = rng.integers(-128, 128, (rows, columns, 3))
    return small.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)[:height, :width]


def _oval(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture = np.broadcast_to(rng.integers(-128, 0, 3), (height, width, 3)).astype(float)
    picture[(x / 0.7) ** 2 + (y / 0.9) ** 2 < 1] = rng.integers(0, 100, 3)
    for centre in rng.uniform(-0.5, 0.5, (4, 2)):
        picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < rng.uniform(0.01, 0.05)] = rng.integers(
            -128, 127, 3
        )
    return picture

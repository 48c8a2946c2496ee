"""The trainable int8 network gives the interpreter's own numbers, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")
pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")

import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # type: ignore[import-untyped]  # ships no types
from tests.convert import small_network

from glancein.adapters.tflite_runtime import Int8s, Network, open_model
from glancein_convert import tuning
from glancein_convert.fake_quant import (
    FakeQuantised,
    Kernels,
    fixed_point,
    multiply_fixed,
    weight_scales,
    with_parameters,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Interpreters that keep every tensor say so.
pytestmark = pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small gain nothing from several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(count: int = 8, seed: int = 1) -> Int8s:
    """Noise, flat extremes and steps between."""
    rng = np.random.default_rng(seed)
    out = rng.integers(-128, 128, (count, *small_network.INPUT_SHAPE[1:])).astype(np.int8)
    out[0], out[1] = -128, 127
    return out


def by_kernels(raw: bytes, kernels: Kernels, steps: Int8s) -> list[NDArray[np.int8]]:
    """What the interpreter answers with these kernels: one array for each output."""
    resolver = OpResolverType.BUILTIN_REF if kernels == "reference" else OpResolverType.AUTO
    interpreter = Interpreter(model_content=raw, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    network = Network(interpreter, runtime_name="ai_edge_litert", delegate_name=kernels)
    runs = [network.run(picture[None]) for picture in steps]
    return [np.concatenate(outputs) for outputs in zip(*runs, strict=True)]


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
@pytest.mark.parametrize("seed", range(6))
def test_every_output_is_the_interpreters_to_the_bit(kernels: Kernels, seed: int) -> None:
    """Strides, dilation, padding, ReLU, additions of unlike scales: 0 of all values differ."""
    float_raw, int8_raw = small_network.make_pair(seed=seed)
    steps = pictures(seed=seed)
    module = FakeQuantised(float_raw, int8_raw, kernels=kernels).double()

    with torch.no_grad():
        found = module(torch.from_numpy(steps.transpose(0, 3, 1, 2).copy()).double())

    for mine, theirs in zip(found, by_kernels(int8_raw, kernels, steps), strict=True):
        array = mine.numpy().transpose(0, 2, 3, 1) if mine.ndim == 4 else mine.numpy()
        assert np.array_equal(array, theirs)


def test_single_precision_is_exact_for_sums_of_our_size() -> None:
    """Training in float32 sees the same numbers."""
    float_raw, int8_raw = small_network.make_pair(seed=3)
    steps = torch.from_numpy(pictures().transpose(0, 3, 1, 2).copy())
    module = FakeQuantised(float_raw, int8_raw)

    with torch.no_grad():
        single = module(steps.float())
        double = module.double()(steps.double())

    assert all(torch.equal(a.double(), b) for a, b in zip(single, double, strict=True))


def test_gradient_reaches_every_weight_and_bias() -> None:
    """Rounding passes it straight through."""
    module = FakeQuantised(*small_network.make_pair(seed=0))

    outputs = module.real(module(torch.from_numpy(pictures().transpose(0, 3, 1, 2).copy()).float()))
    loss = torch.stack([(output**2).sum() for output in outputs]).sum()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    assert all(p.grad.abs().sum() > 0 for p in module.weights)


def test_float_form_is_near_the_int8_form() -> None:
    """Both forms of one module describe one network."""
    module = FakeQuantised(*small_network.make_pair(seed=0))
    steps = torch.from_numpy(pictures().transpose(0, 3, 1, 2).copy()).float()

    with torch.no_grad():
        exact, rough = module.exactly(steps), module.real(module(steps))

    for one, two in zip(exact, rough, strict=True):
        cosine = torch.nn.functional.cosine_similarity(one.flatten(1), two.flatten(1))
        assert cosine.mean() > 0.98


def test_parameters_survive_the_way_into_a_float_file() -> None:
    """Changed weights come back out as they went in."""
    float_raw, int8_raw = small_network.make_pair(seed=0)
    module = FakeQuantised(float_raw, int8_raw)
    with torch.no_grad():
        module.weights[1].mul_(1.5)
        module.biases[0].add_(0.25)

    again = FakeQuantised(with_parameters(float_raw, module), int8_raw)

    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


def test_channel_of_zeros_has_a_scale() -> None:
    """A dead channel is no division by zero."""
    weights = torch.zeros(2, 3, 3, 3)
    weights[1, 0, 0, 0] = 127.0

    assert weight_scales(weights).tolist() == pytest.approx([1e-9 / 127, 1.0])


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.75, 3e-4, 1.9, 2.0**-31])
def test_fixed_point_says_the_ratio_with_31_bits(ratio: float) -> None:
    """Multiplier and shift are the number again."""
    multiplier, shift = fixed_point(ratio)

    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(ratio, rel=2**-31)
    assert 1 << 30 <= multiplier < 1 << 31


def test_fixed_product_is_that_of_the_reference_kernels() -> None:
    """Against gemmlowp's two steps in whole numbers, signs and shifts of both kinds."""
    rng = np.random.default_rng(0)
    values = np.r_[np.arange(-9, 10), rng.integers(-(1 << 24), 1 << 24, 200)]
    for ratio in (0.25, 0.3, 0.001, 1.7, 5e-5):
        multiplier, shift = fixed_point(ratio)

        found = multiply_fixed(torch.from_numpy(values), torch.tensor(multiplier), torch.tensor(shift))

        assert found.tolist() == [
            high_product(int(v) << max(0, shift), multiplier, max(0, -shift)) for v in values
        ]


def high_product(value: int, multiplier: int, right: int) -> int:
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT."""
    product = value * multiplier
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    high = abs(nudged) // (1 << 31) * (1 if nudged >= 0 else -1)
    remainder, threshold = high & ((1 << right) - 1), (((1 << right) - 1) >> 1) + (high < 0)
    return (high >> right) + (remainder > threshold)


def test_equalisation_changes_no_float_output(tmp_path: Path) -> None:
    """Channels are scaled up in one place and down in the next."""
    float_raw, int8_raw = small_network.make_pair(seed=2)
    steps = torch.from_numpy(pictures().transpose(0, 3, 1, 2).copy()).double()

    equalised, pairs = tuning.equalise(float_raw, int8_raw)

    before, after = (FakeQuantised(raw, int8_raw).double() for raw in (float_raw, equalised))
    assert pairs == 2
    with torch.no_grad():
        for one, two in zip(before.exactly(steps), after.exactly(steps), strict=True):
            assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)
    path = tmp_path / "after.tflite"
    path.write_bytes(equalised)
    assert Interpreter(model_path=str(path)) is not None


def test_corrected_biases_bring_the_mean_back() -> None:
    """A bias that is off by a step is found and put right, from pictures alone."""
    float_raw, int8_raw = small_network.make_pair(seed=4)
    rough = FakeQuantised(float_raw, int8_raw)
    steps = pictures(32, seed=9)
    pixels = (steps.astype(np.int16) + 128).astype(np.uint8)
    inputs = torch.from_numpy(steps.transpose(0, 3, 1, 2).copy()).float()

    corrected = FakeQuantised(tuning.correct_biases(float_raw, int8_raw, pixels), int8_raw)

    with torch.no_grad():
        wanted = rough.sums(inputs, exact=True)
        error = [
            max(float((mean - want).abs().mean()) for mean, want in zip(seen, wanted, strict=True))
            for seen in (rough.sums(inputs, exact=False), corrected.sums(inputs, exact=False))
        ]
    assert error[1] < error[0] / 2


def test_fine_tuning_brings_outputs_nearer_and_repeats() -> None:
    """Weights learn to live with a range that cuts values off; the same bytes come out twice."""
    float_raw, int8_raw = small_network.make_pair(seed=5, cut=0.5)
    pixels = (pictures(32, seed=3).astype(np.int16) + 128).astype(np.uint8)
    settings = tuning.FineTuning(images=800, batch=8, rate=1e-3)

    first = tuning.fine_tune(float_raw, int8_raw, pixels, settings)
    second = tuning.fine_tune(float_raw, int8_raw, pixels, settings)

    assert first == second
    assert relative_error(first, float_raw, int8_raw) < 0.8 * relative_error(float_raw, float_raw, int8_raw)


def relative_error(tuned: bytes, float_raw: bytes, int8_raw: bytes) -> float:
    """Squared error of the int8 form against the original float one, on other pictures."""
    inputs = torch.from_numpy(pictures(16, seed=77).transpose(0, 3, 1, 2).copy()).float()
    exact, rough = FakeQuantised(float_raw, int8_raw), FakeQuantised(tuned, int8_raw)
    with torch.no_grad():
        return float(tuning.relative_error(rough.real(rough(inputs)), exact.exactly(inputs)))


def test_unknown_operator_is_refused() -> None:
    """What cannot be imitated exactly is not imitated."""
    from tests.device import tiny_model  # noqa: PLC0415  # only here

    with pytest.raises(Exception, match="AVERAGE_POOL_2D cannot be fake-quantised"):
        FakeQuantised(tiny_model.make_model(), tiny_model.make_model())


def test_open_model_takes_the_small_network(tmp_path: Path) -> None:
    """The file the tests stand on is a sound one, in one XNNPACK piece."""
    path = tmp_path / "small.tflite"
    path.write_bytes(small_network.make_pair(seed=0)[1])

    assert [output.shape for output in open_model(path).outputs] == [(1, 6, 8, 4), (1, 16)]

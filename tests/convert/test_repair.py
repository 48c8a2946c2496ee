"""What the repair changes, and that it changes no number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # ships no types
from tests.device import tiny_model

from glancein.adapters.tflite_runtime import open_model
from glancein_convert import preflight, repair
from glancein_convert.errors import ConversionError


def as_the_quantiser_writes(raw: bytes) -> bytes:
    """The same file with versions at 1, weights behind the flatbuffer, and a signature with plain names."""
    model = repair.read(raw)
    for code in model.operatorCodes:
        code.version = 1
    model.signatureDefs = [signature(model.subgraphs[0])]
    weights = bytes(model.buffers[1].data)
    model.buffers[1].data = None
    model.buffers[1].offset = model.buffers[1].size = 2  # stand-ins of the final width
    size = len(repair.write(model))
    model.buffers[1].offset, model.buffers[1].size = size, len(weights)
    return repair.write(model) + weights


def signature(graph: Any) -> Any:
    """A signature as the converter writes it: args_0 -> output_0. Any: the schema is untyped."""
    out = schema.SignatureDefT()
    out.signatureKey = b"serving_default"
    out.inputs, out.outputs = [], []
    for entries, names, tensors in (
        (out.inputs, ["args_0"], graph.inputs),
        (out.outputs, ["output_0"], graph.outputs),
    ):
        for name, tensor in zip(names, tensors, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), tensor
            entries.append(entry)
    return out


def test_repaired_file_answers_bit_for_bit_the_same(tmp_path: Path) -> None:
    """Only the form changes."""
    before, after = tmp_path / "before.tflite", tmp_path / "after.tflite"
    before.write_bytes(as_the_quantiser_writes(tiny_model.make_model()))
    after.write_bytes(repair.repair(before.read_bytes(), ["embedding"]))
    picture = np.random.default_rng(0).integers(-128, 128, (1, 112, 112, 3)).astype(np.int8)

    assert np.array_equal(open_model(before).run(picture)[0], open_model(after).run(picture)[0])


def test_weights_move_into_the_file_and_versions_become_the_lowest(tmp_path: Path) -> None:
    """What the 2021 compiler cannot read is gone."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(as_the_quantiser_writes(tiny_model.make_model()))
    assert "external buffers" in preflight.check(broken).problems[0]

    repaired = tmp_path / "repaired.tflite"
    repaired.write_bytes(repair.repair(broken.read_bytes(), ["embedding"]))

    checked = preflight.check(repaired)
    assert checked.maps_everything
    assert [(o.name, o.version) for o in checked.operators] == [
        ("AVERAGE_POOL_2D", 2),
        ("CONV_2D", 3),
        ("RESHAPE", 1),
    ]


def test_outputs_get_their_names(tmp_path: Path) -> None:
    """The device sees the names that the card lists."""
    path = tmp_path / "model.tflite"
    path.write_bytes(repair.repair(as_the_quantiser_writes(tiny_model.make_model()), ["vector"]))

    assert [output.name for output in open_model(path).outputs] == ["vector"]


def test_repair_of_a_repaired_file_needs_no_second_pass() -> None:
    """The pass is idempotent up to the names of the signature."""
    once = repair.repair(as_the_quantiser_writes(tiny_model.make_model()), ["output_0"])

    assert repair.repair(once, ["output_0"]) == once


def test_wrong_number_of_names_is_refused() -> None:
    """A forgotten output is an error, not a guess."""
    with pytest.raises(ConversionError, match="1 outputs"):
        repair.repair(as_the_quantiser_writes(tiny_model.make_model()), ["a", "b"])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Wrapper/a.Net_wrapped/torch.nn.Sequential_body/torch.nn.Conv2d_0;2", "body/0"),
        ("W/N_wrapped/S_body/R_relu;;W/N_wrapped/S_body/B_9/S_narrow/C_0;", "body/9/narrow/0"),
        ("W/N_wrapped/S_body/R_9/R_relu;W/N_wrapped/S_body/R_9;", "body/9"),
        ("arith.constant", "arith.constant"),
        ("body/9/narrow/0/weights", "body/9/narrow/0/weights"),
        (";", ";"),
    ],
)
def test_a_tensor_is_called_by_the_path_of_its_module(name: str, short: str) -> None:
    """Wrappers and classes go; what was never long stays."""
    assert repair.short_name(name) == short


def test_names_stay_apart_and_say_what_is_a_weight() -> None:
    """Two tensors of one module: an activation and its padded copy, weights and their bias."""
    raw = as_the_quantiser_writes(tiny_model.make_model())
    model = repair.read(raw)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"Wrapper/a.Net_wrapped/torch.nn.Conv2d_0;"
    offset = model.buffers[1].offset
    model.buffers[1].offset += len(repair.write(model)) - offset
    renamed = repair.write(model) + raw[offset:]

    names = [t.name.decode() for t in repair.read(repair.repair(renamed, ["embedding"])).subgraphs[0].tensors]

    assert len(set(names)) == len(names)
    assert {"0/weights", "0/bias", "pixels", "embedding"} <= set(names)

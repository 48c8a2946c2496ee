"""The checker names what an Edge TPU would not map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # ships no types
from tests.device import tiny_model

from glancein.wiring import MODEL_FOLDERS
from glancein_convert import cli, preflight, repair

Damage = Callable[[Any], None]  # Any: the schema is untyped


def float_input(model: Any) -> None:
    """The input as floats."""
    model.subgraphs[0].tensors[0].type = schema.TensorType.FLOAT32


def open_batch(model: Any) -> None:
    """A batch size that is only known later."""
    model.subgraphs[0].tensors[0].shapeSignature = [-1, 112, 112, 3]


def four_wide(model: Any) -> None:
    """A batch of two."""
    model.subgraphs[0].tensors[0].shape = [2, 112, 112, 3]


def asymmetric(model: Any) -> None:
    """Weights with a zero point."""
    model.subgraphs[0].tensors[2].quantization.zeroPoint = [1] * 128


def hard_swish(model: Any) -> None:
    """An activation that the chip does not know."""
    model.operatorCodes[2].builtinCode = model.operatorCodes[2].deprecatedBuiltinCode = (
        schema.BuiltinOperator.HARD_SWISH
    )


def newer(model: Any) -> None:
    """A convolution of a later version."""
    model.operatorCodes[1].version = 6


def dense(model: Any) -> None:
    """The convolution as a fully connected layer with per-channel weights."""
    model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = (
        schema.BuiltinOperator.FULLY_CONNECTED
    )


def rescaled(model: Any) -> None:
    """A reshape that changes the scale."""
    model.subgraphs[0].tensors[6].quantization.scale = [0.5]


@pytest.mark.parametrize(
    ("damage", "operator", "reason"),
    [
        (float_input, 0, "not int8"),
        (open_batch, 0, "dynamic shape"),
        (four_wide, 0, "more than three dimensions"),
        (asymmetric, 1, "not symmetric"),
        (hard_swish, 2, "not in the Edge TPU's operator table"),
        (newer, 1, "newer than 3"),
        (dense, 1, "per-channel FULLY_CONNECTED"),
        (rescaled, 2, "changes the quantisation"),
    ],
)
def test_each_obstacle_is_named_at_its_operator(
    tmp_path: Path, damage: Damage, operator: int, reason: str
) -> None:
    """One change, one reason, at the right place."""
    model = repair.read(tiny_model.make_model())
    damage(model)
    path = tmp_path / "model.tflite"
    path.write_bytes(repair.write(model))

    checked = preflight.check(path)

    assert not checked.maps_everything
    assert any(reason in sentence for sentence in checked.operators[operator].reasons)


def test_sound_file_maps_and_its_work_is_counted(tmp_path: Path) -> None:
    """8 x 8 x 3 weights for each of 128 outputs, once."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.make_model())

    checked = preflight.check(path)

    assert checked.maps_everything
    assert checked.macs == 128 * 8 * 8 * 3
    assert checked.parameter_bytes >= 128 * 8 * 8 * 3


@pytest.mark.parametrize("model", sorted(MODEL_FOLDERS.rglob("*.tflite")), ids=lambda path: path.name)
def test_every_operator_of_the_shipped_networks_maps(model: Path) -> None:
    """Embedder, finder and landmark network."""
    checked = preflight.check(model)

    assert checked.maps_everything, [o for o in checked.operators if o.reasons]


def test_command_shows_the_shipped_networks_and_asks_a_compiler_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without arguments it is about what ships; a compiler that fails makes the exit code 1."""
    program = tmp_path / "edgetpu_compiler"
    program.write_text("#!/bin/sh\necho 'Internal compiler error. Aborting!'\nexit 1\n")

    assert run_preflight() == 0
    assert capsys.readouterr().out.count("operators map") == 3

    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert run_preflight() == 1
    assert "Internal compiler error" in capsys.readouterr().err


def test_command_does_not_call_everything_what_a_compiler_leaves_untold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """27 operations, of which its table has 26: exit code 1, and the words fit it."""
    log = ["Edge TPU Compiler version 16.0", "Model compiled successfully", "Total number of operations: 27"]
    program = tmp_path / "edgetpu_compiler"
    lines = [*(f"echo '{line}'" for line in log), "echo 'CONV_2D 26 Mapped to Edge TPU'"]
    copy = 'cp "$4" "$3/$(basename "$4" .tflite)_edgetpu.tflite"'
    program.write_text("\n".join(["#!/bin/sh", *lines, copy]) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert run_preflight() == 1

    assert (
        "edgetpu_compiler 16.0: less than everything; its log does not tell what" in capsys.readouterr().out
    )


def run_preflight() -> int:
    """Exit code of the command."""
    ended = cli.app(["preflight"], standalone_mode=False)
    return ended if isinstance(ended, int) else 0

"""What is made of the Edge TPU compiler's log; a stand-in prints logs in the forms its users published."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")

from glancein_convert import edge_tpu
from glancein_convert.edge_tpu import compile_model, find_compiler
from glancein_convert.errors import ConversionError

SUCCESS = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 557 ms.

Input model: model.tflite
Input size: 1.71MiB
Output model: model_edgetpu.tflite
Output size: 1.93MiB
On-chip memory used for caching model parameters: 1.80MiB
On-chip memory remaining for caching model parameters: 5.70MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 26
Operation log: model_edgetpu.log

Operator                       Count      Status

PAD                            4          Mapped to Edge TPU
ADD                            5          Mapped to Edge TPU
RESHAPE                        1          Mapped to Edge TPU
CONV_2D                        16         Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""
PARTLY = """Edge TPU Compiler version 16.0.384591198
Model compiled successfully in 141 ms.
Number of Edge TPU subgraphs: 1
Total number of operations: 22
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model \
will instead run on the CPU, which is slower. If possible, consider updating your model to use only \
operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 2
Number of operations that will run on CPU: 20

Operator                       Count      Status

PAD                            1          Mapped to Edge TPU
PAD                            17         More than one subgraph is not supported
TRANSPOSE                      2          Operation not supported
QUANTIZE                       1          Mapped to Edge TPU
QUANTIZE                       1          Operation is otherwise supported, but not mapped due to some \
unspecified limitation
"""
BROKEN = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Internal compiler error. Aborting!
"""
TOO_NEW = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'.
ERROR: Registration failed.

Compilation child process completed within timeout period.
Compilation failed!
Invalid model: model.tflite
Model could not be parsed
"""


def stand_in(folder: Path, log: str, *, writes: bool, code: int = 0) -> Path:
    """A program that takes the compiler's arguments, prints this log and perhaps writes the file."""
    (folder / "log").write_text(log)
    program = folder / "edgetpu_compiler"
    lines = ["#!/bin/sh", '[ "$1" = -s ] && [ "$2" = -o ] || exit 64', f"cat '{folder}/log'"]
    if writes:
        lines.append('cp "$4" "$3/$(basename "$4" .tflite)_edgetpu.tflite"')
    program.write_text("\n".join([*lines, f"exit {code}"]) + "\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Something to compile."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    return path


def test_whole_model_on_the_chip_is_reported_with_its_file(model: Path, tmp_path: Path) -> None:
    """All 26 operators mapped, and the compiled file is there."""
    compiled = compile_model(stand_in(tmp_path, SUCCESS, writes=True), model, tmp_path)

    assert compiled.maps_everything
    assert (compiled.version, compiled.operations) == ("16.0.384591198", 26)
    assert compiled.path.read_bytes() == model.read_bytes()


def test_operators_left_on_the_cpu_are_named_with_the_reason(model: Path, tmp_path: Path) -> None:
    """The same operator may be mapped once and not mapped elsewhere."""
    compiled = compile_model(stand_in(tmp_path, PARTLY, writes=True), model, tmp_path)

    assert not compiled.maps_everything
    assert [(p.name, p.count) for p in compiled.on_cpu] == [("PAD", 17), ("TRANSPOSE", 2), ("QUANTIZE", 1)]
    assert compiled.on_cpu[1].status == "Operation not supported"


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        (BROKEN, 1, "Internal compiler error. Aborting!"),
        (BROKEN, 0, "Internal compiler error. Aborting!"),
        (TOO_NEW, 1, "Model could not be parsed"),
        ("", 139, "exit code 139"),
    ],
)
def test_failure_is_told_in_the_compilers_words(
    model: Path, tmp_path: Path, log: str, code: int, words: str
) -> None:
    """Whatever its exit code, a compiler that wrote nothing has failed."""
    with pytest.raises(ConversionError, match=words):
        compile_model(stand_in(tmp_path, log, writes=False, code=code), model, tmp_path)


def test_success_without_a_file_is_a_failure(model: Path, tmp_path: Path) -> None:
    """The log alone proves nothing."""
    with pytest.raises(ConversionError, match="did not compile"):
        compile_model(stand_in(tmp_path, SUCCESS, writes=False), model, tmp_path)


def test_log_of_another_form_is_not_guessed_at(model: Path, tmp_path: Path) -> None:
    """Without a table nobody can say what was mapped."""
    log = "Edge TPU Compiler version 99\nModel compiled successfully in 1 ms.\nAll fine.\n"

    with pytest.raises(ConversionError, match="another form"):
        compile_model(stand_in(tmp_path, log, writes=True), model, tmp_path)


def test_operations_missing_from_the_table_are_not_taken_for_mapped(model: Path, tmp_path: Path) -> None:
    """27 operations, 26 in the table: not everything is mapped."""
    log = SUCCESS.replace("operations: 26", "operations: 27")

    assert not compile_model(stand_in(tmp_path, log, writes=True), model, tmp_path).maps_everything


def test_compiler_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found where there is one, None where there is none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None

    program = stand_in(tmp_path, SUCCESS, writes=True)

    assert find_compiler() == program


def test_compiler_that_hangs_is_ended(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion does not wait for ever."""
    program = tmp_path / "edgetpu_compiler"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(edge_tpu, "COMPILE_SECONDS", 0.2)

    with pytest.raises(ConversionError, match="took more than"):
        compile_model(program, model, tmp_path)

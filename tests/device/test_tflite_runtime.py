"""The runtime adapter: what it loads, what it refuses, and that threads may share it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from glancein.adapters import tflite_runtime
from glancein.adapters.tflite_runtime import (
    Int8s,
    edge_tpu_present,
    fastest_threads,
    load_runtime,
    open_model,
)
from glancein.errors import ModelError

tiny_model = pytest.importorskip("tests.device.tiny_model", reason="needs ai-edge-litert to write a model")
SHAPE = (1, 112, 112, 3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small int8 file."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.make_model())
    return path


def noise(seed: int) -> Int8s:
    """A random picture."""
    return np.random.default_rng(seed).integers(-128, 128, SHAPE).astype(np.int8)


def test_model_tells_its_shapes_and_scales(model: Path) -> None:
    """What the card is compared with is read from the file."""
    network = open_model(model)

    assert (network.input.shape, network.input.scale, network.input.zero_point) == (SHAPE, 1 / 128, 0)
    (output,) = network.outputs
    assert (output.shape, output.dtype, output.zero_point) == ((1, 128), "int8", 3)
    assert network.delegate_name == "cpu"


def test_outputs_are_those_of_a_plain_int8_convolution(model: Path) -> None:
    """Pooling, convolution and rounding, done once more in numpy."""
    picture = noise(1)

    (found,) = open_model(model).run(picture)

    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (128, 8, 8, 3))
    bias = rng.integers(-500, 500, 128)
    pooled = picture[0].reshape(8, 14, 8, 14, 3).astype(int).sum((1, 3)) / 196
    sums = np.tensordot(weights, np.rint(pooled), 3) + bias
    expected = np.clip(np.rint(sums * (0.001 / 128 / tiny_model.OUTPUT_SCALE)) + 3, -128, 127)
    assert np.abs(found[0] - expected).max() <= 1


def test_result_is_a_copy_that_the_next_run_leaves_alone(model: Path) -> None:
    """A caller may keep what it got."""
    network = open_model(model)
    (first,) = network.run(noise(1))
    kept = first.copy()

    network.run(noise(2))

    assert np.array_equal(first, kept)


def test_threads_that_share_a_network_get_their_own_answers(model: Path) -> None:
    """One interpreter behind a lock: no picture's answer ends up at another's thread."""
    network = open_model(model)
    expected = [network.run(noise(seed))[0] for seed in range(4)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        picture = noise(seed)
        answers = [network.run(picture)[0] for _ in range(50)]
        wrong.extend(seed for answer in answers if not np.array_equal(answer, expected[seed]))

    threads = [threading.Thread(target=work, args=(seed,), name=f"run-{seed}") for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.mark.parametrize(
    "picture",
    [np.zeros((112, 112, 3), np.int8), np.zeros((2, 112, 112, 3), np.int8), np.zeros(SHAPE, np.uint8)],
)
def test_picture_of_another_shape_or_type_is_refused(model: Path, picture: Int8s) -> None:
    """The sentence says what the model takes."""
    with pytest.raises(ModelError, match="the model takes int8"):
        open_model(model).run(picture)


def test_damaged_file_never_reaches_the_runtime(model: Path) -> None:
    """The hash is compared before anything is parsed."""
    good = model.read_bytes()
    model.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))

    with pytest.raises(ModelError, match="damaged"):
        open_model(model, expected_sha256=hashlib.sha256(good).hexdigest())


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 100])
def test_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """Other files are told from models by their mark."""
    path = tmp_path / "model.tflite"
    path.write_bytes(content)

    with pytest.raises(ModelError, match="not a TFLite file"):
        open_model(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The sentence names the file."""
    with pytest.raises(ModelError, match=r"gone\.tflite"):
        open_model(tmp_path / "gone.tflite")


def test_edge_tpu_file_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    """No silent fall-back to a file that the CPU cannot run."""
    path = tmp_path / "model_edgetpu.tflite"
    path.write_bytes(tiny_model.make_model())

    with pytest.raises(ModelError, match="libedgetpu"):
        open_model(path)


def test_absent_runtimes_are_all_named() -> None:
    """Both reasons are shown, and what to install."""
    with pytest.raises(ModelError, match=r"pip install ai-edge-litert .*one: .*two: "):
        load_runtime((("one", "no_such_runtime_1"), ("two", "no_such_runtime_2")))


def test_second_runtime_is_taken_when_the_first_is_absent() -> None:
    """tflite-runtime serves where ai-edge-litert has no wheel."""
    name, _ = load_runtime((("first", "no_such_runtime"), ("second", "ai_edge_litert.interpreter")))

    assert name == "second"


def test_foreign_errors_become_ours(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runtime raises does not leave the adapter."""

    class Broken:
        """A runtime whose interpreter cannot be made."""

        @staticmethod
        def Interpreter(**_options: object) -> object:  # noqa: N802  # the runtime's own name
            """Fail as a real one does."""
            raise RuntimeError("no such operator\nsecond line")

    monkeypatch.setattr(tflite_runtime, "load_runtime", lambda: ("broken", Broken))

    with pytest.raises(ModelError, match=r"cannot be loaded by broken: no such operator$"):
        open_model(model)


def test_edge_tpu_is_seen_on_usb_and_on_pci_express(tmp_path: Path) -> None:
    """Both ids of the stick count, other devices do not."""
    assert not edge_tpu_present(tmp_path)

    device = tmp_path / "sys/bus/usb/devices/1-1"
    device.mkdir(parents=True)
    (device / "idVendor").write_text("1d6b\n")
    (device / "idProduct").write_text("0002\n")
    assert not edge_tpu_present(tmp_path)

    (device / "idVendor").write_text("1a6e\n")
    (device / "idProduct").write_text("089a\n")
    assert edge_tpu_present(tmp_path)

    (device / "idVendor").write_text("0000\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    assert edge_tpu_present(tmp_path)


def test_banner_of_the_runtime_stays_off_stderr(model: Path) -> None:
    """Nothing of the runtime's, all of ours, also what was written while the model was being loaded."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from glancein.adapters import tflite_runtime as t\n"
        "print('before', file=sys.stderr)\n"
        "with t._without_banner():\n"
        "    os.write(2, b'during\\n' + t.BANNER)\n"
        "t.open_model(Path(sys.argv[1]))\n"
        "print('after', file=sys.stderr)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(tflite_runtime.__file__).parents[2])}

    done = subprocess.run(
        [sys.executable, "-c", script, str(model)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )

    assert done.stderr.split() == ["before", "during", "after"]


def test_model_loads_where_there_is_no_stderr(model: Path) -> None:
    """A service may have been started with it closed."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "os.close(2)\n"
        "from glancein.adapters import tflite_runtime as t\n"
        "print(t.open_model(Path(sys.argv[1])).delegate_name)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(tflite_runtime.__file__).parents[2])}

    done = subprocess.run(
        [sys.executable, "-c", script, str(model)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )

    assert done.stdout == "cpu\n"


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 2: 0.5, 4: 0.3}, 4), ({1: 1.0, 2: 0.95, 4: 0.9}, 1), ({1: 1.0, 2: 0.6, 4: 0.58}, 2)],
)
def test_threads_are_chosen_by_measurement(
    seconds: dict[int, float], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More threads only where they are clearly faster."""
    monkeypatch.setattr(tflite_runtime, "_seconds", lambda _path, threads: seconds[threads])

    assert fastest_threads(Path("model.tflite"), candidates=(1, 2, 4)) == chosen


def test_fastest_number_of_threads_is_one_of_those_tried(model: Path) -> None:
    """On this machine, with a real model."""
    assert fastest_threads(model) in {1, 2, 4}

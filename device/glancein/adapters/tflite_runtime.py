"""int8 TFLite files: ai-edge-litert or else tflite-runtime; Edge TPU for ``_edgetpu`` files, else the CPU."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glancein.errors import ModelError

EDGE_TPU_LIBRARY = "libedgetpu.so.1"
EDGE_TPU_SUFFIX = "_edgetpu"
# The accelerator shows up as the first id until its firmware is loaded and as the second from then on.
EDGE_TPU_USB_IDS = frozenset({("1a6e", "089a"), ("18d1", "9302")})
RUNTIMES = (
    ("ai_edge_litert", "ai_edge_litert.interpreter"),
    ("tflite_runtime", "tflite_runtime.interpreter"),
)
# The runtimes print this on stderr and offer no way to stop it (google-ai-edge/LiteRT issue 7420).
BANNER = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
# More threads must be that much faster: they take cores from the camera, the screen and the feed.
WORTH_A_THREAD = 0.85
TIMED_RUNS = 15

Int8s = NDArray[np.int8]

_stderr_lock = threading.Lock()  # the file descriptor belongs to the whole process, and so does this


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: real value = scale * (value - zero_point); scale 0 means not quantised."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    dtype: str


class Network:
    """A loaded model. One interpreter behind a lock: threads may share a Network, one call runs at a time."""

    # Any: the runtimes are untyped.
    def __init__(
        self, interpreter: Any, *, runtime_name: str, delegate_name: str, content: bytes = b""
    ) -> None:
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self.runtime_name = runtime_name
        self.delegate_name = delegate_name
        self.content = content  # the file, from which converters make interpreters of other kernels
        inputs = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        if len(inputs) != 1 or not outputs:
            raise ModelError("the model must have one input and at least one output")
        self.input = _spec(inputs[0])
        self.outputs = tuple(_spec(detail) for detail in outputs)
        self._input_index = int(inputs[0]["index"])
        self._output_indices = [int(detail["index"]) for detail in outputs]

    def run(self, picture: Int8s) -> list[Int8s]:
        """Outputs, in the model's order, for one int8 picture of exactly the input's shape (NHWC).

        Raises ModelError if the shape or type differ or the runtime fails.
        """
        if picture.shape != self.input.shape or picture.dtype != np.int8:
            wanted = f"int8 {self.input.shape}"
            raise ModelError(f"the model takes {wanted}, not {picture.dtype} {picture.shape}")
        with self._lock:
            try:
                self._interpreter.set_tensor(self._input_index, picture)
                self._interpreter.invoke()
                return [self._interpreter.get_tensor(index) for index in self._output_indices]
            except (RuntimeError, ValueError) as err:
                raise ModelError(f"the model failed to run: {_first_line(err)}") from err


def open_model(
    path: Path, *, threads: int = 1, delegate: str | None = None, expected_sha256: str | None = None
) -> Network:
    """Load a .tflite file and make it ready to run.

    delegate: a delegate library; by default the Edge TPU's for files named ``..._edgetpu.tflite``, none for
    others. With ``expected_sha256`` the bytes are compared first, and the runtime sees exactly those bytes.
    Raises ModelError if the file is unreadable or damaged, or the runtime or the delegate is missing.
    """
    content = _read(path, expected_sha256)
    runtime_name, runtime = load_runtime()
    library = delegate
    if library is None and path.stem.endswith(EDGE_TPU_SUFFIX):
        library = EDGE_TPU_LIBRARY
    delegates = None if library is None else [_load_delegate(runtime, library)]
    try:
        with _without_banner():
            interpreter = runtime.Interpreter(
                model_content=content, num_threads=threads, experimental_delegates=delegates
            )
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as err:
        raise ModelError(f"{path} cannot be loaded by {runtime_name}: {_first_line(err)}") from err
    return Network(interpreter, runtime_name=runtime_name, delegate_name=library or "cpu", content=content)


def load_runtime(runtimes: Sequence[tuple[str, str]] = RUNTIMES) -> tuple[str, ModuleType]:
    """Name and module of the first runtime that can be imported. Raises ModelError if there is none."""
    reasons = []
    for name, module in runtimes:
        try:
            return name, importlib.import_module(module)
        except (ImportError, OSError, AttributeError) as err:  # a numpy of the wrong ABI ends in any of these
            reasons.append(f"{name}: {_first_line(err)}")
    raise ModelError(f"no TFLite runtime: pip install ai-edge-litert ({'; '.join(reasons)})")


def fastest_threads(path: Path, *, candidates: Sequence[int] | None = None) -> int:
    """The number of threads that runs this model fastest here; more only if they are clearly faster.

    candidates rise; by default 1, 2 and 4 as far as this process has cores. Raises ModelError.
    """
    cores = len(os.sched_getaffinity(0))
    tried = candidates or [count for count in (1, 2, 4) if count <= cores]
    best, best_s = tried[0], _seconds(path, tried[0])
    for count in tried[1:]:
        took_s = _seconds(path, count)
        if took_s < WORTH_A_THREAD * best_s:
            best, best_s = count, took_s
    return best


def edge_tpu_present(root: Path = Path("/")) -> bool:
    """True if an Edge TPU is plugged in, on USB or PCI Express; nothing is said about its library."""
    if any((root / "dev").glob("apex_*")):
        return True
    for vendor in (root / "sys/bus/usb/devices").glob("*/idVendor"):
        product = vendor.with_name("idProduct")
        try:
            found = vendor.read_text("ascii").strip(), product.read_text("ascii").strip()
        except OSError:
            continue  # unplugged while we looked
        if found in EDGE_TPU_USB_IDS:
            return True
    return False


def _seconds(path: Path, threads: int) -> float:
    """The fastest of some runs: what other programs take from the processor does not count."""
    network = open_model(path, threads=threads)
    picture = np.zeros(network.input.shape, np.int8)
    took_s = []
    for _ in range(TIMED_RUNS):
        started_s = time.perf_counter()
        network.run(picture)
        took_s.append(time.perf_counter() - started_s)
    return min(took_s)


@contextmanager
def _without_banner() -> Iterator[None]:
    """Keep the runtime's banner off stderr; whatever else is written meanwhile follows at the end."""
    with _stderr_lock, tempfile.TemporaryFile() as caught:
        try:
            kept = os.dup(2)
        except OSError:  # a service without stderr
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            if rest := caught.read().replace(BANNER, b""):
                os.write(2, rest)


def _load_delegate(runtime: ModuleType, library: str) -> object:
    try:
        ctypes.CDLL(library)  # first, because the runtime's own Delegate trips over an absent library
        return runtime.load_delegate(library)
    except (ValueError, OSError, RuntimeError) as err:
        advice = "plug in the Edge TPU and install libedgetpu, or use the model without _edgetpu"
        raise ModelError(f"cannot load {library} ({_first_line(err) or 'no device'}): {advice}") from err


def _read(path: Path, expected_sha256: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as err:
        raise ModelError(f"cannot read {path}: {err.strerror}; install the model again") from err
    if expected_sha256 is not None and hashlib.sha256(content).hexdigest() != expected_sha256:
        raise ModelError(f"{path} is damaged (its SHA-256 is not the card's): install the bundle again")
    # The runtime trusts offsets in the file, so what is plainly no TFLite file never reaches it.
    if content[4:8] != b"TFL3":
        raise ModelError(f"{path} is not a TFLite file")
    return content


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    return TensorSpec(
        name=str(detail["name"]),
        shape=tuple(int(n) for n in detail["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
        dtype=np.dtype(detail["dtype"]).name,
    )


def _first_line(err: BaseException) -> str:
    return str(err).strip().split("\n", 1)[0][:200]

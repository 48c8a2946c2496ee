"""The Edge TPU compiler, where there is one: run it, and read in its log what it mapped.

The compiler exists for x86-64 Debian only and could not be had here: this was written from logs that its
users published (github.com/google-coral/edgetpu, issues 60, 189, 317, 490) and is untested on hardware.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from glancein.adapters.tflite_runtime import EDGE_TPU_SUFFIX
from glancein_convert.errors import ConversionError

COMPILER = "edgetpu_compiler"
COMPILE_SECONDS = 300.0
MAPPED = "Mapped to Edge TPU"
SUCCESS = "Model compiled successfully"
# Other lines of a failing log: banners, which say nothing about the cause.
NOISE = (
    "Edge TPU Compiler version",
    "Started a compilation timeout",
    "Compilation child process",
    "ERROR: :",
)

_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_TOTAL = re.compile(r"Total number of operations: (\d+)")
_PLACED = re.compile(r"^([A-Z][A-Z0-9_]*)\s+(\d+)\s+(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Placed:
    """So many operators of one name that share a fate: ``Mapped to Edge TPU`` or the compiler's reason."""

    name: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the compiler said, and the file it wrote."""

    version: str
    path: Path
    operations: int
    placed: tuple[Placed, ...]

    @property
    def on_cpu(self) -> tuple[Placed, ...]:
        """The operators that stay on the CPU, with the reason."""
        return tuple(p for p in self.placed if p.status != MAPPED)

    @property
    def maps_everything(self) -> bool:
        """True if the log accounts for every operation and all of them are mapped."""
        return not self.on_cpu and sum(p.count for p in self.placed) == self.operations


def find_compiler() -> Path | None:
    """The compiler on the PATH, None if there is none."""
    found = shutil.which(COMPILER)
    return None if found is None else Path(found)


def compile_model(program: Path, model: Path, folder: Path) -> Compiled:
    """Compile an int8 file into ``folder/<stem>_edgetpu.tflite``.

    Raises ConversionError with the compiler's own words if it writes nothing, hangs, or logs what this
    version does not understand.
    """
    command = [str(program), "-s", "-o", str(folder), str(model)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)  # noqa: S603  # the program asked for
    except subprocess.TimeoutExpired as err:
        raise ConversionError(f"{COMPILER} took more than {COMPILE_SECONDS:.0f} s with {model}") from err
    except OSError as err:
        raise ConversionError(f"{program} cannot be run: {err.strerror}") from err
    path = folder / f"{model.stem}{EDGE_TPU_SUFFIX}.tflite"
    log = f"{done.stdout}\n{done.stderr}"
    if done.returncode != 0 or SUCCESS not in log or not path.is_file():
        raise ConversionError(f"{COMPILER} did not compile {model.name}: {_cause(log, done.returncode)}")
    return read_log(log, path)


def read_log(log: str, path: Path) -> Compiled:
    """The placement of every operator in a log of ``edgetpu_compiler -s``.

    Raises ConversionError if the log has no version, no count of operations or no table.
    """
    version, total = _VERSION.search(log), _TOTAL.search(log)
    placed = tuple(Placed(name, int(count), status) for name, count, status in _PLACED.findall(log))
    if version is None or total is None or not placed:
        raise ConversionError(
            f"the log of {COMPILER} has another form than that of version 16: read it yourself"
        )
    return Compiled(version.group(1), path, int(total.group(1)), placed)


def _cause(log: str, code: int) -> str:
    """The last line that says something."""
    said = [line.strip() for line in log.splitlines() if line.strip() and not line.strip().startswith(NOISE)]
    return said[-1] if said else f"exit code {code}"

"""Heavy modules stay unimported until something needs them, and the arrows of the architecture hold."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "PIL",
    "ai_edge_litert",
    "amqtt",
    "cv2",
    "matplotlib",
    "paho",
    "pandas",
    "picamera2",
    "rich",
    "sklearn",
    "sqlite_utils",
    "tensorflow",
    "tflite_runtime",
    "torch",
    "typer",
}
LABORATORY = {
    "glancein_convert",
    "glancein_training",
    "matplotlib",
    "pandas",
    "sklearn",
    "tensorflow",
    "torch",
}
PURE = sorted(
    f"glancein.{path.relative_to(ROOT / 'device/glancein').with_suffix('').as_posix().replace('/', '.')}"
    for path in [
        *(ROOT / "device/glancein").glob("*.py"),
        *(ROOT / "device/glancein/domain").glob("[!_]*.py"),
    ]
    if path.stem in {"errors", "types", "ports", "settings", "model_card"} or path.parent.name == "domain"
)


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after one statement."""
    program = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    return set(done.stdout.split())


def test_import_glancein_loads_nothing_heavy() -> None:
    """`import glancein` costs neither cv2 nor paho nor a runtime."""
    assert loaded_by("import glancein") & HEAVY == set()


@pytest.mark.parametrize("module", PURE)
def test_pure_module_loads_nothing_heavy(module: str) -> None:
    """Domain, types, errors and ports can be read on a machine that has only numpy."""
    assert loaded_by(f"import {module}") & HEAVY == set()


def test_command_line_does_not_load_the_laboratory() -> None:
    """The kiosk's program never touches torch, TensorFlow, pandas or the laboratory."""
    assert loaded_by("import glancein.cli") & LABORATORY == set()


def test_newcomers_make_test_needs_no_laboratory() -> None:
    """Without torch, scikit-learn and the converter every test module is read, or skipped with its reason."""
    absent = ["litert_torch", "matplotlib", "pytorch_metric_learning", "scipy", "sklearn", "torch"]
    program = f"""import sys; sys.modules.update(dict.fromkeys({absent})); import pytest
raise SystemExit(pytest.main(['--collect-only', '-qq', '-p', 'no:cacheprovider']))"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout[-2000:]


def test_arrows_of_the_architecture_hold() -> None:
    """import-linter finds no import that points outwards."""
    pytest.importorskip("importlinter", reason="import-linter comes with the [dev] extra")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        env={"PYTHONPATH": "device:training:convert", "PATH": "", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_every_contract_is_named_in_words() -> None:
    """A broken arrow tells the reader what it stands for."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    contracts = [section for section in config.sections() if section.startswith("importlinter:contract:")]

    assert contracts
    assert all(" " in config[section]["name"] for section in contracts)

"""scripts/setup says clearly what is missing, and does nothing the second time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNREACHABLE = "http://127.0.0.1:9/simple"  # the discard port: nobody answers


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what scripts/setup reads, and a place for stand-in programs."""
    for name in ("setup.cfg", "pyproject.toml", "scripts/setup", "README.md", "LICENSE", "NOTICE"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for package in ("device/glancein", "training/glancein_training", "convert/glancein_convert"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    return tmp_path


def set_up(checkout: Path, *, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run scripts/setup in the folder: stand-ins before the real programs, and no package index."""
    environment = {
        "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
        "HOME": str(checkout),
        "PYTHON": python,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": UNREACHABLE,
        "PIP_RETRIES": "0",
    }
    return subprocess.run(
        ["bash", checkout / "scripts/setup", "kiosk"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def stand_in(checkout: Path, name: str, script: str) -> None:
    """A program of this name that does what the script says."""
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_missing_venv_module_is_named_with_its_package(checkout: Path) -> None:
    """Debian without python3-venv: the user is told what to install."""
    stand_in(checkout, "barepython", f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')

    done = set_up(checkout, python="barepython")

    assert done.returncode == 1
    assert "sudo apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_old_python_is_named(checkout: Path) -> None:
    """Nothing from 3.11 on: the user is told which Python is wanted."""
    stand_in(checkout, "oldpython", "exit 1")

    done = set_up(checkout, python="oldpython")

    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr


def test_full_disk_is_named_before_anything_is_written(checkout: Path) -> None:
    """Too little room: the user is told how much is there and how much is needed."""
    stand_in(checkout, "df", "printf 'h\\n/dev/x 100 50 51200 50%% /\\n'")

    done = set_up(checkout)

    assert done.returncode == 1
    assert "50 MB free here, about 900 MB are needed" in done.stderr
    assert not (checkout / ".venv").exists()


def test_missing_network_is_named_and_leaves_no_stamp(checkout: Path) -> None:
    """The package index does not answer: the user is told, and the next run tries again."""
    done = set_up(checkout)

    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr
    assert list((checkout / ".venv").glob("ready-*")) == []


def test_second_run_does_nothing(checkout: Path) -> None:
    """With the stamp of this setup.cfg in place, neither pip nor the network is asked."""
    stand_in(checkout, "df", "exit 1")
    home = f"{checkout} {version_of(sys.executable)} {shutil.which(sys.executable)}"
    text = (checkout / "setup.cfg").read_text() + (checkout / "pyproject.toml").read_text() + home + "\n"
    stamp = subprocess.run(
        ["sha256sum"], input=text, capture_output=True, text=True, check=True
    ).stdout.split()[0]
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    (checkout / ".venv/ready-dev").write_text(stamp + "\n")

    done = set_up(checkout)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def version_of(python: str) -> str:
    """What ``python -V`` prints."""
    return subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()

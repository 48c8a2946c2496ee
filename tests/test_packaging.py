"""setup.cfg says what is there, the base install is light, and nothing slips into the repository."""

from __future__ import annotations

import configparser
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import glancein

ROOT = Path(__file__).resolve().parent.parent
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
PACKAGE_FOLDERS = {
    name.strip(): ROOT / folder.strip()
    for name, folder in (line.split("=") for line in CONFIG["options"]["package_dir"].split("\n") if line)
}
# Networks, templates and pictures; a bigger file does not belong into a repository.
LARGEST_FILE_BYTES = 6_000_000
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
# Written in halves, so that this file does not find itself.
UNWANTED = (
    "/wo" + "rk/",
    "pypi" + ".org",
    "python" + "hosted",
    "/opt/" + "wheels",
    "/opt/" + "pypi",
)


def tracked_files() -> list[Path]:
    """Files under version control that are still there; skipped away from a checkout."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_package_folder_is_listed() -> None:
    """Folders with an __init__.py and the packages of setup.cfg are the same."""
    found = {
        ".".join([name, *init.parent.relative_to(folder).parts])
        for name, folder in PACKAGE_FOLDERS.items()
        for init in folder.rglob("__init__.py")
    }

    assert set(CONFIG["options"]["packages"].split()) == found


@pytest.mark.parametrize("package", PACKAGE_FOLDERS)
def test_every_data_file_travels_in_the_wheel(package: str) -> None:
    """What a package reads beside its code is matched by a pattern of package_data."""
    folder = PACKAGE_FOLDERS[package]
    patterns = CONFIG["options.package_data"].get(package, "").split()
    shipped = {path for pattern in patterns for path in folder.glob(pattern.replace("**", "**/*"))}
    data = {
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts
    }

    assert data - shipped == set()


def test_base_install_stays_light() -> None:
    """No torch, no TensorFlow, no pandas, no matplotlib on a Raspberry Pi."""
    required = re.findall(r"^[A-Za-z0-9_-]+", CONFIG["options"]["install_requires"], re.MULTILINE)

    assert required
    assert not {"torch", "tensorflow", "pandas", "matplotlib", "scikit-learn", "scipy"} & set(required)


def test_numpy_is_not_capped() -> None:
    """picamera2 from apt may need version 1 of numpy, newer OpenCV needs version 2."""
    lines = CONFIG["options"]["install_requires"].split("\n")

    assert [line for line in lines if line.startswith("numpy") and "<" in line] == []


@pytest.mark.parametrize("script", CONFIG["options.entry_points"]["console_scripts"].strip().split("\n"))
def test_console_script_can_be_called(script: str) -> None:
    """Each command that the wheel installs is a function that exists."""
    module, function = script.split("=")[1].strip().split(":")
    if not module.startswith("glancein."):
        pytest.importorskip("torch", reason="the laboratory and the converter need torch")

    assert callable(getattr(importlib.import_module(module), function))


def test_changelog_tells_of_this_version() -> None:
    """The version in the code has its heading, or everything is still unreleased."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert f"## [{glancein.__version__}]" in changelog or "## [Unreleased]" in changelog


def test_no_file_names_a_machine_or_a_registry() -> None:
    """The tree works on any machine and with any package index."""
    guilty = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked_files()
        if path.suffix not in PICTURES | {".tflite", ".npz", ".npy"}
        for word in UNWANTED
        if word.encode() in path.read_bytes()
    ]

    assert guilty == []


def test_no_file_is_too_large() -> None:
    """Nothing above six megabytes is under version control."""
    assert [path for path in tracked_files() if path.stat().st_size > LARGEST_FILE_BYTES] == []


def test_pictures_of_people_are_the_credited_ones() -> None:
    """Every photo in the tree is one of the demo's, and each of those has its source in demo/CREDITS.md."""
    credits_text = (ROOT / "demo/CREDITS.md").read_text(encoding="utf-8")
    photos = [path for path in tracked_files() if path.suffix in PICTURES and "docs" not in path.parts]

    assert {path.parent.name for path in photos} <= {"demo_pictures"}
    assert [path.name for path in photos if f"### {path.name}\n" not in credits_text] == []

"""The picture gate: a broken file is one line, a sound one comes out upright in RGB, memory stays bounded."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.device.hostile import HOSTILE, ODD, Hostile, encoded, flat_png, scene, with_exif_orientation

from glancein.adapters.image_gate import PictureGate, read_picture
from glancein.errors import PhotoError
from glancein.types import Pixels

RSS_LIMIT_KB = 512 * 1024


@pytest.fixture(scope="module")
def gate() -> Iterator[PictureGate]:
    """One gate for all pictures of this file."""
    with PictureGate() as gate:
        yield gate


def close_to_scene(pixels: Pixels, tolerance: float = 12) -> bool:
    """True when a picture looks like the scene."""
    return close_to(pixels, scene(), tolerance)


def close_to(pixels: Pixels, wanted: Pixels, tolerance: float) -> bool:
    """True when each corner and the middle have the wanted colour."""
    spots = [(8, 8), (8, 80), (52, 8), (52, 80), (30, 45)]
    return all(np.abs(pixels[y, x].astype(int) - wanted[y, x]).max() <= tolerance for y, x in spots)


def high_water_kb(pid: int) -> int:
    """Largest resident memory a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_hostile_set_has_sixty_files() -> None:
    """The promise is about at least 60 different files."""
    assert len({case.name for case in HOSTILE}) >= 60


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: repr(case.name))
def test_hostile_file_is_refused_in_one_line_and_leaves_nothing(
    gate: PictureGate, tmp_path: Path, case: Hostile
) -> None:
    """A broken or hostile file gives its reason in one line that names the file, within the memory limit."""
    case.make(tmp_path)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(PhotoError) as refusal:
        gate.read(tmp_path / case.name)

    message = str(refusal.value)
    assert refusal.value.reason == case.reason, message
    assert case.words in message
    assert message.isprintable()
    assert len(message) < 320
    assert sorted(tmp_path.iterdir()) == before
    pid = gate.child_pid()
    assert pid is None or high_water_kb(pid) < RSS_LIMIT_KB


@pytest.mark.parametrize("name", ODD)
def test_odd_file_comes_out_as_rgb(gate: PictureGate, name: str) -> None:
    """16 bits, CMYK, palettes, transparency, second pictures and misleading names all come out right."""
    pixels = gate.read(ODD[name])

    grey = name.startswith("grey")
    wanted = np.asarray(Image.fromarray(scene()).convert("L").convert("RGB")) if grey else scene()
    tolerance = 40 if name.startswith("palette") else 12  # 216 colours are 51 levels apart
    assert pixels.shape == (60, 90, 3)
    assert pixels.dtype == np.uint8
    assert close_to(pixels, wanted, tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_of_turned_camera_is_upright(gate: PictureGate, orientation: int) -> None:
    """All eight EXIF orientations come out as the scene was."""
    pixels = gate.read(with_exif_orientation(orientation))

    assert pixels.shape == (60, 90, 3)
    assert close_to_scene(pixels, 30)


def test_trusted_reading_gives_the_same_pixels(gate: PictureGate) -> None:
    """Decoding in this process changes nothing but the speed."""
    for data in ODD.values():
        assert np.array_equal(read_picture(data, trusted=True), gate.read(data))


def test_trusted_reading_refuses_as_well() -> None:
    """The limits of size and format hold in this process too."""
    with pytest.raises(PhotoError, match="megapixels"):
        read_picture(flat_png(5_000, 5_000), trusted=True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_largest_allowed_picture_fits_in_memory_limit(kind: str) -> None:
    """Sixteen megapixels are read in every format, within 512 MB."""
    data = encoded(kind, size=(4_000, 4_000))

    with PictureGate(timeout_s=60) as gate:
        pixels = gate.read(data)
        pid = gate.child_pid()
        assert pid is not None
        peak_kb = high_water_kb(pid)

    assert pixels.shape == (4_000, 4_000, 3)
    assert peak_kb < RSS_LIMIT_KB


def test_gate_reads_on_after_its_child_was_killed(gate: PictureGate) -> None:
    """A dead child costs nothing but its restart."""
    gate.read(encoded("PNG"))
    pid = gate.child_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    assert close_to_scene(gate.read(encoded("PNG")))


def test_decoder_that_hangs_is_ended_in_time() -> None:
    """A child that does not answer is killed at the limit and the next picture is read."""
    with PictureGate(timeout_s=0.5) as gate:
        gate.read(encoded("PNG"))  # its start is not counted
        pid = gate.child_pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)

        with pytest.raises(PhotoError, match=r"longer than 0\.5 s"):
            gate.read(encoded("PNG"))

        assert close_to_scene(gate.read(encoded("PNG")))


def test_child_has_no_way_to_write_files(gate: PictureGate) -> None:
    """The kernel holds the child to zero bytes of file output and to its memory limit."""
    gate.read(encoded("PNG"))

    limits = Path(f"/proc/{gate.child_pid()}/limits").read_text(encoding="ascii").splitlines()

    sizes = {line[:26].strip(): line[26:].split()[0] for line in limits[1:]}
    assert sizes["Max file size"] == "0"
    assert int(sizes["Max address space"]) <= 512 * 2**20
    assert int(sizes["Max cpu time"]) < 60


def test_many_pictures_use_one_child(gate: PictureGate) -> None:
    """Thousands of pictures are fast because the child stays."""
    first = gate.read(encoded("PNG")), gate.child_pid()

    for _ in range(200):
        gate.read(encoded("JPEG"))

    assert gate.child_pid() == first[1]


def test_threads_share_a_gate_safely(gate: PictureGate) -> None:
    """Pictures asked for at once do not get mixed up."""
    shades = list(range(0, 250, 10))
    files = [encoded("PNG", size=(30 + shade, 40)) for shade in shades]

    with ThreadPoolExecutor(4) as pool:
        heights = [pixels.shape[0] for pixels in pool.map(gate.read, files)]

    assert heights == [30 + shade for shade in shades]


def test_link_to_a_photo_is_followed(gate: PictureGate, tmp_path: Path) -> None:
    """A symbolic link to a regular file is that file."""
    (tmp_path / "photo.png").write_bytes(encoded("PNG"))
    (tmp_path / "link.png").symlink_to("photo.png")

    assert close_to_scene(gate.read(tmp_path / "link.png"))


def test_closed_gate_leaves_no_process() -> None:
    """Closing ends the child."""
    with PictureGate() as gate:
        gate.read(encoded("PNG"))
        pid = gate.child_pid()

    assert not Path(f"/proc/{pid}").exists()

"""The live picture: mirrored, small, in parts that a browser shows at once, and free while nobody looks."""

from __future__ import annotations

import asyncio
import itertools

import cv2
import numpy as np
from tests.web.screen.conftest import wait_until

from glancein.types import Frame, Pixels
from glancein.web.screen.preview import BOUNDARY, Preview, PreviewRules, jpeg, part_of


def left_half_red(width: int, height: int) -> Pixels:
    """A picture whose left half is red."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 250
    return pixels


def decoded(data: bytes) -> Pixels:
    """The picture again, in OpenCV's order of colours."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_picture_is_mirrored_and_keeps_its_colours() -> None:
    """What is left of the camera's picture is right in the mirror, and red stays red."""
    shown = decoded(jpeg(left_half_red(320, 240), PreviewRules()))

    assert shown[120, 300, 2] > 200  # OpenCV's order: blue, green, red
    assert shown[120, 300, 0] < 60
    assert shown[120, 20, 2] < 60


def test_large_picture_is_made_small_and_keeps_its_shape() -> None:
    """Full HD goes out 640 wide, sixteen to nine; a small one is not enlarged."""
    for (width, height), wanted in {(1920, 1080): (360, 640), (320, 240): (240, 320)}.items():
        shown = decoded(jpeg(left_half_red(width, height), PreviewRules()))
        assert shown.shape[:2] == wanted


def test_part_ends_with_the_boundary() -> None:
    """A browser shows a picture once it sees its end, not with the next one."""
    part = part_of(b"picture")

    assert part == (
        b"Content-Type: image/jpeg\r\nContent-Length: 7\r\n\r\npicture\r\n--" + BOUNDARY + b"\r\n"
    )


def test_pictures_are_made_only_while_somebody_looks() -> None:
    """No viewer, no thread, no encoding; the same frame is not sent twice."""
    numbers = itertools.count()
    pixels = left_half_red(64, 48)
    preview = Preview(lambda: Frame(pixels, 0.0, next(numbers)), PreviewRules(fps=200))

    async def story() -> list[bytes]:
        box = preview.look()
        found = [said.data for said in [await box.take(), await box.take()] if said is not None]
        box.close()
        return found

    assert preview.encoded == 0
    assert len(asyncio.run(story())) == 2
    thread = preview._thread
    if thread is not None:
        thread.join(20)
    assert preview._thread is None
    preview.close()


def test_same_frame_is_sent_once() -> None:
    """A camera that stands still costs nothing more."""
    frame = Frame(left_half_red(64, 48), 0.0, 5)
    looks = itertools.count()
    preview = Preview(lambda: (next(looks), frame)[1], PreviewRules(fps=500))

    async def story() -> None:
        box = preview.look()
        await box.take()
        await asyncio.to_thread(wait_until, lambda: next(looks) > 20)
        box.close()

    asyncio.run(story())
    assert preview.encoded == 1
    preview.close()

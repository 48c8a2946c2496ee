"""Every camera word has one meaning, and an unknown one is answered with what to write instead."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain.camera_word import (
    CameraWord,
    NetworkCamera,
    PiCamera,
    PictureFolder,
    UsbCamera,
    VideoFile,
    parse_camera,
)
from glancein.errors import InputError


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("picamera2", PiCamera(0)),
        ("picamera2:1", PiCamera(1)),
        ("usb:0", UsbCamera("/dev/video0")),
        (" usb:12 ", UsbCamera("/dev/video12")),
        ("/dev/video3", UsbCamera("/dev/video3")),
        ("/dev/v4l/by-id/usb-Logi-index0", UsbCamera("/dev/v4l/by-id/usb-Logi-index0")),
        ("door.mp4", VideoFile(PurePath("door.mp4"))),
        ("/srv/clips/DOOR.MKV", VideoFile(PurePath("/srv/clips/DOOR.MKV"))),
        ("pictures/", PictureFolder(PurePath("pictures"))),
        ("demo/pictures", PictureFolder(PurePath("demo/pictures"))),
        ("2026.11/", PictureFolder(PurePath("2026.11"))),
        (".", PictureFolder(PurePath())),
        ("http://cam.lan/video", NetworkCamera("http://cam.lan/video", "http://cam.lan")),
        ("rtsp://[fe80::1]:554/s", NetworkCamera("rtsp://[fe80::1]:554/s", "rtsp://[fe80::1]:554")),
    ],
)
def test_parse_when_the_word_is_known(word: str, meaning: CameraWord) -> None:
    """Each form names its camera."""
    assert parse_camera(word) == meaning


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("", "picamera2, usb:0"),
        ("webcam", "picamera2, usb:0"),
        ("0", "usb:0"),
        ("face.jpg", "DIR/"),
        ("usb:x", "usb:0"),
        ("/dev/sda", "not a video device"),
        ("ftp://host/x", "rtsp"),
        ("rtsp:///stream", "no host"),
        ("rtsp://host:port/x", "cannot be read"),
        ("rtsp://a b/x", "blanks"),
    ],
)
def test_parse_when_the_word_is_unknown(word: str, hint: str) -> None:
    """The error says in one line what to write instead."""
    with pytest.raises(InputError, match=hint) as caught:
        parse_camera(word)

    assert "\n" not in str(caught.value)


def test_parse_when_cameras_are_present() -> None:
    """The error lists the devices that could have been meant."""
    with pytest.raises(InputError, match="here are: /dev/video0, /dev/video2"):
        parse_camera("cam", devices=["/dev/video0", "/dev/video2"])


@pytest.mark.parametrize(
    "word",
    [
        "rtsp://joe:hunter2@10.0.0.7:554/hunter2",
        "rtsp://joe:hunter2@10.0.0.7/user=joe&password=hunter2",
        "http://10.0.0.7/video?password=hunter2",
        "rtsp://joe:hun@hunter2@10.0.0.7/",
    ],
)
def test_name_when_the_address_holds_a_password(word: str) -> None:
    """Neither the name nor the repr of a network camera shows more than scheme, host and port."""
    camera = parse_camera(word)

    assert isinstance(camera, NetworkCamera)
    assert camera.url == word
    assert "hunter2" not in camera.name + repr(camera) + str(camera)
    assert "10.0.0.7" in camera.name


@pytest.mark.parametrize(
    "word",
    [
        "rtsp://joe:hunter2#1@host/x",
        "rtsp://joe:hunter2/1@host/x",
        "rtsp://joe:hunter2?1@host/x",
        "rtsp://joe:hunter2@host:99999/x",
        "rtsp://joe:hunter2@[::1/x",
        "joe:hunter2@host",
    ],
)
def test_parse_when_a_password_breaks_the_address(word: str) -> None:
    """The refusal does not repeat the password."""
    with pytest.raises(InputError) as caught:
        parse_camera(word)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=40))
def test_parse_when_the_word_is_anything(word: str) -> None:
    """Any text is either understood or refused, never a crash."""
    try:
        camera = parse_camera(word)
    except InputError:
        return
    assert camera.name

"""Video files are played, missing cameras are said to be missing, and passwords stay where they are."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from glancein.adapters.camera_opencv import NetworkSource, UsbSource, VideoSource, to_rgb, video_devices
from glancein.capture import Capture, CaptureLimits
from glancein.domain.camera_word import NetworkCamera, UsbCamera, VideoFile, parse_camera
from glancein.errors import CameraError
from glancein.ports import Source
from glancein.types import Pace


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten pictures of 64 x 48 at 20 a second, red growing from 0 by 20."""
    path = tmp_path / "ten.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * number), np.uint8))
    writer.release()
    return path


class FivePictures(BaseHTTPRequestHandler):
    """A camera that sends five reddish pictures as motion JPEG and hangs up."""

    def do_GET(self) -> None:
        """Answer any path."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(5):
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), (20 + number, 40, 160), np.uint8))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the standard library
        """Say nothing."""


@pytest.fixture
def mjpeg_url() -> Iterator[str]:
    """The address of a network camera on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FivePictures)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/video.mjpg"
    server.shutdown()
    server.server_close()
    thread.join()


def test_read_when_the_file_is_a_video(video: Path) -> None:
    """Every picture comes once, in order, in RGB, at its time; then None."""
    source: Source = VideoSource(VideoFile(video))

    source.open()
    pictures = [source.read() for _ in range(10)]
    after = source.read()
    source.close()

    reds = [picture.pixels[24, 32, 0] for picture in pictures if picture is not None]
    assert np.allclose(reds, np.arange(10) * 20, atol=6)
    assert [picture.due_s for picture in pictures if picture is not None] == pytest.approx(np.arange(10) / 20)
    assert pictures[9] is not None
    assert pictures[9].pixels[24, 32, 2] < 20
    assert after is None


def test_capture_when_stepped(video: Path) -> None:
    """As fast as it is read means every picture, however slow the reader."""
    camera = Capture(lambda: VideoSource(VideoFile(video), realtime=False))

    numbers = []
    while (frame := camera.read(5.0)) is not None:
        numbers.append(frame.number)
    camera.close()

    assert numbers == list(range(1, 11))


@pytest.mark.parametrize("content", [b"", b"I am text", b"RIFF" + b"\0" * 3000])
def test_open_when_the_file_is_no_video(tmp_path: Path, content: bytes) -> None:
    """Rubbish called .avi ends in a CameraError that names the file."""
    path = tmp_path / "rubbish.avi"
    path.write_bytes(content)
    source = VideoSource(VideoFile(path))

    with pytest.raises(CameraError, match=r"rubbish\.avi"):
        read_first(source)

    source.close()


def test_read_when_the_video_is_cut(video: Path) -> None:
    """A file that ends too early is played as far as it goes."""
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) * 85 // 100])
    source = VideoSource(VideoFile(video))
    source.open()

    count = 0
    while source.read() is not None:
        count += 1
    source.close()

    assert 2 <= count < 10


def test_open_when_the_video_cannot_be_looked_at(tmp_path: Path) -> None:
    """It is said why, such as that the service's account may not look into somebody's home."""
    source = VideoSource(VideoFile(tmp_path / ("v" * 300 + ".mp4")))

    with pytest.raises(CameraError, match=r"v\.mp4 cannot be read: File name too long"):
        source.open()


def test_open_when_the_video_is_missing(tmp_path: Path) -> None:
    """A missing file is said to be missing."""
    with pytest.raises(CameraError, match="there is no video file"):
        VideoSource(VideoFile(tmp_path / "absent.mp4")).open()


def test_open_when_no_camera_is_plugged_in() -> None:
    """The error names the device that is missing and lists what is there."""
    with pytest.raises(CameraError, match="there is no /dev/video987; plug the camera in; present: "):
        UsbSource(UsbCamera("/dev/video987")).open()


def test_open_when_the_device_is_no_camera() -> None:
    """A device that cannot be a camera is refused without a crash."""
    source = UsbSource(UsbCamera("/dev/null"))

    with pytest.raises(CameraError, match="does not open"):
        source.open()

    source.close()


def test_devices_when_listed() -> None:
    """Only V4L2 device paths are listed."""
    assert all(path.startswith("/dev/video") for path in video_devices())


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_open_when_the_camera_is_away(
    scheme: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing said by us, OpenCV or FFmpeg about a refused connection shows user, password or path."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    word = parse_camera(f"{scheme}://joe:hunter2@127.0.0.1:{port}/hunter2?password=hunter2")
    assert isinstance(word, NetworkCamera)
    camera = Capture(lambda: NetworkSource(word))

    with caplog.at_level(logging.DEBUG), pytest.raises(CameraError) as caught:
        camera.read(0.5)
    camera.close()

    printed = capfd.readouterr()
    said = f"{caught.value!r} {camera.state()} {caplog.text} {printed.out} {printed.err}"
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "hunter2" not in said


def test_capture_when_a_network_camera_hangs_up(mjpeg_url: str) -> None:
    """Pictures come out of a real HTTP stream, and after the camera hung up out of the next one."""
    word = parse_camera(mjpeg_url)
    assert isinstance(word, NetworkCamera)
    limits = CaptureLimits(first_pause_s=0.01, longest_pause_s=0.01)
    camera = Capture(lambda: NetworkSource(word), limits=limits)

    reds = []
    while camera.state().openings < 3:
        frame = camera.read(10.0)
        assert frame is not None
        reds.append(int(frame.pixels[24, 32, 0]) - int(frame.pixels[24, 32, 2]))
    camera.close()

    assert min(reds) > 50
    assert camera.state().last_problem == (
        "has stopped sending pictures; see the network between here and the camera"
    )


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3), (6, 8, 4)])
def test_to_rgb_when_the_camera_sends(shape: tuple[int, ...]) -> None:
    """Grey, BGR and BGRA bytes become an RGB array of their own."""
    sent = np.zeros(shape, np.uint8)
    sent[0, 0] = 7 if len(shape) == 2 or shape[2] == 1 else [1, 2, 3, 4][: shape[2]]

    pixels = to_rgb(sent)

    assert pixels.shape == (6, 8, 3)
    assert pixels[0, 0].tolist() in ([7, 7, 7], [3, 2, 1])
    assert not np.shares_memory(pixels, sent)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((6, 8, 2), np.uint8), ((6, 8, 3), np.float32), ((0, 8, 3), np.uint8), ((6,), np.uint8)],
)
def test_to_rgb_when_the_format_is_odd(shape: tuple[int, ...], kind: type[np.generic]) -> None:
    """Anything else is a CameraError with the shape in it."""
    with pytest.raises(CameraError, match="shape"):
        to_rgb(np.zeros(shape, kind))


def test_read_when_never_opened(video: Path) -> None:
    """Reading before opening is refused, closing is harmless."""
    for source in (UsbSource(UsbCamera("/dev/video0")), VideoSource(VideoFile(video))):
        with pytest.raises(CameraError, match="not open"):
            source.read()
        source.close()


def test_facts_when_unopened(video: Path) -> None:
    """A camera is live, a video has its own pace."""
    assert UsbSource(UsbCamera("/dev/video0")).facts.pace is Pace.LIVE
    assert VideoSource(VideoFile(video)).facts.pace is Pace.RECORDED
    assert VideoSource(VideoFile(video), realtime=False).facts.pace is Pace.STEPPED


def read_first(source: Source) -> None:
    source.open()
    source.read()

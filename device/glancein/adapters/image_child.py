"""The child that decodes pictures: it alone hands foreign bytes to a decoder, under limits it sets on itself.

Run as a script it serves pictures one after the other: a request is the length of the file (8 bytes,
big-endian) and the file; an answer is the length of a JSON header (4 bytes), the header, and the pixels if
there are any. It ends when its input ends. It imports neither glancein nor numpy: it starts quickly and
stays small.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import sys
import time
import warnings
from typing import BinaryIO

from PIL import Image

MAX_PIXELS = 16_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# Measured with Pillow 13: the worst 16-megapixel picture (WebP) needs 290 MB of address space.
MAX_MEMORY_BYTES = 512 * 2**20
MAX_CPU_S = 5
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Refused(Exception):  # noqa: N818  # an answer, not a fault
    """The picture will not be decoded; ``reason`` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def decode(data: bytes) -> Image.Image:
    """An upright picture of mode RGB; transparent parts become white. Raises Refused."""
    _refuse_large_webp(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is Pillow's to skip; the pixels decide
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _refuse_by_header(image)
                image.load()
                return _upright(_as_rgb(image), _orientation(image))
    except Refused:
        raise
    except Image.DecompressionBombError as err:  # this child has switched Pillow's own, higher limit off
        raise Refused(
            "too_large", f"has far more than {MAX_PIXELS // 1_000_000} megapixels: save it smaller"
        ) from err
    except MemoryError as err:
        raise Refused("too_large", "needs more memory than a picture may: save it smaller") from err
    except (
        Exception
    ) as err:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, KeyError ...
        raise Refused(
            "unreadable", f"is damaged or cut short ({_in_short(err)}): save or copy it again"
        ) from err


def refuse_size(width: int, height: int) -> None:
    """Raise Refused for more pixels than anybody needs, or none."""
    if width < 1 or height < 1:
        raise Refused("unreadable", f"has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise Refused(
            "too_large",
            f"has {width} x {height} pixels, {width * height / 1e6:.1f} megapixels; "
            f"the limit is {MAX_PIXELS // 1_000_000}: save it smaller",
        )


def _refuse_by_header(image: Image.Image) -> None:
    refuse_size(*image.size)
    # A JPEG with a second picture behind it (MPO: depth or HDR data of a phone) is still one photo.
    if image.format in {"PNG", "WEBP"} and getattr(image, "n_frames", 1) > 1:
        raise Refused("wrong_format", "is an animation: save one picture of it as JPEG or PNG")


def _refuse_large_webp(data: bytes) -> None:
    """Pillow's WebP reader reserves the whole canvas on opening, so its size is read here first.

    WebP container specification, "Extended File Format": 24-bit canvas width - 1 and height - 1.
    """
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        refuse_size(width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 when there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001  # EXIF is written by everybody, wrongly by many; the picture itself is sound
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey: Pillow's own conversion clips at 255
        return image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    paper = Image.new("RGB", clear.size, "white")
    paper.paste(clear, mask=clear.getchannel("A"))
    return paper


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _in_short(err: Exception) -> str:
    words = " ".join(str(err).split()) or type(err).__name__
    return words[:80]


def main() -> int:
    """Serve until the input ends."""
    source, answer = sys.stdin.buffer, sys.stdout.buffer
    Image.MAX_IMAGE_PIXELS = None  # refuse_size is stricter, and names the size
    _limit_process()
    while (head := source.read(8)) and len(head) == 8:
        data = source.read(struct.unpack(">Q", head)[0])
        _limit_cpu()
        _serve(data, answer)
        del data
    return 0


def _serve(data: bytes, answer: BinaryIO) -> None:
    try:
        image = decode(data)
        header: dict[str, object] = {"width": image.width, "height": image.height}
        pixels = image.tobytes()
    except Refused as refused:
        header, pixels = {"reason": refused.reason, "message": str(refused)}, b""
    except MemoryError:
        header, pixels = {"reason": "too_large", "message": "needs more memory than a picture may"}, b""
    words = json.dumps(header).encode()
    answer.write(struct.pack(">I", len(words)) + words)
    answer.write(pixels)
    answer.flush()


def _limit_process() -> None:
    """Bound memory, allow no file to be written and no core dump."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_cpu() -> None:
    """Give this picture MAX_CPU_S of processor time; the kernel counts from the start of the process."""
    used_s = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted_s = int(used_s) + MAX_CPU_S + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (wanted_s if hard == resource.RLIM_INFINITY else min(wanted_s, hard), hard)
    )


if __name__ == "__main__":
    raise SystemExit(main())

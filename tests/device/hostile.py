"""Broken and hostile picture files, made on the spot: what people upload by mistake and attackers craft."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from glancein.types import Pixels

Make = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file that must be refused: how to write it, the reason, and words the one line must hold."""

    name: str
    make: Make
    reason: str
    words: str


def scene(height: int = 60, width: int = 90) -> Pixels:
    """A small picture whose four corners differ: red, green, blue and white on grey."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    h, w = height // 3, width // 3
    pixels[:h, :w] = (220, 20, 20)
    pixels[:h, -w:] = (20, 200, 20)
    pixels[-h:, :w] = (20, 20, 220)
    pixels[-h:, -w:] = (250, 250, 250)
    return pixels


def encoded(kind: str, mode: str = "RGB", *, size: tuple[int, int] = (60, 90), **options: object) -> bytes:
    """The scene as a file in memory."""
    file = io.BytesIO()
    Image.fromarray(scene(*size)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 2, body: bytes = b"", end: bool = True
) -> bytes:
    """A PNG whose header says what it likes, whatever the body holds."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", body)
        + (_chunk(b"IEND", b"") if end else b"")
    )


def flat_png(width: int, height: int) -> bytes:
    """A valid one-colour PNG of any size in few bytes: the decompression bomb."""
    row = b"\0" * ((width + 7) // 8 + 1)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png(width, height, depth=1, colour=0, body=body)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _bmp(width: int, height: int, bits: int = 24) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 300, 0, 0, 54) + info + b"\x55" * 300


def _jpeg_claiming(width: int, height: int) -> bytes:
    """A real JPEG whose frame header is rewritten to a larger size."""
    data = bytearray(encoded("JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _webp_claiming(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is said to be huge."""
    data = bytearray(encoded("WEBP", "RGBA", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"))
    assert data[12:16] == b"VP8X"
    data[24:27] = (width - 1).to_bytes(3, "little")
    data[27:30] = (height - 1).to_bytes(3, "little")
    return bytes(data)


def _animation(kind: str) -> bytes:
    frames = [Image.fromarray(np.full((40, 40, 3), shade, np.uint8)) for shade in (10, 120, 240)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100)
    return file.getvalue()


def _cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _noise_after(head: bytes, length: int = 4000) -> bytes:
    return head + np.random.default_rng(7).bytes(length)


def _damaged_png() -> bytes:
    data = bytearray(encoded("PNG", size=(200, 300)))
    middle = data.index(b"IDAT") + 12
    data[middle : middle + 8] = b"\xaa" * 8
    return bytes(data)


def _text_bomb_png() -> bytes:
    """Compressed text of 200 MB in a PNG's side chunk, before the picture."""
    packer = zlib.compressobj(9)
    million = b"a" * 1_000_000
    body = b"".join(packer.compress(million) for _ in range(200)) + packer.flush()
    data = encoded("PNG")
    return data[:33] + _chunk(b"zTXt", b"Comment\0\0" + body) + data[33:]


def _write(name: str, data: bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(data)


def _tiff() -> bytes:
    return encoded("TIFF")


def _ftyp(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 100


def _folder(folder: Path) -> None:
    (folder / "folder.jpg").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")


def _link(name: str, target: str) -> Make:
    return lambda folder: (folder / name).symlink_to(target)


def _sparse(folder: Path) -> None:
    with (folder / "sparse.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(3 * 2**30)


def _unreadable(folder: Path) -> None:
    (folder / "missing-target.jpg").symlink_to(folder / "nowhere.jpg")


JPEG = encoded("JPEG", size=(200, 300))
PNG = encoded("PNG", size=(200, 300))
WEBP = encoded("WEBP", size=(200, 300))
BMP = encoded("BMP", size=(200, 300))
BAD, FOREIGN, LARGE = "unreadable", "wrong_format", "too_large"

HOSTILE: tuple[Hostile, ...] = (
    Hostile("zero-bytes.jpg", _write("zero-bytes.jpg", b""), BAD, "empty"),
    Hostile("text.jpg", _write("text.jpg", b"I am not a photo.\n"), FOREIGN, "text"),
    Hostile("html.png", _write("html.png", b"<!doctype html><html><body>404</body></html>"), FOREIGN, "text"),
    Hostile("json.webp", _write("json.webp", b'{"error": "not found"}'), FOREIGN, "text"),
    Hostile("drawing.svg", _write("drawing.svg", b'<?xml version="1.0"?><svg xmlns="x"/>'), FOREIGN, "SVG"),
    Hostile("svg.jpg", _write("svg.jpg", b"\xef\xbb\xbf <svg onload='alert(1)'></svg>"), FOREIGN, "SVG"),
    Hostile("scan.pdf", _write("scan.pdf", b"%PDF-1.7\n%\xe2\xe3\n"), FOREIGN, "PDF"),
    Hostile("pdf.jpg", _write("pdf.jpg", b"%PDF-1.4 ..."), FOREIGN, "export the page"),
    Hostile("photo.heic", _write("photo.heic", _ftyp(b"heic")), FOREIGN, "HEIC"),
    Hostile("heic.jpg", _write("heic.jpg", _ftyp(b"mif1")), FOREIGN, "convert it to JPEG"),
    Hostile("photo.avif", _write("photo.avif", _ftyp(b"avif")), FOREIGN, "AVIF"),
    Hostile("clip.mp4", _write("clip.mp4", _ftyp(b"isom")), FOREIGN, "video"),
    Hostile("clip.avi", _write("clip.avi", b"RIFF\0\0\0\0AVI LIST"), FOREIGN, "video"),
    Hostile("sound.wav", _write("sound.wav", b"RIFF\x24\0\0\0WAVEfmt \x10"), FOREIGN, "not a picture"),
    Hostile("photo.tif", _write("photo.tif", _tiff()), FOREIGN, "TIFF"),
    Hostile("tiff-be.jpg", _write("tiff-be.jpg", b"MM\0*\0\0\0\x08"), FOREIGN, "TIFF"),
    Hostile("smile.gif", _write("smile.gif", _animation("GIF")), FOREIGN, "GIF"),
    Hostile("gif.png", _write("gif.png", encoded("GIF", "P")), FOREIGN, "GIF"),
    Hostile("photo.jp2", _write("photo.jp2", b"\0\0\0\x0cjP  \r\n\x87\n"), FOREIGN, "JPEG 2000"),
    Hostile("photo.jxl", _write("photo.jxl", b"\xff\x0a\xfa\x1f\x01"), FOREIGN, "JPEG XL"),
    Hostile("layers.psd", _write("layers.psd", b"8BPS\0\x01"), FOREIGN, "Photoshop"),
    Hostile("photos.zip", _write("photos.zip", b"PK\x03\x04\x14\0"), FOREIGN, "archive"),
    Hostile("raw.ppm", _write("raw.ppm", b"P6\n2 2\n255\n" + b"\x01" * 12), FOREIGN, "picture"),
    Hostile(
        "program.jpg", _write("program.jpg", b"\x7fELF\x02\x01\x01" + b"\0" * 64), FOREIGN, "not a picture"
    ),
    Hostile("random.jpg", _write("random.jpg", _noise_after(b"\x80\x81")), FOREIGN, "not a picture"),
    Hostile("nul.jpg", _write("nul.jpg", b"\0" * 5000), FOREIGN, "not a picture"),
    Hostile("animated.webp", _write("animated.webp", _animation("WEBP")), FOREIGN, "animation"),
    Hostile("animated.png", _write("animated.png", _animation("PNG")), FOREIGN, "animation"),
    Hostile("jpeg-half.jpg", _write("jpeg-half.jpg", _cut(JPEG, 0.5)), BAD, "cut short"),
    Hostile("jpeg-tail.jpg", _write("jpeg-tail.jpg", _cut(JPEG, 0.95)), BAD, "cut short"),
    Hostile("jpeg-head.jpg", _write("jpeg-head.jpg", JPEG[:20]), BAD, "damaged"),
    Hostile("jpeg-3-bytes.jpg", _write("jpeg-3-bytes.jpg", JPEG[:3]), BAD, "damaged"),
    Hostile("jpeg-noise.jpg", _write("jpeg-noise.jpg", _noise_after(b"\xff\xd8\xff\xe0")), BAD, "damaged"),
    Hostile("png-half.png", _write("png-half.png", _cut(PNG, 0.5)), BAD, "cut short"),
    Hostile("png-head.png", _write("png-head.png", PNG[:33]), BAD, "damaged"),
    Hostile("png-magic.png", _write("png-magic.png", PNG[:8]), BAD, "damaged"),
    Hostile("png-noise.png", _write("png-noise.png", _noise_after(PNG[:8])), BAD, "damaged"),
    Hostile("png-damaged.png", _write("png-damaged.png", _damaged_png()), BAD, "damaged"),
    Hostile("png-no-data.png", _write("png-no-data.png", png(40, 40)), BAD, "damaged"),
    Hostile(
        "png-short-data.png",
        _write("png-short-data.png", png(400, 400, body=zlib.compress(b"\0" * 99))),
        BAD,
        "damaged",
    ),
    Hostile("png-0x0.png", _write("png-0x0.png", png(0, 0)), BAD, ""),
    Hostile("png-bad-depth.png", _write("png-bad-depth.png", png(9, 9, depth=3, colour=6)), BAD, "damaged"),
    Hostile("webp-half.webp", _write("webp-half.webp", _cut(WEBP, 0.5)), BAD, "damaged"),
    Hostile("webp-head.webp", _write("webp-head.webp", WEBP[:16]), BAD, "damaged"),
    Hostile("webp-noise.webp", _write("webp-noise.webp", _noise_after(WEBP[:20])), BAD, "damaged"),
    Hostile("bmp-half.bmp", _write("bmp-half.bmp", _cut(BMP, 0.5)), BAD, "cut short"),
    Hostile("bmp-head.bmp", _write("bmp-head.bmp", BMP[:20]), BAD, "damaged"),
    Hostile("bmp-13-bits.bmp", _write("bmp-13-bits.bmp", _bmp(10, 10, bits=13)), BAD, "damaged"),
    Hostile("bmp-0-wide.bmp", _write("bmp-0-wide.bmp", _bmp(0, 10)), BAD, ""),
    Hostile(
        "bomb-20000.png",
        _write("bomb-20000.png", flat_png(20_000, 20_000)),
        LARGE,
        "400.0 megapixels; the limit is 16",
    ),
    Hostile("bomb-13000.png", _write("bomb-13000.png", flat_png(13_000, 13_000)), LARGE, "169.0 megapixels"),
    Hostile("just-over.png", _write("just-over.png", flat_png(4_001, 4_000)), LARGE, "the limit is 16"),
    Hostile("line-20m.png", _write("line-20m.png", png(20_000_000, 1)), LARGE, "megapixels"),
    Hostile("overflow.png", _write("overflow.png", png(2**31 - 1, 2**31 - 1)), LARGE, "megapixels"),
    Hostile("bomb-65500.jpg", _write("bomb-65500.jpg", _jpeg_claiming(65_500, 65_500)), LARGE, "megapixels"),
    Hostile(
        "bomb-16000.webp", _write("bomb-16000.webp", _webp_claiming(16_000, 16_000)), LARGE, "megapixels"
    ),
    Hostile("bomb-30000.bmp", _write("bomb-30000.bmp", _bmp(30_000, 30_000)), LARGE, "megapixels"),
    Hostile("negative.bmp", _write("negative.bmp", _bmp(-5, 10)), LARGE, "megapixels"),
    Hostile("text-bomb.png", _write("text-bomb.png", _text_bomb_png()), BAD, "damaged"),
    Hostile("sparse.jpg", _sparse, LARGE, "3221 MB; the limit is 50 MB"),
    Hostile("folder.jpg", _folder, BAD, "folder"),
    Hostile("pipe.jpg", _pipe, BAD, "pipe"),
    Hostile("zero-device.jpg", _link("zero-device.jpg", "/dev/zero"), BAD, "device"),
    Hostile("memory.jpg", _link("memory.jpg", "/proc/self/mem"), BAD, "empty"),
    Hostile("loop.jpg", _link("loop.jpg", "loop.jpg"), BAD, "cannot be read"),
    Hostile("missing-target.jpg", _unreadable, BAD, "No such file"),
    Hostile("missing.jpg", lambda _: None, BAD, "No such file"),
    Hostile("line\nbreak\x1b[31m.jpg", _write("line\nbreak\x1b[31m.jpg", b"no"), FOREIGN, "line?break?[31m"),
)


def with_exif_orientation(orientation: int) -> bytes:
    """The scene, stored as a camera held that way stores it, as a JPEG (EXIF 2.3, tag 0x0112)."""
    stored: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    image = Image.fromarray(np.ascontiguousarray(stored[orientation](scene())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def _grey16_png() -> bytes:
    grey = np.asarray(Image.fromarray(scene()).convert("L"), np.uint16) * 257
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


def _rgb16_png() -> bytes:
    wide = (scene().astype(">u2") * 257).tobytes()
    rows = b"".join(b"\0" + wide[i * 540 : (i + 1) * 540] for i in range(60))
    return png(90, 60, depth=16, colour=2, body=zlib.compress(rows))


def _transparent(kind: str) -> bytes:
    """The scene with its last corner cut out: transparent black where white must come out."""
    image = Image.fromarray(scene()).convert("RGBA")
    image.paste((0, 0, 0, 0), (60, 40, 90, 60))
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def _palette_alpha() -> bytes:
    image = Image.open(io.BytesIO(_transparent("PNG"))).quantize(16)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _phone_pair() -> bytes:
    """A JPEG with a second picture behind it, as phones store depth or HDR data (MPO)."""
    image = Image.fromarray(scene())
    file = io.BytesIO()
    image.save(file, "MPO", save_all=True, append_images=[image.resize((30, 20))])
    return file.getvalue()


def _broken_exif() -> bytes:
    data = bytearray(with_exif_orientation(1))
    start = data.index(b"Exif\0\0") + 6
    data[start + 4 : start + 8] = b"\xff\xff\xff\xff"
    return bytes(data)


def _with_profile() -> bytes:
    return encoded(
        "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), quality=95
    )


# Odd but sound: each must come out as the scene.
ODD: dict[str, bytes] = {
    "plain.jpg": encoded("JPEG", quality=95),
    "progressive.jpg": encoded("JPEG", quality=95, progressive=True),
    "grey.jpg": encoded("JPEG", "L", quality=95),
    "cmyk.jpg": encoded("JPEG", "CMYK", quality=95),
    "profile.jpg": _with_profile(),
    "phone-pair.jpg": _phone_pair(),
    "broken-exif.jpg": _broken_exif(),
    "zip-behind.jpg": encoded("JPEG", quality=95) + b"PK\x03\x04 and more",
    "plain.png": encoded("PNG"),
    "grey-alpha.png": encoded("PNG", "LA"),
    "palette.png": encoded("PNG", "P"),
    "palette-alpha.png": _palette_alpha(),
    "alpha.png": _transparent("PNG"),
    "grey16.png": _grey16_png(),
    "rgb16.png": _rgb16_png(),
    "plain.webp": encoded("WEBP", quality=95),
    "alpha.webp": _transparent("WEBP"),
    "plain.bmp": encoded("BMP"),
    "palette.bmp": encoded("BMP", "P"),
    "png-called.jpg": encoded("PNG"),
}

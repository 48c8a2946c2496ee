"""From a log of system calls to every disk that a power cut could leave behind.

After ALICE (Pillai et al., OSDI 2014). What was written and not yet synced may be on the disk or not, each
write by itself, and the last one may be torn between two sectors of 512 bytes. What was synced is there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
DESCRIPTOR = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at a place, or a new length when ``data`` is None."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class Disk:
    """Every file as it surely is, and what was written to it since."""

    durable: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, list[Write]] = field(default_factory=dict)
    promised: int = 0  # the last number that was shown


def crash_states(
    log: Path, folder: Path, *, seed: int, variants: int
) -> Iterator[tuple[dict[str, bytes], int]]:
    """The files of each possible disk, and how many events had been shown by then.

    After every call that changes the disk: nothing of what waits, all of it, and ``variants`` random parts.
    """
    rng = random.Random(seed)
    disk = Disk()
    for line in log.read_text().splitlines():
        if not _apply(disk, line, folder):
            continue
        yield _cut(disk, lambda _: False, None), disk.promised
        yield _cut(disk, lambda _: True, None), disk.promised
        for _ in range(variants):
            yield _cut(disk, lambda _: rng.random() < 0.5, rng), disk.promised


def _apply(disk: Disk, line: str, folder: Path) -> bool:
    """Follow one line of the log; True if the disk or the promise changed."""
    call = CALL.match(line)
    if call is None:
        return False
    if int(call[3]) < 0:
        return _forget_unsynced(disk, call[1], call[2], folder)
    name, arguments = call[1], call[2]
    if name == "write" and arguments.startswith("1<"):
        text = _bytes(TEXT.search(arguments))
        disk.promised = int(text.split()[1])
        return True
    path = _path(name, arguments)
    if path is None or path.parent != folder or path.name.endswith("-shm"):
        return False
    return _change(disk, name, path.name, arguments)


def _forget_unsynced(disk: Disk, name: str, arguments: str, folder: Path) -> bool:
    """After a failed sync the system may have thrown away what it did not write, and say so only once."""
    path = _path(name, arguments) if name in {"fsync", "fdatasync"} else None
    if path is None or path.parent != folder:
        return False
    disk.waiting.get(path.name, []).clear()
    return True


def _change(disk: Disk, name: str, file: str, arguments: str) -> bool:
    waiting = disk.waiting.setdefault(file, [])
    match name:
        case "pwrite64":
            waiting.append(Write(int(arguments.rsplit(", ", 1)[1]), _bytes(TEXT.search(arguments))))
        case "ftruncate":
            waiting.append(Write(int(arguments.rsplit(", ", 1)[1]), None))
        case "fsync" | "fdatasync":
            disk.durable[file] = _replayed(disk.durable.get(file, b""), waiting)
            waiting.clear()
        case "unlink":
            disk.durable.pop(file, None)
            waiting.clear()
        case _:
            return False
    return True


def _cut(disk: Disk, keep: object, rng: random.Random | None) -> dict[str, bytes]:
    """The files after a power cut now; ``keep`` decides write by write."""
    assert callable(keep)
    files: dict[str, bytes] = dict(disk.durable)
    for name, waiting in disk.waiting.items():
        kept = [write for write in waiting if keep(write)]
        if kept and rng is not None:
            kept[-1] = _torn(kept[-1], rng)
        if kept or name in files:
            files[name] = _replayed(files.get(name, b""), kept)
    return files


def _torn(write: Write, rng: random.Random) -> Write:
    if write.data is None or len(write.data) <= SECTOR or rng.random() < 0.5:
        return write
    return Write(write.offset, write.data[: SECTOR * rng.randrange(1, len(write.data) // SECTOR + 1)])


def _replayed(content: bytes, writes: list[Write]) -> bytes:
    image = bytearray(content)
    for write in writes:
        if write.data is None:
            del image[write.offset :]
            image.extend(bytes(write.offset - len(image)))
            continue
        image.extend(bytes(max(0, write.offset - len(image))))
        image[write.offset : write.offset + len(write.data)] = write.data
    return bytes(image)


def _path(name: str, arguments: str) -> Path | None:
    if name == "unlink":
        return Path(_bytes(TEXT.search(arguments)).decode())
    descriptor = DESCRIPTOR.match(arguments)
    return None if descriptor is None else Path(bytes.fromhex(descriptor[2].replace("\\x", "")).decode())


def _bytes(found: re.Match[str] | None) -> bytes:
    assert found is not None
    return bytes.fromhex(found[1].replace("\\x", ""))

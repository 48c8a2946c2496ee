"""The face finder: an int8 network over the whole picture, a window that follows a face, or tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from glancein.adapters.bundle_folder import open_bundle
from glancein.adapters.tflite_runtime import Network, TensorSpec
from glancein.domain import detect
from glancein.domain import landmarks as look
from glancein.domain.quantize import pixels_to_int8, to_float
from glancein.errors import ModelError
from glancein.model_card import ModelCard
from glancein.types import Box, Face, Floats, Pixels

LANDMARKS_FILE = "landmarks.tflite"
CHANNELS = (1, 4, 2 * detect.LANDMARKS)  # of score, box, landmarks
LOOK_CHANNELS = (look.POINTS + 1, 2 * look.POINTS)  # of the second network's weights and offsets
# A face that fills this share of the input is seen best: fine landmarks, and the context is still there.
BEST_SHARE = 0.40
# A window for a moving face is wider: at 15 frames a second a walking head moves by less than half its width.
FOLLOW_SHARE = 0.33
# Boxes from this score on are proposals; the second look joins in the decision which of them are faces.
PROPOSED = 0.3
# On cards, with ghost images and print, the first network has to be sure from near by itself; where nobody
# proposed from the first of these scores on is confirmed, fainter proposals get the closer look too.
ON_CARDS = (0.5, 0.35, 0.2)
# Intersection over union of two sights of one face; two people do not overlap that far.
SAME_FACE = 0.3
JUDGED = 3  # proposals per frame, the best: who stands in front, and enough to see somebody beside
SETTLED_SHARE = 0.08  # of the face's size: a first look that moves the landmarks less has seen them well
PADDING = 128  # int8 zero: the colour beside a picture that does not fill the input


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a picture, whole pixels, inside the picture."""

    left: int
    top: int
    width: int
    height: int


class TfliteFaceFinder:
    """Finds upright faces (tilted up to 40 degrees) with five landmarks; ``search`` takes any quarter turn.

    model: the bundle folder with ``card.json``. Raises ModelError if it is missing, damaged, or no finder's.
    """

    def __init__(self, model: Path, *, threads: int = 1, threshold: float | None = None) -> None:
        """``threshold``, a probability, overrules the card's."""
        bundle = open_bundle(model, "finder", threads=threads)
        self.card: ModelCard = bundle.card
        if self.card.finding is None or LANDMARKS_FILE not in self.card.files:
            raise ModelError(
                f"{model}: the card lacks the threshold or {LANDMARKS_FILE}: install the bundle again"
            )
        self._threshold = self.card.finding.score_threshold if threshold is None else threshold
        self._proposed = min(PROPOSED, self._threshold)
        self._pass = _Pass(bundle.network)
        self._points = _Points(bundle.companions[LANDMARKS_FILE])

    def find(self, pixels: Pixels) -> list[Face]:
        """Faces of one RGB picture (h, w, 3), best score first, the best ones judged and refined closely."""
        return self._judge(pixels, self._pass.run(pixels, _whole(pixels), self._proposed))

    def find_near(self, pixels: Pixels, box: Box) -> list[Face]:
        """Faces around the last known box, seen larger and so better; else those of the whole picture."""
        near = self._pass.run(pixels, self._window_around(pixels, box, FOLLOW_SHARE), self._proposed)
        return self._judge(pixels, near) or self.find(pixels)

    def search(self, pixels: Pixels) -> list[Face]:
        """Faces of a scanned badge: small ones too and turned by a quarter, half or three quarters.

        Landmarks are named as in the upright face, in pixels of the given picture; best score first.
        """
        for proposing in ON_CARDS:
            if found := self._search(pixels, proposing):
                return found
        return []

    def _search(self, pixels: Pixels, proposing: float) -> list[Face]:
        """Faces proposed in the pyramid of each turn from this score on and confirmed by a closer look."""
        found: list[Face] = []
        for turns in range(4):
            turned = np.ascontiguousarray(np.rot90(pixels, turns))
            seen = [f for window in _pyramid(turned) for f in self._pass.run(turned, window, proposing)]
            checked = [self._second_opinion(turned, face) for face in _distinct(seen)]
            found.extend(_turn_back(face, turns, pixels.shape) for face in checked if face is not None)
        return _distinct(found)

    def glance(self, pixels: Pixels) -> list[Face]:
        """One pass over the whole picture and nothing else: rough landmarks, the first network's scores."""
        return self._pass.run(pixels, _whole(pixels), self._threshold)

    def _judge(self, pixels: Pixels, proposals: list[Face]) -> list[Face]:
        """Those of the proposals (best first) that are faces; the best of them had their closer look."""
        looked = [self._look(pixels, face) for face in proposals[:JUDGED]]
        faces = [face for face in [*looked, *proposals[JUDGED:]] if face.score >= self._threshold]
        return detect.without_repeats(sorted(faces, key=lambda face: -face.score))

    def _look(self, pixels: Pixels, face: Face) -> Face:
        """The face after its closer look, or two: exact landmarks, and the score of both networks."""
        proposed = face.score
        for _ in range(2):
            before, face = face, self._points.put(pixels, face, proposed)
            moved_px = float(np.hypot(*(face.landmarks - before.landmarks).T).mean())
            if moved_px < SETTLED_SHARE * math.sqrt(max(face.box.width * face.box.height, 1.0)):
                break
        return face

    def _second_opinion(self, pixels: Pixels, face: Face) -> Face | None:
        """The face seen larger by both networks, with that look's score; None if it is no face there."""
        looks = self._pass.run(pixels, self._window_around(pixels, face.box, BEST_SHARE), ON_CARDS[0])
        if not looks:
            return None
        shared = detect.overlaps(_edges([face]), _edges(looks))[0]
        if shared.max() <= SAME_FACE:
            return None
        seen = self._look(pixels, looks[int(np.argmax(shared))])
        return seen if seen.score >= self._threshold else None

    def _window_around(self, pixels: Pixels, box: Box, share: float) -> Window:
        """The rectangle of the input's shape in which the box fills about this share of the height."""
        size = math.sqrt(max(box.width, 1.0) * max(box.height, 1.0))
        height = size / share
        width = height * self._pass.width / self._pass.height
        left = max(0, round(box.left + box.width / 2 - width / 2))
        top = max(0, round(box.top + box.height / 2 - height / 2))
        right = min(pixels.shape[1], round(box.left + box.width / 2 + width / 2))
        bottom = min(pixels.shape[0], round(box.top + box.height / 2 + height / 2))
        if right - left < 8 or bottom - top < 8:  # the box lies outside the picture
            return _whole(pixels)
        return Window(left, top, right - left, bottom - top)


class _Pass:
    """One run of the network over one window of a picture."""

    def __init__(self, network: Network) -> None:
        self._network = network
        _, self.height, self.width, _ = network.input.shape
        self._order = _order_of(network)

    def run(self, pixels: Pixels, window: Window, threshold: float) -> list[Face]:
        """Faces in the window, in pixels of the whole picture."""
        canvas, scale = _fit(pixels, window, self.width, self.height)
        outputs = self._network.run(pixels_to_int8(canvas)[None])
        levels = [
            detect.Level(stride, *(_plane(outputs[i], self._network.outputs[i]) for i in which))
            for stride, which in self._order
        ]
        found = detect.suppress(detect.decode(levels, threshold=threshold))
        return detect.to_faces(found, input_px_per_px=scale, left=window.left, top=window.top)


class _Points:
    """The second network: landmarks of one face brought to a fixed pose, and whether it is one."""

    def __init__(self, network: Network) -> None:
        grids = {spec.shape[3]: index for index, spec in enumerate(network.outputs) if len(spec.shape) == 4}
        if network.input.shape != (1, look.LOOK_PX, look.LOOK_PX, 3) or set(grids) != set(LOOK_CHANNELS):
            raise ModelError(
                f"{LANDMARKS_FILE} does not vote on looks of {look.LOOK_PX} px: install the bundle again"
            )
        self._network = network
        self._order = [grids[channels] for channels in LOOK_CHANNELS]

    def put(self, pixels: Pixels, face: Face, proposed: float) -> Face:
        """The face with better landmarks and a better score, given the finder's; as it was without a pose."""
        try:
            matrix = look.look_matrix(face.landmarks)
        except ValueError:
            return face
        outputs = self._network.run(pixels_to_int8(look.cut(pixels, matrix))[None])
        weights, offsets = (
            to_float(outputs[i][0], scale=spec.scale, zero_point=spec.zero_point)
            for i, spec in ((i, self._network.outputs[i]) for i in self._order)
        )
        points = look.to_points(weights[..., : look.POINTS], offsets, matrix)
        return replace(face, landmarks=points, score=look.joint_score(proposed, weights[..., look.POINTS]))


def _order_of(network: Network) -> list[tuple[int, list[int]]]:
    """For each stride, finest first, where score, box and landmarks stand among the outputs."""
    _, height, _, _ = network.input.shape
    by_stride: dict[int, dict[int, int]] = {}
    for index, output in enumerate(network.outputs):
        _, rows, _, channels = output.shape
        by_stride.setdefault(round(height / rows), {})[channels] = index
    if any(set(channels) != set(CHANNELS) for channels in by_stride.values()):
        raise ModelError(
            "the finder's outputs are not score, box and landmarks of each grid: install the bundle again"
        )
    return [(stride, [by_stride[stride][n] for n in CHANNELS]) for stride in sorted(by_stride)]


def _plane(stored: NDArray[np.int8], spec: TensorSpec) -> detect.Plane:
    return detect.Plane(stored[0], spec.scale, spec.zero_point)


def _whole(pixels: Pixels) -> Window:
    return Window(0, 0, pixels.shape[1], pixels.shape[0])


def _fit(pixels: Pixels, window: Window, width: int, height: int) -> tuple[Pixels, float]:
    """The window in the top left corner of a (height, width) canvas, and the scale it was brought to.

    Shrinking halves by area first and ends with one linear step: free of aliasing, and five times as fast as
    one step by area (0.2 instead of 1.1 ms for 640 x 480, measured).
    """
    part = pixels[window.top : window.top + window.height, window.left : window.left + window.width]
    scale = min(width / window.width, height / window.height)
    size = (
        min(width, max(1, round(window.width * scale))),
        min(height, max(1, round(window.height * scale))),
    )
    while part.shape[1] >= 2 * size[0] and part.shape[0] >= 2 * size[1]:
        half = (part.shape[1] // 2, part.shape[0] // 2)
        part = np.asarray(cv2.resize(part, half, interpolation=cv2.INTER_AREA), np.uint8)
    if size == (width, height):
        return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8), scale
    canvas = np.full((height, width, 3), PADDING, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
    return canvas, scale


def _pyramid(pixels: Pixels) -> Iterator[Window]:
    """The whole picture, then, if it is large, overlapping tiles of half and of a quarter of its sides."""
    height, width = pixels.shape[:2]
    yield _whole(pixels)
    for parts, least_px in ((2, 400), (4, 1600)):
        if max(height, width) < least_px:
            return
        tile_w, tile_h = math.ceil(width / parts), math.ceil(height / parts)
        for row in range(2 * parts - 1):
            for column in range(2 * parts - 1):
                left = min(column * tile_w // 2, width - tile_w)
                yield Window(left, min(row * tile_h // 2, height - tile_h), tile_w, tile_h)


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """One face for each place, the best seen one, best score first."""
    ordered = sorted(faces, key=lambda face: -face.score)
    if not ordered:
        return []
    shared = detect.overlaps(_edges(ordered), _edges(ordered))
    kept: list[int] = []
    for index in range(len(ordered)):
        if not kept or shared[index, kept].max() <= SAME_FACE:
            kept.append(index)
    return [ordered[index] for index in kept]


def _edges(faces: Sequence[Face]) -> Floats:
    boxes = [face.box for face in faces]
    return np.array([[b.left, b.top, b.left + b.width, b.top + b.height] for b in boxes], np.float32)


def _turn_back(face: Face, turns: int, shape: tuple[int, ...]) -> Face:
    """A face of ``np.rot90(picture, turns)`` in the picture (its shape given)."""
    height, width = shape[:2]
    x, y, box = face.landmarks[:, 0], face.landmarks[:, 1], face.box
    right, bottom = box.left + box.width, box.top + box.height
    match turns % 4:
        case 1:
            return replace(
                face,
                box=Box(width - bottom, box.left, box.height, box.width),
                landmarks=np.stack([width - y, x], 1),
            )
        case 2:
            return replace(
                face,
                box=Box(width - right, height - bottom, box.width, box.height),
                landmarks=np.stack([width - x, height - y], 1),
            )
        case 3:
            return replace(
                face,
                box=Box(box.top, height - right, box.height, box.width),
                landmarks=np.stack([y, height - x], 1),
            )
        case _:
            return face

"""The finder's adapter over a network that sees one bright card: windows, following, looking closer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from glancein.adapters import finder_tflite
from glancein.adapters.bundle_folder import Bundle
from glancein.adapters.finder_tflite import TfliteFaceFinder
from glancein.adapters.tflite_runtime import Int8s, TensorSpec
from glancein.domain.align import crop
from glancein.domain.landmarks import GRID, LOOK_PX, template
from glancein.errors import ModelError
from glancein.model_card import Finding, InputSpec, ModelCard
from glancein.types import Box, Pixels

WIDTH, HEIGHT = 256, 192
MODEL = Path(__file__).parents[2] / "device/glancein/models/finder"
SCALES = {1: 0.1, 4: 0.1, 10: 0.05}
INPUT = TensorSpec("input", (1, HEIGHT, WIDTH, 3), 1 / 128, 0, "int8")
LOOK_INPUT = TensorSpec("input", (1, LOOK_PX, LOOK_PX, 3), 1 / 128, 0, "int8")
LOOK_OUTPUTS = (
    TensorSpec("offsets", (1, GRID, GRID, 10), 1 / 16, 0, "int8"),
    TensorSpec("weights", (1, GRID, GRID, 6), 1 / 8, 0, "int8"),
)


@dataclass(slots=True)
class BrightCard:
    """A network whose only face is a bright rectangle, lighter in its upper half, 12 to 160 px wide."""

    runs: int = 0
    spread: float = 1.0  # of the landmarks; 0 puts them all in one place
    input: TensorSpec = INPUT
    outputs: tuple[TensorSpec, ...] = tuple(
        TensorSpec(
            f"{channels}_{stride}",
            (1, HEIGHT // stride, WIDTH // stride, channels),
            SCALES[channels],
            0,
            "int8",
        )
        for stride in (16, 8)
        for channels in (10, 1, 4)
    )

    def run(self, picture: Int8s) -> list[Int8s]:
        """Stride 8 answers, stride 16 is silent."""
        self.runs += 1
        found = [np.zeros(spec.shape, np.int8) for spec in self.outputs]
        for index in (1, 4):
            found[index][:] = -100
        values = picture[0, :, :, 1].astype(np.int16) + 128
        rows, columns = np.nonzero(values > 180)
        if not len(rows):
            return found
        left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        middle = (top + bottom) // 2
        upright = values[top:middle, left:right].mean() > values[middle:bottom, left:right].mean() + 10
        if not upright or not 12 <= right - left <= 160:
            return found
        row, column = (top + bottom) // 16, (left + right) // 16
        x, y = column * 8 + 4, row * 8 + 4
        points = np.array(
            [
                [left, top],
                [right, top],
                [(left + right) / 2, (top + bottom) / 2],
                [left, bottom],
                [right, bottom],
            ]
        )
        found[3][0, row, column] = np.rint(self.spread * (points - [x, y]) / 8 / 0.05).ravel().clip(-128, 127)
        found[4][0, row, column] = 40
        found[5][0, row, column] = np.rint(np.array([x - left, y - top, right - x, bottom - y]) / 8 / 0.1)
        return found


@dataclass(slots=True)
class Template:
    """A second network that sees a face wherever it looks, half a pixel to the right of the template."""

    runs: int = 0
    logit_steps: int = 16
    input: TensorSpec = LOOK_INPUT
    outputs: tuple[TensorSpec, ...] = LOOK_OUTPUTS

    def run(self, picture: Int8s) -> list[Int8s]:
        """The cell nearest to each point says where it is, in steps of 1/16 of 8 px."""
        self.runs += 1
        assert picture.shape == (1, LOOK_PX, LOOK_PX, 3)
        offsets = np.zeros((1, GRID, GRID, 10), np.int8)
        weights = np.full((1, GRID, GRID, 6), -128, np.int8)
        weights[..., 5] = self.logit_steps
        for number, (x, y) in enumerate(template() + np.asarray([0.5, 0], np.float32)):
            column, row = round((x - 3.5) / 8), round((y - 3.5) / 8)
            weights[0, row, column, number] = 127
            away = np.asarray([x - 3.5 - 8 * column, y - 3.5 - 8 * row])
            offsets[0, row, column, 2 * number : 2 * number + 2] = np.rint(2 * away)
        return [offsets, weights]


def card(**changes: object) -> ModelCard:
    """A finder's card."""
    plain = ModelCard(
        kind="finder", name="bright", file="model.tflite", sha256="0" * 64, size_bytes=1,
        input=InputSpec(HEIGHT, WIDTH, 1 / 128, 0), outputs=(), licence="-", data_note="-",
        training_command="", git_commit="", finding=Finding(0.5, 0.01), files={"landmarks.tflite": "0" * 64},
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]  # whatever the test says


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> BrightCard:
    """Every bundle opens as this network."""
    bright = BrightCard()
    bundle = Bundle(card(), bright, {"landmarks.tflite": Template()})  # type: ignore[arg-type,dict-item]  # fakes
    monkeypatch.setattr(finder_tflite, "open_bundle", lambda *_args, **_more: bundle)
    return bright


def picture(box: Box, *, width: int = 640, height: int = 480) -> Pixels:
    """A dark picture with one upright bright card."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    left, top, right, bottom = (
        round(v) for v in (box.left, box.top, box.left + box.width, box.top + box.height)
    )
    pixels[top : (top + bottom) // 2, left:right] = 250
    pixels[(top + bottom) // 2 : bottom, left:right] = 200
    return pixels


def assert_at(found: Box, true: Box, *, within_px: float) -> None:
    """The edges agree."""
    for name in ("left", "top", "width", "height"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=within_px), name


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (1920, 1080), (200, 400), (256, 192)])
def test_find_answers_in_pixels_of_the_picture(network: BrightCard, width: int, height: int) -> None:
    """Whatever the camera's size, one pass finds the face where it is."""
    true = Box(width * 0.4, height * 0.3, width * 0.2, height * 0.2)

    (face,) = TfliteFaceFinder(Path("bundle")).find(picture(true, width=width, height=height))

    step_px = max(width / WIDTH, height / HEIGHT)
    assert_at(face.box, true, within_px=2.5 * step_px)
    assert network.runs == 1


def test_nothing_bright_is_no_face(network: BrightCard) -> None:
    """An empty frame gives an empty list."""
    assert TfliteFaceFinder(Path("bundle")).find(np.zeros((480, 640, 3), np.uint8)) == []
    assert network.runs == 1


def test_following_sees_the_face_larger_in_one_pass(network: BrightCard) -> None:
    """Around the last box one pass suffices, and it is finer than the whole picture's."""
    true = Box(300, 200, 60, 80)

    (face,) = TfliteFaceFinder(Path("bundle")).find_near(picture(true), Box(310, 190, 62, 78))

    assert network.runs == 1
    assert_at(face.box, true, within_px=1.5)


def test_following_falls_back_to_the_whole_picture(network: BrightCard) -> None:
    """A face that jumped away is found by the second pass."""
    true = Box(40, 40, 60, 80)

    (face,) = TfliteFaceFinder(Path("bundle")).find_near(picture(true), Box(500, 380, 60, 80))

    assert network.runs == 2
    assert_at(face.box, true, within_px=6)


@pytest.mark.parametrize("box", [Box(-500, -500, 60, 80), Box(5000, 100, 60, 80), Box(600, 470, 1, 1)])
def test_following_a_box_beside_the_picture_searches_it_all(network: BrightCard, box: Box) -> None:
    """A last box that makes no sense costs nothing but time."""
    assert len(TfliteFaceFinder(Path("bundle")).find_near(picture(Box(100, 100, 60, 80)), box)) == 1
    assert network.runs <= 2


def test_closer_look_puts_landmarks_where_the_second_network_says(network: BrightCard) -> None:
    """The first network's corners are not a face's proportions; find gives the template's, in its pose."""
    finder = TfliteFaceFinder(Path("bundle"))
    pixels = picture(Box(300, 200, 60, 80))

    (rough,), (fine,) = finder.glance(pixels), finder.find(pixels)

    assert fine.box == rough.box
    assert crop(pixels, rough.landmarks).residual_px > 1.2
    assert crop(pixels, fine.landmarks).residual_px < 0.8
    assert np.hypot(*(fine.landmarks - rough.landmarks).T).max() < 60
    assert network.runs == 2


def test_landmarks_without_a_pose_stay_where_they_are(network: BrightCard) -> None:
    """Five points in one place make no pose: the face is left as the first network saw it."""
    network.spread = 0.0
    finder = TfliteFaceFinder(Path("bundle"))
    pixels = picture(Box(300, 200, 60, 80))

    (rough,), (same,) = finder.glance(pixels), finder.find(pixels)

    assert np.ptp(same.landmarks, axis=0).max() == 0
    assert (same.box, same.score) == (rough.box, rough.score)
    np.testing.assert_array_equal(same.landmarks, rough.landmarks)


def test_second_look_ends_what_only_resembled_a_face(
    network: BrightCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finder is sure, the second network is surer that there is nothing: no face."""
    doubting = Template(logit_steps=-100)
    bundle = Bundle(card(), network, {"landmarks.tflite": doubting})  # type: ignore[arg-type,dict-item]  # fakes
    monkeypatch.setattr(finder_tflite, "open_bundle", lambda *_args, **_more: bundle)
    finder = TfliteFaceFinder(Path("bundle"))
    pixels = picture(Box(300, 200, 60, 80))

    assert finder.glance(pixels)
    assert finder.find(pixels) == []
    assert finder.find_near(pixels, Box(300, 200, 60, 80)) == []
    assert finder.search(pixels) == []
    assert doubting.runs >= 4


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_search_finds_a_small_portrait_at_any_quarter_turn(network: BrightCard, turns: int) -> None:
    """A portrait of 60 px on a card of 1000 px: one face, its first landmark at the portrait's own corner."""
    true = Box(150, 300, 60, 80)
    pixels = np.ascontiguousarray(np.rot90(picture(true, width=1000, height=640), turns))

    (face,) = TfliteFaceFinder(Path("bundle")).search(pixels)

    corner = {0: (150, 300), 1: (300, 999 - 150), 2: (999 - 150, 639 - 300), 3: (639 - 300, 150)}[turns]
    np.testing.assert_allclose(face.landmarks[0], corner, atol=12)
    sides = (60, 80) if turns % 2 == 0 else (80, 60)
    assert (face.box.width, face.box.height) == pytest.approx(sides, abs=3)
    assert network.runs > 4


def test_bundle_without_threshold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that does not say from which score on a box is a face is no finder's."""
    bundle = Bundle(card(finding=None), BrightCard())  # type: ignore[arg-type]  # a fake
    monkeypatch.setattr(finder_tflite, "open_bundle", lambda *_args, **_more: bundle)

    with pytest.raises(ModelError, match="the card lacks"):
        TfliteFaceFinder(Path("bundle"))


def test_model_with_other_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every grid needs score, box and landmarks."""
    bright = BrightCard()
    bright.outputs = bright.outputs[:5]
    bundle = Bundle(card(), bright, {"landmarks.tflite": Template()})  # type: ignore[arg-type,dict-item]  # fakes
    monkeypatch.setattr(finder_tflite, "open_bundle", lambda *_args, **_more: bundle)

    with pytest.raises(ModelError, match="score, box and landmarks"):
        TfliteFaceFinder(Path("bundle"))

"""Quality: whatever spoils a picture is noticed under its own name, sooner in a photo than at the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.device.fakes import cartoon, draw_face, face_at

from glancein.domain import align, quality
from glancein.domain.quality import PHOTO_LIMITS, PHOTO_WISHES, PROBE_LIMITS, Audience, QualityLimits
from glancein.types import Box, Crop, Face, Floats, Pixels, Quality, Reason

Spoil = Callable[[Pixels, float], Pixels]
EVERY = [PHOTO_LIMITS, PHOTO_WISHES, PROBE_LIMITS]


def portrait(seed: int = 1) -> Pixels:
    """A 112 x 112 face in the canonical pose."""
    return cartoon(np.random.default_rng(seed).uniform(-1, 1, 12).astype(np.float32))


def frontal(landmarks: Floats | None = None) -> Face:
    """A face whose landmarks are the template, or as given."""
    points = np.array(align.TEMPLATE, np.float32) if landmarks is None else landmarks
    return Face(Box(0, 0, 112, 112), points, 0.9)


def judged(pixels: Pixels, limits: QualityLimits, *, eye_distance_px: float = 90.0) -> Quality:
    """The quality of a canonical crop that was cut from a picture of this resolution."""
    return quality.check(Crop(pixels, eye_distance_px / quality.EYES_APART_CROP_PX, 0.0), frontal(), limits)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Out of focus."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def sweep(pixels: Pixels, length: int, angle_deg: float) -> Pixels:
    """Moved while the shutter was open."""
    kernel = np.zeros((length, length), np.float32)
    centre = length // 2
    step_x, step_y = np.cos(np.radians(angle_deg)) * centre, np.sin(np.radians(angle_deg)) * centre
    start, end = (
        (round(centre - step_x), round(centre - step_y)),
        (round(centre + step_x), round(centre + step_y)),
    )
    cv2.line(kernel, start, end, 1.0)
    kernel /= kernel.sum()
    return np.asarray(cv2.filter2D(pixels, -1, kernel), np.uint8)


def darken(pixels: Pixels, factor: float) -> Pixels:
    """Less light: every level divided."""
    return np.asarray(np.rint(pixels / factor), np.uint8)


def burn(pixels: Pixels, factor: float) -> Pixels:
    """More light than the sensor holds."""
    return np.asarray(np.clip(np.rint(pixels.astype(np.float32) * factor), 0, 255), np.uint8)


def fade(pixels: Pixels, factor: float) -> Pixels:
    """Bleached towards one grey."""
    return np.asarray(np.rint((pixels.astype(np.float32) - 140) / factor + 140), np.uint8)


def mask(pixels: Pixels, height: float) -> Pixels:
    """A cloth from the chin up to this many crop pixels above the mouth."""
    covered = pixels.copy()
    points = np.array(
        [[22, 92 - height], [56, 86 - height], [90, 92 - height], [84, 104], [56, 112], [28, 104]]
    )
    cv2.fillPoly(covered, [np.asarray(np.rint(points), np.int32)], (150, 186, 210), cv2.LINE_AA)
    return covered


def dark_glasses(pixels: Pixels, radius: float) -> Pixels:
    """Two dark lenses over the eyes."""
    covered = pixels.copy()
    for x, y in align.TEMPLATE[:2]:
        cv2.ellipse(
            covered, (round(x), round(y)), (round(radius), round(radius * 0.7)), 0, 0, 360, (22, 22, 26), -1
        )
    return covered


def first_refused(
    spoil: Spoil, steps: list[float], limits: QualityLimits
) -> tuple[float | None, set[Reason]]:
    """The first step at which anything is found, and what."""
    for step in steps:
        findings = judged(spoil(portrait(), step), limits).findings
        if findings:
            return step, {finding.reason for finding in findings}
    return None, set()


@pytest.mark.parametrize("limits", EVERY)
@pytest.mark.parametrize("seed", range(6))
def test_check_clean_portrait_has_no_finding(limits: QualityLimits, seed: int) -> None:
    """A good portrait passes every set of limits."""
    assert judged(portrait(seed), limits).findings == ()


SPOILS: list[tuple[Spoil, list[float], Reason]] = [
    (blur, [1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8], Reason.BLURRED),
    (darken, [1, 1.5, 2, 3, 4, 6, 8, 10, 14], Reason.TOO_DARK),
    (burn, [1, 1.2, 1.5, 1.8, 2.2, 3, 4], Reason.TOO_BRIGHT),
    (fade, [1, 1.5, 2, 3, 4, 6, 8, 12, 20], Reason.LOW_CONTRAST),
    (mask, [-14, -4, 2, 10, 16, 20, 24], Reason.COVERED),
    (dark_glasses, [2, 6, 10, 14, 18], Reason.COVERED),
]


@pytest.mark.parametrize(("spoil", "steps", "reason"), SPOILS, ids=[s[0].__name__ for s in SPOILS])
def test_check_portrait_that_gets_worse_is_refused_for_that_reason(
    spoil: Spoil, steps: list[float], reason: Reason
) -> None:
    """Step by step: first nothing, then a warning, then refused as a photo, last at the door."""
    warned, first_warning = first_refused(spoil, steps, PHOTO_WISHES)
    refused, why = first_refused(spoil, steps, PHOTO_LIMITS)
    turned_away, why_at_door = first_refused(spoil, steps, PROBE_LIMITS)

    assert (first_warning, why, why_at_door) == ({reason}, {reason}, {reason})
    assert warned is not None
    assert refused is not None
    assert turned_away is not None
    assert steps[0] < warned <= refused <= turned_away


@pytest.mark.parametrize(("spoil", "steps", "reason"), SPOILS, ids=[s[0].__name__ for s in SPOILS])
def test_overall_falls_as_the_portrait_gets_worse(spoil: Spoil, steps: list[float], reason: Reason) -> None:
    """The prediction of ease never rises by much on the way down and ends low."""
    scores = [judged(spoil(portrait(), step), PROBE_LIMITS).overall for step in steps]

    assert reason
    assert scores[0] > 0.7
    assert scores[-1] < 0.6
    assert all(later <= before + 0.1 for before, later in pairwise(scores))


def test_check_small_face_says_how_small() -> None:
    """The finding carries the pixels between the eyes and the limit."""
    findings = judged(portrait(), PHOTO_LIMITS, eye_distance_px=9.0).findings

    assert [f.reason for f in findings] == [Reason.TOO_SMALL]
    assert findings[0].value == pytest.approx(9.0)
    assert findings[0].limit == PHOTO_LIMITS.eye_distance_px


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.6])
@pytest.mark.parametrize("sigma", [1.5, 2.5, 3.5])
def test_blur_px_measures_the_blur_that_was_put_in(sigma: float, scale: float) -> None:
    """The estimate grows with the blur and does not depend on contrast."""
    light = np.asarray(portrait().mean(axis=2) / 255, np.float32)
    blurred = np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), np.float32)

    assert quality.blur_px(np.asarray(blurred * scale, np.float32)) == pytest.approx(sigma, abs=1.0)


def test_blur_px_is_not_fooled_by_noise() -> None:
    """Sensor noise over a blurred face does not make it sharp."""
    blurred = blur(portrait(), 6.0)
    noise = np.random.default_rng(3).normal(0, 4, blurred.shape)
    noisy = np.asarray(np.clip(np.rint(blurred + noise), 0, 255), np.uint8)

    assert Reason.BLURRED in {f.reason for f in judged(noisy, PHOTO_LIMITS).findings}


@pytest.mark.parametrize("angle_deg", [0, 45, 90, 135])
def test_blur_px_sees_motion_in_any_direction(angle_deg: int) -> None:
    """A face that moved while the shutter was open is blurred along its way."""
    at_rest = quality.blur_px(np.asarray(portrait().mean(axis=2) / 255, np.float32))

    swept = quality.blur_px(np.asarray(sweep(portrait(), 13, angle_deg).mean(axis=2) / 255, np.float32))

    assert swept > at_rest + 0.7


def turned(yaw_deg: float, pitch_deg: float = 0.0) -> Face:
    """The template as a head turned by these angles, its nose standing out by half an eye distance."""
    points = np.array([(x - 56.0, y - 66.0, 0.0) for x, y in align.TEMPLATE])
    points[2, 2] = 18.0
    yaw, pitch = np.radians(yaw_deg), np.radians(pitch_deg)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    flat = points @ about_y.T @ about_x.T
    return frontal(np.asarray(flat[:, :2] * 2.5 + 320, np.float32))


@pytest.mark.parametrize(
    ("yaw_deg", "pitch_deg", "as_photo", "at_door"),
    [
        (0, 0, False, False),
        (15, 0, False, False),
        (-15, 10, False, False),
        (40, 0, True, False),
        (-40, 0, True, False),
        (0, 30, True, False),
        (0, -40, True, False),
        (60, 0, True, True),
        (-75, 0, True, True),
    ],
)
def test_check_turned_head_is_refused_as_photo_before_it_is_at_the_door(
    yaw_deg: float, pitch_deg: float, *, as_photo: bool, at_door: bool
) -> None:
    """Looking aside, up or down is seen in the landmarks alone."""
    face = turned(yaw_deg, pitch_deg)
    crop = Crop(portrait(), 2.5, 0.0)

    for limits, expected in ((PHOTO_LIMITS, as_photo), (PROBE_LIMITS, at_door)):
        reasons = {f.reason for f in quality.check(crop, face, limits).findings}
        assert (Reason.TURNED_AWAY in reasons) == expected, quality.measure(crop, face)


def test_pose_of_tilted_or_distant_head_is_that_of_the_upright_one() -> None:
    """Roll and size are the aligner's business; roll is reported, never refused."""
    plain, tilted = face_at(300, 300, 90), face_at(100, 120, 30, turn_deg=35)
    crop = Crop(portrait(), 1.0, 0.0)

    upright, rolled = quality.measure(crop, plain), quality.measure(crop, tilted)

    assert rolled["nose_offset"] == pytest.approx(upright["nose_offset"], abs=0.01)
    assert rolled["nose_height"] == pytest.approx(upright["nose_height"], abs=0.01)
    assert rolled["roll_deg"] == pytest.approx(upright["roll_deg"] + 35, abs=0.5)


@pytest.mark.parametrize(("x", "cut"), [(320, False), (40, False), (20, True), (0, True)])
def test_check_face_over_the_edge_is_cut_off(x: float, *, cut: bool) -> None:
    """A face that reaches over the picture's edge is said to be cut off."""
    pixels = np.full((640, 640, 3), 200, np.uint8)
    face = face_at(x, 300, 60)
    draw_face(pixels, face)

    found = quality.check(align.crop(pixels, face.landmarks), face, PHOTO_LIMITS, picture_px=(640, 640))

    assert (Reason.CUT_OFF in {f.reason for f in found.findings}) == cut


@pytest.mark.parametrize("value", [0, 255, 128])
def test_check_flat_picture_is_refused_without_a_fault(value: int) -> None:
    """Black, white and grey squares divide nothing by zero."""
    flat = np.full((112, 112, 3), value, np.uint8)

    found = judged(flat, PROBE_LIMITS)

    assert found.findings
    assert np.isfinite(list(found.measures.values())).all()
    assert found.overall < 0.05


def test_check_landmarks_in_one_line_are_a_profile_not_a_fault() -> None:
    """A mouth on the line of the eyes cannot be solved for a pose, and is refused."""
    points = np.array([(10, 10), (50, 10), (30, 10), (20, 10), (40, 10)], np.float32)

    found = quality.check(Crop(portrait(), 1.0, 0.0), frontal(points), PROBE_LIMITS)

    assert Reason.TURNED_AWAY in {f.reason for f in found.findings}


def test_findings_name_each_reason_once_and_speak_to_their_audience() -> None:
    """A photographer hears about photos, a person at the door about standing and looking."""
    ruined = blur(darken(portrait(), 12), 8)

    photo, door = judged(ruined, PHOTO_LIMITS).findings, judged(ruined, PROBE_LIMITS).findings

    assert len({f.reason for f in photo}) == len(photo)
    assert all("photo" in f.advice.lower() for f in photo)
    assert all("please" in f.advice.lower() for f in door)
    assert PROBE_LIMITS.audience is Audience.PERSON


def test_wishes_are_stricter_than_limits_and_limits_than_those_at_the_door() -> None:
    """A photo that is refused was warned about, and a face refused at the door is no photo."""
    for field in fields(QualityLimits):
        if field.name == "audience":
            continue
        wish, must, door = (
            float(getattr(limits, field.name)) for limits in (PHOTO_WISHES, PHOTO_LIMITS, PROBE_LIMITS)
        )
        if field.name == "eye_distance_px":  # a visitor can step closer, a badge cannot
            assert wish > door > must
        elif field.name.startswith("max_"):
            assert wish < must < door, field.name
        else:
            assert wish > must > door, field.name


def limits_table() -> str:
    """Every measure with its reason and its three limits, as docs/reasons.md shows it."""
    lines = [
        "| reason | measure | photo refused | photo warned about | refused at the kiosk |",
        "|---|---|---|---|---|",
    ]
    for rule in quality._RULES:
        sign = "<" if rule.is_least else ">"
        cells = [f"{sign} {rule.limit(limits):g}" for limits in (PHOTO_LIMITS, PHOTO_WISHES, PROBE_LIMITS)]
        lines.append(f"| `{rule.reason}` | `{rule.measure}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_limits_in_the_documentation_are_those_of_the_code(*, update_golden: bool) -> None:
    """docs/reasons.md holds the table; pytest --update-golden writes it anew."""
    page = Path(__file__).resolve().parents[2] / "docs" / "reasons.md"
    if not page.exists():
        pytest.skip("no docs beside these tests")
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- generated: limits -->\n", "<!-- end -->"
    before, rest = text.split(begin)
    written, after = rest.split(end, 1)
    if update_golden:
        page.write_text(f"{before}{begin}{limits_table()}\n{end}{after}", encoding="utf-8")
        return

    assert written.rstrip("\n") == limits_table(), "run pytest with --update-golden"

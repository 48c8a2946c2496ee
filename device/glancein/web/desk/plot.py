"""The trade between wrong names and refusals, drawn as SVG; the page styles its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 56
SVG = "http://www.w3.org/2000/svg"
X_LOW, X_HIGH = -5.0, math.log10(0.2)

Point = tuple[float, float]  # share of strangers taken for somebody, share of own people refused


def trade(curve: Sequence[Point], chosen: Point | None, said: Mapping[str, str], *, sure_from: float) -> str:
    """The curve, the chosen point, and where it rests on counting rather than on a fitted tail.

    Shares are 0 to 1; the share of strangers is drawn on a logarithmic axis.
    """
    title = escape(said["plot_title"])
    parts = [
        f'<svg xmlns="{SVG}" class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        *_grid(),
        *_axis_names(said),
    ]
    for points, kind in _split(curve, sure_from):
        if len(points) > 1:
            path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
            parts.append(f'<polyline class="{kind}" points="{path}"/>')
    if chosen is not None:
        x, y = _x(chosen[0]), _y(chosen[1])
        anchor = "end" if x > WIDTH * 0.7 else "start"
        shift = -10 if anchor == "end" else 10
        parts += [
            f'<line class="lead" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>',
            f'<line class="lead" x1="{LEFT}" y1="{y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>',
            f'<circle class="chosen" cx="{x:.1f}" cy="{y:.1f}" r="6"/>',
            _text(x + shift, y - 12, f"{chosen[1]:.0%}", f'class="chosen-label" text-anchor="{anchor}"'),
        ]
    return "".join([*parts, "</svg>"])


def _split(curve: Sequence[Point], sure_from: float) -> list[tuple[list[Point], str]]:
    fitted = [point for point in curve if point[0] <= sure_from]
    counted = [point for point in curve if point[0] >= sure_from]
    if fitted and counted:
        fitted.append(counted[0])
    return [(fitted, "fitted"), (counted, "counted")]


def _grid() -> list[str]:
    parts = []
    for power in range(-5, 0):
        x = _x(10.0**power)
        label = f"{100 * 10.0**power:g} %"
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    return parts


def _axis_names(said: Mapping[str, str]) -> list[str]:
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    turned = f'class="axis" text-anchor="middle" transform="rotate(-90 16 {middle_y})"'
    return [
        _text(middle_x, HEIGHT - 12, said["plot_x"], 'class="axis" text-anchor="middle"'),
        _text(16, middle_y, said["plot_y"], turned),
    ]


def _text(x: float, y: float, words: str, look: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def _x(share: float) -> float:
    along = (math.log10(share) - X_LOW) / (X_HIGH - X_LOW)
    return LEFT + min(1.0, max(0.0, along)) * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

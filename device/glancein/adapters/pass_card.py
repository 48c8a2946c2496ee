"""A QR pass as a picture to print or to keep on a phone."""

from __future__ import annotations

from html import escape

import cv2
import numpy as np

from glancein.types import Pixels

QUIET_MODULES = 4  # ISO/IEC 18004: the white edge without which a reader finds no code
CARD_WIDTH_MM, CARD_HEIGHT_MM = 54.0, 85.6  # ISO/IEC 7810 ID-1, upright
CODE_MM = 44.0
PNG_PX_PER_MODULE = 12


def code_of(text: str) -> Pixels:
    """The QR code of a text, one pixel a module (n, n), 0 is dark; with its white edge."""
    modules = np.asarray(cv2.QRCodeEncoder.create().encode(text), np.uint8)
    dark = np.argwhere(modules == 0)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)  # OpenCV's own edge differs by version
    return np.pad(modules[top : bottom + 1, left : right + 1], QUIET_MODULES, constant_values=255)


def card_svg(text: str, *, name: str, person_id: str, site: str) -> str:
    """A card of the size of a badge with the code, whose it is and where it is good."""
    modules = code_of(text)
    side = len(modules)
    squares = "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(modules == 0))
    edge = (CARD_WIDTH_MM - CODE_MM) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{CARD_WIDTH_MM}mm" height="{CARD_HEIGHT_MM}mm" '
        f'viewBox="0 0 {CARD_WIDTH_MM} {CARD_HEIGHT_MM}" font-family="sans-serif" text-anchor="middle">'
        f'<rect width="100%" height="100%" rx="3" fill="#fff" stroke="#999" stroke-width=".2"/>'
        f'<text x="{CARD_WIDTH_MM / 2}" y="11" font-size="4" fill="#333">{escape(site)}</text>'
        f'<svg x="{edge}" y="16" width="{CODE_MM}" height="{CODE_MM}" viewBox="0 0 {side} {side}" '
        f'shape-rendering="crispEdges"><path d="{squares}"/></svg>'
        f'<text x="{CARD_WIDTH_MM / 2}" y="69" font-size="5" font-weight="bold">{escape(name)}</text>'
        f'<text x="{CARD_WIDTH_MM / 2}" y="76" font-size="4" fill="#333">{escape(person_id)}</text>'
        "</svg>\n"
    )


def code_png(text: str) -> bytes:
    """The code alone as a PNG, to be shown on a phone."""
    large = np.kron(code_of(text), np.ones((PNG_PX_PER_MODULE, PNG_PX_PER_MODULE), np.uint8))
    done, data = cv2.imencode(".png", large)
    if not done:
        raise ValueError("OpenCV did not encode the picture")
    return data.tobytes()

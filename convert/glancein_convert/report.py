"""The parity report: one JSON file and one HTML page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glancein.model_card import ThresholdPoint
from glancein.types import Pixels
from glancein_convert.parity import Parity
from glancein_convert.preflight import Preflight

WORST = 10
STYLE = (
    "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto}"
    "td,th{padding:2px 10px;text-align:left}img{max-width:100%}</style>"
)


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a report shows."""

    figures: dict[str, Any]  # any JSON
    parity: Parity
    preflight: Preflight
    points: tuple[ThresholdPoint, ...]
    noise_db: list[tuple[str, float]]
    milliseconds: dict[str, float]
    development: Pixels  # (n, 112, 112, 3)
    note: dict[str, Any]  # which crops set the ranges


def write(folder: Path, findings: Findings) -> None:
    """Write ``report.json`` and ``report.html`` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "figures": findings.figures,
        "failures": findings.parity.failures,
        "thresholds": [asdict(point) for point in findings.points],
        "operators": [asdict(operator) for operator in findings.preflight.operators],
        "signal_to_noise_db": findings.noise_db,
        "milliseconds_here": findings.milliseconds,
        "data": findings.note,
    }
    (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(_page(findings), encoding="utf-8")


def _page(findings: Findings) -> str:
    verdict = "; ".join(findings.parity.failures) or "passed"
    mapped = "yes" if findings.preflight.maps_everything else "no"
    parts = [
        "<!doctype html><meta charset=utf-8><title>glancein: float and int8</title>",
        STYLE,
        f"<h1>Float and int8</h1><p>Gate: {html.escape(verdict)}.</p>",
        f"<p>Edge TPU preflight maps everything: {mapped} (not tried on hardware).</p>",
        _table(["figure", "value"], _flat(findings.figures)),
        "<h2>Scores</h2>",
        _picture(_draw_scores(findings)),
        "<h2>Threshold by false match rate</h2>",
        _table(
            ["rate", "threshold", "95 % interval", "how"],
            [
                (
                    f"{p.false_match_rate:g}",
                    p.threshold_cos,
                    f"{p.low_cos} to {p.high_cos}",
                    "extrapolated" if p.extrapolated else "counted",
                )
                for p in findings.points
            ],
        ),
        "<h2>Signal to noise of each operator (dB)</h2>",
        _picture(_draw_noise(findings)),
        "<h2>Crops that int8 moved most</h2>",
        _picture(_draw_worst(findings)),
        "<h2>Operators</h2>",
        _table(
            ["", "operator", "version", "output", "MMAC", "why not on the Edge TPU"],
            [
                (
                    o.index,
                    o.name,
                    o.version,
                    "x".join(map(str, o.output_shape)),
                    round(o.macs / 1e6, 2),
                    ", ".join(o.reasons),
                )
                for o in findings.preflight.operators
            ],
        ),
        _table(["milliseconds here", ""], list(findings.milliseconds.items())),
    ]
    return "\n".join(parts) + "\n"


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:  # any JSON
    match value:
        case dict():
            return [row for key, inner in value.items() for row in _flat(inner, f"{prefix} {key}".strip())]
        case list():
            return [row for index, inner in enumerate(value) for row in _flat(inner, f"{prefix} {index}")]
        case _:
            return [(prefix, value)]


def _table(head: list[str], rows: Any) -> str:  # rows of anything printable
    cells = ["<tr>" + "".join(f"<th>{html.escape(str(c))}</th>" for c in head) + "</tr>"]
    cells += ["<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows]
    return "<table>" + "".join(cells) + "</table>"


def _picture(figure: Any) -> str:  # matplotlib figure
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, bbox_inches="tight")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _figure(width: float, height: float) -> Any:  # matplotlib figure
    from matplotlib.figure import Figure  # noqa: PLC0415  # heavy; and no global state this way

    return Figure(figsize=(width, height))


def _draw_scores(findings: Findings) -> Any:  # matplotlib figure
    figure = _figure(9, 3.5)
    left, right = figure.subplots(1, 2)
    for name, scored in (("float", findings.parity.float_scores), ("int8", findings.parity.int8_scores)):
        left.hist(scored.genuine, 80, histtype="step", density=True, label=f"{name} genuine")
        left.hist(scored.tail.scores, 80, histtype="step", density=True, label=f"{name} impostor tail")
    left.set_xlabel("cosine")
    left.legend(fontsize=7)
    rates = [p.false_match_rate for p in findings.points]
    right.semilogx(rates, [p.threshold_cos for p in findings.points], "o-")
    right.fill_between(
        rates, [p.low_cos for p in findings.points], [p.high_cos for p in findings.points], alpha=0.3
    )
    right.set_xlabel("false match rate")
    right.set_ylabel("threshold")
    return figure


def _draw_noise(findings: Findings) -> Any:  # matplotlib figure
    figure = _figure(9, 3)
    axes = figure.subplots()
    names = [name for name, _ in findings.noise_db]
    axes.bar(range(len(names)), [value for _, value in findings.noise_db])
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    return figure


def _draw_worst(findings: Findings) -> Any:  # matplotlib figure
    figure = _figure(9, 2)
    cosines = findings.parity.cosines
    for axes, row in zip(figure.subplots(1, WORST), np.argsort(cosines)[:WORST], strict=True):
        axes.imshow(findings.development[row])
        axes.set_title(f"{cosines[row]:.4f}", fontsize=7)
        axes.axis("off")
    return figure

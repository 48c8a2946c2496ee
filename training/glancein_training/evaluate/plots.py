"""The report's pictures, as SVG or PNG text that stands inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from glancein_training.evaluate.bootstrap import Interval
from glancein_training.evaluate.calibration import Limit
from glancein_training.evaluate.faces import Floats, Ints
from glancein_training.evaluate.verification import Curves, Pairs, thresholds_at

SIZE_INCHES = (6.0, 4.0)
ENDINGS = (".svg", ".png", ".pdf")  # of a plot that is saved


def picture(figure: Figure, *, as_png: bool = False) -> str:
    """The figure as an HTML image element with its data inside."""
    buffer = io.BytesIO()
    # A fixed salt and no date: the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "glancein"}):
        figure.savefig(
            buffer, format="png" if as_png else "svg", dpi=110, metadata=None if as_png else {"Date": None}
        )
    kind = "png" if as_png else "svg+xml"
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def save(figure: Figure, path: Path) -> None:
    """Write the figure as the path's ending says; the same figures give the same SVG."""
    is_svg = path.suffix == ".svg"
    with mpl.rc_context({"svg.hashsalt": "glancein"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if is_svg else None)


def roc_plot(curves: Curves) -> Figure:
    """True against false accept rate, logarithmic, its interval shaded."""
    figure, axes = _axes("false accept rate", "true accept rate")
    axes.semilogx(curves.roc_false_accepts, curves.roc_true_accepts)
    axes.fill_between(curves.roc_false_accepts, *_ends(curves.roc_true_accepts_interval), alpha=0.2)
    return figure


def distance_plot(curves: Curves) -> Figure:
    """VAL(d) and FAR(d) over the squared L2 distance, intervals shaded."""
    figure, axes = _axes("squared L2 distance d", "rate")
    axes.plot(curves.distance, curves.val, label="VAL(d)")
    axes.plot(curves.distance, curves.far, label="FAR(d)")
    for ends in (curves.val_interval, curves.far_interval):
        axes.fill_between(curves.distance, *_ends(ends), alpha=0.2)
    axes.legend()
    return figure


def histogram(pairs: Pairs) -> Figure:
    """Scores of genuine and impostor pairs with the threshold of FAR 1e-3."""
    figure, axes = _axes("cosine", "share of pairs (log)")
    edges = np.linspace(-1, 1, 101).tolist()
    for name, scores in (("genuine", pairs.genuine()), ("impostor", pairs.impostor())):
        axes.hist(scores, edges, weights=np.full(len(scores), 1 / len(scores)), alpha=0.6, label=name)
    axes.axvline(float(thresholds_at(pairs.impostor(), (1e-3,))[0]), color="black", lw=1, label="FAR 1e-3")
    axes.set_yscale("log")
    axes.legend()
    return figure


def limits_plot(limits: Sequence[Limit]) -> Figure:
    """Threshold by gallery size for every wanted rate, intervals shaded."""
    figure, axes = _axes("people enrolled", "threshold (cosine)")
    for rate in sorted({limit.rate for limit in limits}):
        some = [limit for limit in limits if limit.rate == rate]
        sizes = [limit.gallery for limit in some]
        axes.semilogx(
            sizes, [limit.measured_cos.value for limit in some], marker="o", label=f"FPIR {100 * rate:g} %"
        )
        both = [(limit.measured_cos.low, limit.measured_cos.high) for limit in some]
        ends = [None if low is None or high is None else (low, high) for low, high in both]
        axes.fill_between(sizes, *_ends(ends), alpha=0.2)
    axes.legend()
    return figure


def map_plot(positions: Floats, people: Ints) -> Figure:
    """The t-SNE map, a colour for each person."""
    figure = Figure(SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.scatter(positions[:, 0], positions[:, 1], c=people, cmap="nipy_spectral", s=8)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def curves_plot(label: str, values: Sequence[float], curves: Sequence[tuple[str, Sequence[float]]]) -> Figure:
    """A rate over one disturbance, one line for each network."""
    figure, axes = _axes(label, "true accept rate")
    for name, rates in curves:
        axes.plot(values, rates, marker="o", label=name)
    axes.legend()
    return figure


def points_plot(x: str, y: str, points: Sequence[tuple[float, float, str]], *, log_x: bool = False) -> Figure:
    """A named point for each network."""
    figure, axes = _axes(x, y)
    for across, up, name in points:
        axes.plot([across], [up], marker="o", color="C0")
        axes.annotate(name, (across, up), xytext=(-6, 5), textcoords="offset points", fontsize=8, ha="right")
    if log_x:
        axes.set_xscale("log")
        plain = FuncFormatter(lambda value, _place: f"{value:g}")
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_formatter(plain)
    axes.margins(x=0.25, y=0.1)
    return figure


def _ends(intervals: Sequence[Interval]) -> tuple[list[float], list[float]]:
    """Low and high ends to shade between; not numbers, which leave a gap, where there is no interval."""
    told = [(np.nan, np.nan) if ends is None else ends for ends in intervals]
    return [low for low, _ in told], [high for _, high in told]


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes

"""One command's answer: every figure as JSON, and the same as one HTML page with its pictures inside."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from glancein_training.evaluate import plots, structure
from glancein_training.evaluate.bootstrap import Estimate, Interval, person_weights
from glancein_training.evaluate.calibration import Limit, limits_by_gallery
from glancein_training.evaluate.faces import Bools, Faces
from glancein_training.evaluate.groups import GroupRates, rates_by_group, strangers_by_group
from glancein_training.evaluate.identification import Bench, OpenSet, draw_galleries, identify
from glancein_training.evaluate.transfer import Transfer, transfer
from glancein_training.evaluate.verification import (
    FOLDS,
    Pairs,
    TenFold,
    Verification,
    all_pairs,
    dealt_pairs,
    thresholds_at,
    verify,
)
from glancein_training.figures import to_json

FORMAT = 1
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4, 1e-5)
STRANGER_RATES = (0.003, 0.01, 0.1)
FEWEST_PEOPLE_TO_FOLD = 40  # four to a fold; of fewer the accuracy says little
COMMON_RATE = 1e-3  # the false accept rate whose threshold groups, clusters and template sizes are judged at


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to measure."""

    galleries: tuple[int, ...] = (100, 400, 10_000)
    drawings: int = 20
    resamples: int = 200
    map_people: int = 60
    seed: int = 0
    with_structure: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured on one set of faces."""

    pictures: int
    people: int
    no_face: int
    padding: int
    verification: Verification
    transfer: list[Transfer]
    open_set: list[OpenSet]
    limits: list[Limit]
    groups: list[GroupRates]
    strangers: list[GroupRates]
    neighbours: dict[str, Estimate] = field(default_factory=dict)
    clusters: list[structure.Clustering] = field(default_factory=list)
    templates: dict[str, Estimate] = field(default_factory=dict)


def measure(
    faces: Faces,
    plan: Plan,
    *,
    padding: Faces | None = None,
    enrol: Bools | None = None,
    listed: Pairs | None = None,
) -> Report:
    """Every figure of one set of faces.

    ``padding``: strangers to fill large galleries with. ``enrol`` (n,): the pictures that may be enrolled.
    ``listed``: the pairs to judge verification by, all pairs otherwise.
    """
    pairs = listed if listed is not None else all_pairs(faces)
    folded = _dealt(faces) if listed is None else listed if listed.fold is not None else None
    verification = verify(pairs, FALSE_ACCEPT_RATES, folded=folded, resamples=plan.resamples, seed=plan.seed)
    limit = float(thresholds_at(pairs.impostor(), (COMMON_RATE,))[0])
    bench = Bench(faces, padding)
    detail = plan.with_structure and listed is None
    few = person_weights(len(faces.people), min(plan.resamples, 50), seed=plan.seed)
    return Report(
        pictures=len(faces),
        people=len(faces.people),
        no_face=int((~faces.found).sum()),
        padding=bench.padding,
        verification=verification,
        transfer=transfer(faces, FALSE_ACCEPT_RATES, resamples=plan.resamples, seed=plan.seed)
        if listed is None
        else [],
        open_set=_open_sets(bench, plan, enrol) if listed is None else [],
        limits=_limits(bench, pairs, plan, enrol) if listed is None else [],
        groups=rates_by_group(faces, pairs, limit, resamples=plan.resamples, seed=plan.seed),
        strangers=strangers_by_group(padding, limit, resamples=plan.resamples, seed=plan.seed)
        if padding is not None
        else [],
        neighbours={str(k): structure.nearest_neighbours(faces, k, weights=few) for k in (1, 5)}
        if detail
        else {},
        clusters=structure.cluster(
            faces.sample(200, seed=plan.seed), limit_cos=limit, halves=len(few), seed=plan.seed
        )
        if detail
        else [],
        templates=structure.template_sizes(faces, COMMON_RATE, weights=few, seed=plan.seed) if detail else {},
    )


def write_json(report: Report, path: Path, about: Mapping[str, object]) -> None:
    """The report and where it comes from. Not-a-number becomes null."""
    content = {"format": FORMAT, **about, **asdict(report)}
    path.write_text(to_json(content) + "\n", encoding="utf-8")


def write_html(
    report: Report, path: Path, *, faces: Faces, pairs: Pairs, about: Mapping[str, object], plan: Plan
) -> None:
    """The same as one page."""
    sections = [
        ("Verification", verification_table(report.verification)),
        ("Receiver operating characteristic", plots.picture(plots.roc_plot(report.verification.curves))),
        ("VAL(d) and FAR(d)", plots.picture(plots.distance_plot(report.verification.curves))),
        ("Scores", plots.picture(plots.histogram(pairs))),
        ("Threshold chosen on even people, judged on odd ones", transfer_table(report.transfer)),
        ("One-shot open-set identification", open_set_table(report.open_set)),
        ("Threshold by people enrolled", limits_table(report.limits)),
        ("", plots.picture(plots.limits_plot(report.limits)) if report.limits else ""),
        (f"Groups at the threshold of FAR {COMMON_RATE:g}", groups_table(report.groups)),
        ("Strangers enrolled beside them, at the same threshold", groups_table(report.strangers)),
        ("Neighbours, clusters, templates", structure_table(report)),
    ]
    if report.clusters and plan.map_people:
        sections.append(
            (
                "Map (t-SNE)",
                plots.picture(
                    plots.map_plot(*structure.map_of(faces, people=plan.map_people, seed=plan.seed))
                ),
            )
        )
    told = [
        ("pictures", report.pictures),
        ("people", report.people),
        ("without a face", report.no_face),
        *about.items(),
    ]
    body = [table(("", ""), [(name, str(value)) for name, value in told])]
    for title, content in sections:
        if content:
            body.append(f"<h2>{html.escape(title)}</h2>\n{content}" if title else content)
    path.write_text(PAGE.format(body="\n".join(body)), encoding="utf-8")


def verification_table(found: Verification) -> str:
    """True accepts by false accepts, equal error, area, ten-fold accuracy."""
    rows = [(f"true accepts at FAR {rate}", percent(e)) for rate, e in found.true_accepts.items()]
    rows += [("equal error rate", percent(found.equal_error)), ("area under the curve", area_told(found))]
    if found.ten_fold:
        fold = found.ten_fold
        rows.append(("ten-fold accuracy", accuracy_told(fold)))
        told = percent(with_ends(fold.val_at_far_1e_3, fold.val_at_far_1e_3_interval))
        rows.append(("VAL at FAR 1e-3, ten-fold", told))
    rows.append(("pairs", f"{found.genuine_pairs:,} genuine, {found.impostor_pairs:,} impostor"))
    return table(("", "95 % interval by people"), rows)


def transfer_table(rows: Sequence[Transfer]) -> str:
    """What thresholds from one half do on the other."""
    if not rows:
        return ""
    cells = [
        (
            f"{r.wanted_far:g}",
            number(with_ends(r.threshold_cos, r.threshold_cos_interval)),
            number(with_ends(r.realised_far, r.realised_far_interval), form=".2e"),
            percent(with_ends(r.true_accepts, r.true_accepts_interval)),
        )
        for r in rows
    ]
    return table(("wanted FAR", "threshold", "FAR on the other half", "true accepts there"), cells)


def open_set_table(rows: Sequence[OpenSet]) -> str:
    """FNIR by FPIR and rank-k for each gallery."""
    if not rows:
        return ""
    rates = [f"{rate:.3f}" for rate in STRANGER_RATES]
    head = (
        "gallery",
        "enrolled and looked for",
        *(f"FNIR at FPIR {100 * float(r):g} %" for r in rates),
        "rank 1",
        "rank 5",
    )
    cells = [
        (
            f"{r.gallery:,}",
            str(r.enrolled),
            *(percent(r.misses.get(rate)) for rate in rates),
            percent(r.ranks["1"]),
            percent(r.ranks["5"]),
        )
        for r in rows
    ]
    return table(head, cells)


def limits_table(rows: Sequence[Limit]) -> str:
    """Thresholds by gallery size."""
    if not rows:
        return ""
    cells = [
        (
            f"{r.gallery:,}",
            f"{100 * r.rate:g} %",
            number(r.measured_cos),
            "" if r.independent_cos is None else f"{r.independent_cos:.3f}",
        )
        for r in rows
    ]
    return table(("people enrolled", "wanted FPIR", "threshold", "if comparisons were independent"), cells)


def groups_table(rows: Sequence[GroupRates]) -> str:
    """Rates by group."""
    if not rows:
        return ""
    cells = [
        (r.column, r.group, str(r.people), percent(r.false_match, digits=3), percent(r.true_accept))
        for r in rows
    ]
    return table(("label", "group", "people", "false matches inside", "true accepts"), cells)


def structure_table(report: Report) -> str:
    """Neighbours, clusters and template sizes in one table."""
    rows = [(f"{k} nearest neighbours right", percent(v)) for k, v in report.neighbours.items()]
    rows += [
        (
            f"{c.method}, {c.clusters} clusters",
            ", ".join(
                f"{name} {number(with_ends(value, ends))}"
                for name, value, ends in (
                    ("adjusted Rand", c.adjusted_rand, c.adjusted_rand_interval),
                    ("pairwise F", c.pair_f, c.pair_f_interval),
                )
            ),
        )
        for c in report.clusters
    ]
    rows += [(f"true accepts with templates of {name}", percent(v)) for name, v in report.templates.items()]
    return table(("", ""), rows) if rows else ""


def percent(figure: Estimate | None, *, digits: int = 2) -> str:
    """A rate with its interval, "-" where it was not measured."""
    if figure is None or math.isnan(figure.value):
        return "-"
    value = f"{100 * figure.value:.{digits}f} %"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({100 * figure.low:.{digits}f} to {100 * figure.high:.{digits}f})"


def number(figure: Estimate, *, form: str = ".3f") -> str:
    """A score with its interval."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:{form}}"
    return f"{figure.value:{form}} ({figure.low:{form}} to {figure.high:{form}})"


def with_ends(value: float, interval: Interval) -> Estimate:
    """A figure and the interval that stands beside it as one."""
    return Estimate(value, *(interval or ()))


def area_told(found: Verification) -> str:
    """The area under the curve with its interval."""
    return number(with_ends(found.area, found.area_interval), form=".5f")


def accuracy_told(fold: TenFold) -> str:
    """Ten-fold accuracy with its interval by people and the standard error that LFW's tables give."""
    told = percent(with_ends(fold.accuracy, fold.accuracy_interval))
    return f"{told}, standard error of the folds {100 * fold.standard_error:.2f} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every cell is escaped."""
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>")
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def _dealt(faces: Faces) -> Pairs | None:
    """Pairs in ten folds; None with few people, or with so few second pictures that a fold has none."""
    if len(faces.people) < FEWEST_PEOPLE_TO_FOLD:
        return None
    pairs = dealt_pairs(faces)
    return pairs if pairs.fold is not None and len(np.unique(pairs.fold[pairs.same])) == FOLDS else None


def _open_sets(bench: Bench, plan: Plan, enrol: Bools | None) -> list[OpenSet]:
    out: list[OpenSet] = []
    for size in plan.galleries:
        drawn = draw_galleries(
            bench.faces, size, plan.drawings, padding=bench.padding, seed=plan.seed, enrol=enrol
        )
        found = identify(bench, drawn, STRANGER_RATES, resamples=plan.resamples, seed=plan.seed)
        if not out or found.gallery > out[-1].gallery:
            out.append(found)
    return out


def _limits(bench: Bench, pairs: Pairs, plan: Plan, enrol: Bools | None) -> list[Limit]:
    return limits_by_gallery(
        bench,
        pairs,
        STRANGER_RATES,
        drawings=plan.drawings,
        resamples=min(plan.resamples, 100),
        seed=plan.seed,
        enrol=enrol,
    )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>glancein: how good the embeddings are</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; }}
body {{ max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; }}
th, td {{ border-bottom: 1px solid #d9dee5; }}
img {{ max-width: 100%; height: auto; }}
</style>
<h1>How good the embeddings are</h1>
{body}
</html>
"""

"""How the kiosk is, why people are refused, who needs several tries, and what a threshold costs."""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta

from starlette.responses import JSONResponse, Response

from glancein import doctor, wiring
from glancein.domain import tries
from glancein.domain.calibrate import false_match_rate, search_rate, threshold_at
from glancein.domain.gallery import gather
from glancein.errors import GlanceinError, InputError, ModelError
from glancein.model_card import ModelCard
from glancein.web.desk import plot
from glancein.web.desk.desk import Desk
from glancein.web.desk.page import Pages
from glancein.web.security import Call

WEEK = timedelta(days=7)
CHECKS_KEPT_S = 20.0  # a page that is reloaded does not open the camera and both networks again


@dataclass(frozen=True, slots=True)
class Cost:
    """What a wanted rate of wrong names means at today's gallery. Rates are shares, 0 to 1."""

    wanted: float  # share of strangers taken for somebody
    gallery: int
    match_rate: float  # of one comparison
    threshold_cos: float
    refused: float | None  # share of own people refused at the first look, by the card's measurement
    is_extrapolated: bool


@dataclass(slots=True)
class _Kept:
    checks: list[doctor.Check] = field(default_factory=list)
    at_s: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class HealthRoutes:
    """The routes about the kiosk itself."""

    desk: Desk
    pages: Pages
    kept: _Kept = field(default_factory=_Kept)

    def page(self, call: Call) -> Response:
        """Checks, refusals of the week, who needs several tries, and the threshold explorer."""
        attempts = self._attempts()
        names = {person.person_id: person.name for person in self.desk.people.people()}
        said = self.pages.words_for(call)
        cost, drawing, pair, problem = None, "", None, ""
        try:
            cost, drawing = self._explored(call, dict(said))
            pair = self._closest_pair()
        except (ModelError, InputError) as err:
            problem = str(err)
        context = {
            "checks": self.checks(),
            "running": self._running(),
            "refusals": tries.refusals(attempts),
            "strugglers": tries.strugglers(attempts),
            "names": names,
            "cost": cost,
            "drawing": drawing,
            "problem": problem,
            "fpir": call.query("fpir") or f"{self.desk.home.settings.fpir:g}",
            "own_margin": pair,
            "risk": self._risk(),
        }
        return self.pages.show(call, "health.html", context)

    def health(self, _: Call) -> Response:
        """Every check: camera, models, broker, backlog, clock, disk, temperature."""
        rows = [
            {"what": c.what, "state": c.state.value, "said": c.said, "advice": c.advice}
            for c in self.checks()
        ]
        return JSONResponse(
            {
                "checks": rows,
                "kiosk": self._running(),
                "backlog": self.desk.ledger.position().backlog,
                "risk": self._risk(),
            }
        )

    def attempts(self, _: Call) -> Response:
        """Why people were refused in the last seven days, and who needs several tries."""
        attempts = self._attempts()
        return JSONResponse(
            {
                "days": WEEK.days,
                "refusals": dict(tries.refusals(attempts)),
                "several_tries": [
                    {"id": s.person_id, "visits": s.visits, "mean_tries": round(s.mean_tries, 2)}
                    for s in tries.strugglers(attempts)
                ],
            }
        )

    def threshold(self, call: Call) -> Response:
        """What a wanted rate of wrong names costs in refusals at today's gallery."""
        cost = cost_of(self._card(), self._gallery_size(), self._wanted(call))
        return JSONResponse(
            {
                "false_positive_identification_rate": cost.wanted,
                "gallery": cost.gallery,
                "false_match_rate": cost.match_rate,
                "threshold_cos": round(cost.threshold_cos, 4),
                "refused_share": cost.refused,
                "extrapolated": cost.is_extrapolated,
            }
        )

    def plot(self, call: Call) -> Response:
        """The trade between wrong names and refusals as a drawing."""
        _, drawing = self._explored(call, dict(self.pages.words_for(call)))
        return Response(drawing, media_type="image/svg+xml")

    def audit_page(self, call: Call) -> Response:
        """Who looked at or changed what, newest first."""
        entries = self.desk.audit.entries(before=_number(call.query("before")), limit=200)
        return self.pages.show(call, "audit.html", {"entries": entries})

    def audit(self, call: Call) -> Response:
        """The audit log, newest first; ``before`` continues below a number."""
        entries = self.desk.audit.entries(before=_number(call.query("before")), limit=200)
        rows = [
            {
                "number": e.number,
                "at": e.at,
                "who": e.who,
                "did": e.did,
                "about": e.about,
                "detail": e.detail,
                "outcome": e.outcome.value,
            }
            for e in entries
        ]
        return JSONResponse({"entries": rows})

    def checks(self) -> list[doctor.Check]:
        """What ``glancein doctor`` says, at most some seconds old.

        The camera is left to a kiosk that runs, in this process or beside it, which holds it open.
        """
        with self.kept.lock:
            if time.monotonic() - self.kept.at_s > CHECKS_KEPT_S:
                has_kiosk = self.desk.running is not None
                self.kept.checks = list(doctor.examine(self.desk.home, with_camera=not has_kiosk))
                self.kept.at_s = time.monotonic()
            return list(self.kept.checks)

    def _running(self) -> dict[str, object] | None:
        """What the kiosk in this process, or the one beside it on the folder, says of itself."""
        return self.desk.running() if self.desk.running else wiring.running_kiosk(self.desk.home)

    def _attempts(self) -> list[tries.Attempt]:
        oldest = self.desk.now().timestamp() - WEEK.total_seconds()
        rows = self.desk.file.rows(
            "SELECT at, reason, person_id FROM attempts WHERE at >= :oldest ORDER BY number", oldest=oldest
        )
        return [tries.Attempt(*row) for row in rows]

    def _explored(self, call: Call, said: dict[str, str]) -> tuple[Cost, str]:
        card, gallery = self._card(), self._gallery_size()
        cost = cost_of(card, gallery, self._wanted(call))
        lowest, highest = (math.log10(rate) for rate in (1e-5, 0.2))
        wanted = [10 ** (lowest + (highest - lowest) * step / 48) for step in range(49)]
        points = [cost_of(card, gallery, rate) for rate in wanted]
        curve = [(p.wanted, p.refused) for p in points if p.refused is not None]
        chosen = None if cost.refused is None else (cost.wanted, cost.refused)
        sure = search_rate(max(1, cost.gallery), _counted_to(card))
        return cost, plot.trade(curve, chosen, said, sure_from=sure)

    def _wanted(self, call: Call) -> float:
        text = call.query("fpir")
        try:
            wanted = float(text) if text else self.desk.home.settings.fpir
        except ValueError:
            raise InputError(f"fpir = {text[:20]!r} is not a number") from None
        if not 1e-6 <= wanted <= 0.5:
            raise InputError("the wanted share lies between 0.000001 and 0.5")
        return wanted

    def _card(self) -> ModelCard:
        from glancein.model_card import read_card  # noqa: PLC0415  # as above

        return read_card(wiring.model_store(self.desk.home, "embedder").folder())

    def _gallery_size(self) -> int:
        return len(self.desk.people.templates(self._card().sha256))

    def _closest_pair(self) -> dict[str, object] | None:
        """The two enrolled people who are most alike: where a wrong name would come from first."""
        import numpy as np  # noqa: PLC0415  # only here

        gallery = gather(self.desk.people.templates(self._card().sha256))
        if not 2 <= len(gallery) <= 5000:
            return None
        alike = gallery.matrix @ gallery.matrix.T
        np.fill_diagonal(alike, -1)
        row, column = divmod(int(alike.argmax()), len(gallery))
        return {
            "one": gallery.person_ids[row],
            "two": gallery.person_ids[column],
            "score": float(alike[row, column]),
        }

    def _risk(self) -> str:
        """What the way of delivery risks, as a word of the dictionary; empty if nothing."""
        if self.desk.home.settings.delivery == "puback":
            return "risk_puback"
        try:
            position = self.desk.ledger.position()
        except GlanceinError:
            return ""
        return "risk_nobody" if position.backlog >= 50 else ""


def cost_of(card: ModelCard, gallery: int, wanted: float) -> Cost:
    """What this share of strangers taken for somebody costs among so many people. Raises ModelError."""
    if card.matching is None:
        raise ModelError(f"{card.name} has no calibration")
    rate = false_match_rate(gallery, wanted)
    threshold = threshold_at(card.matching.points, rate)
    return Cost(wanted, gallery, rate, threshold, refused_share(card, rate), rate < _counted_to(card))


def refused_share(card: ModelCard, match_rate: float) -> float | None:
    """Share of own people refused at a match rate, by the card's measured accept rates; None without them.

    Linear in the rate's logarithm between the measured points, the first or last one beyond them.
    """
    measured = card.figures.get("int8", {}).get("accept_rate_percent", {})
    points = sorted((math.log10(float(rate)), float(percent)) for rate, percent in measured.items())
    if not points:
        return None
    wanted = math.log10(match_rate)
    if wanted <= points[0][0]:
        if len(points) == 1:
            return 1 - points[0][1] / 100
        (x0, y0), (x1, y1) = points[0], points[1]
        accepted = max(0.0, y0 + (wanted - x0) * (y1 - y0) / (x1 - x0))
        return 1 - accepted / 100
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if wanted <= x1:
            return 1 - (y0 + (wanted - x0) * (y1 - y0) / (x1 - x0)) / 100
    return 1 - points[-1][1] / 100


def _counted_to(card: ModelCard) -> float:
    """The lowest match rate that was counted and not extrapolated."""
    if card.matching is None:
        return 1.0
    counted = [point.false_match_rate for point in card.matching.points if not point.extrapolated]
    return min(counted, default=1.0)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

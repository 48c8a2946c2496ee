"""A desk for the tests: accounts of every role, a client that behaves like a browser, punches by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from argon2 import PasswordHasher
from httpx2 import Response
from starlette.applications import Starlette
from starlette.testclient import TestClient

from glancein.domain.person import Enrolment
from glancein.enrolment import crop_png
from glancein.settings import Settings
from glancein.types import CheckIn, ClockTrust, Crop, Direction, Event, Method, Moment
from glancein.web.access import Role
from glancein.web.desk.build import desk_app
from glancein.web.desk.desk import Desk, open_desk
from glancein.web.security import CSRF_HEADER
from glancein.wiring import Home

PASSWORD = "five green lamps"  # noqa: S105  # of accounts that live as long as a test
SETTINGS = Settings(site="hq", kiosk="front-door", time_zone="Asia/Seoul")
# Argon2 with the least work: what is tested here is not how slow a guess is.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
OWN_ADDRESS = "http://localhost"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63"
    "484848000002440121dfe491980000000049454e44ae426082"
)
CROP = crop_png(Crop(np.full((112, 112, 3), 128, np.uint8), 1.0, 0.0))


def demo_picture(name: str) -> bytes:
    """One of the demo's public-domain portraits."""
    return resources.files("glancein").joinpath("demo_pictures", name).read_bytes()


@dataclass(slots=True)
class Visitor:
    """Somebody at a browser: keeps cookies, sends the page's CSRF token back."""

    client: TestClient
    csrf: str = ""

    def open(self, path: str) -> Response:
        """Load a page and remember its token."""
        answer = self.client.get(path)
        found = re.search(r'<meta name="csrf" content="([0-9a-f]*)">', answer.text)
        self.csrf = found[1] if found else self.csrf
        return answer

    def call(
        self, method: str, path: str, fields: Mapping[str, Any] | None = None, **options: Any
    ) -> Response:  # Any: what the client takes
        """One call of the API as the page's script makes it."""
        headers = {CSRF_HEADER: self.csrf, **options.pop("headers", {})}
        if "files" in options:
            return self.client.request(method, path, data=fields, headers=headers, **options)
        return self.client.request(method, path, json=fields, headers=headers, **options)

    def sign_in(self, name: str, password: str = PASSWORD) -> Response:
        """Sign in as this account."""
        self.open("/sign-in")
        answer = self.call("POST", "/api/v1/sign-in", {"name": name, "password": password})
        self.open("/me")
        return answer


@dataclass(slots=True)
class Office:
    """A desk on a folder of its own, with one account for each role, named like it."""

    desk: Desk
    app: Starlette
    model: str = "f" * 64
    visitors: dict[Role, Visitor] = field(default_factory=dict)

    def visitor(self) -> Visitor:
        """Somebody who is not signed in."""
        return Visitor(TestClient(self.app, base_url=OWN_ADDRESS, follow_redirects=False))

    def someone(self, role: Role) -> Visitor:
        """The signed-in account of a role."""
        if role not in self.visitors:
            self.visitors[role] = self.visitor()
            assert self.visitors[role].sign_in(role.value).status_code == 200
        return self.visitors[role]

    def person(self, person_id: str, name: str, *, seed: int = 0) -> None:
        """Enrol somebody with a made-up template."""
        vector = (
            np.random.default_rng(seed or abs(hash(person_id)) % 2**32).normal(size=128).astype(np.float32)
        )
        enrolment = Enrolment(
            name, vector / np.linalg.norm(vector), self.model, CROP, "0" * 64, {"overall": 0.8}
        )
        self.desk.people.replace(person_id, enrolment, at=self.desk.now())

    def punch(self, person_id: str, direction: Direction, *, ago: timedelta = timedelta(0)) -> Event:
        """A punch by face, some time ago."""
        return self.punch_at(person_id, direction, self.desk.now() - ago)

    def punch_at(self, person_id: str, direction: Direction, wall: datetime) -> Event:
        """A punch by face at a moment."""
        moment = Moment(wall, 1000.0, "boot", ClockTrust.SYNCHRONISED)
        return self.desk.ledger.record(CheckIn(person_id, direction, moment, 0.7, 0.5, "f" * 64, Method.FACE))


def open_office(folder: Path, settings: Settings = SETTINGS) -> Office:
    """A desk with three accounts."""
    desk = open_desk(Home(folder, settings))
    for role in Role:
        desk.file.change(
            "INSERT INTO accounts (name, role, secret, made_at) VALUES (:role, :role, :secret, 0)",
            role=role.value,
            secret=CHEAP,
        )
    desk.accounts.setup_code = ""
    return Office(desk, desk_app(desk))

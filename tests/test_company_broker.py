"""A company's broker: mosquitto with exactly what ``glancein site`` writes, and its clients for real."""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.device.brokers import CompanyBroker, free_port, wait_until
from tests.device.punches import check_in, moment

from glancein import settings, wiring
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.errors import FeedError
from glancein.mqtt.broker_url import BrokerUrl, parse_broker_url
from glancein.mqtt.link import Connection, Greeting, Message, Receipt, open_link
from glancein.site.folder import make_site, open_site
from glancein.site.register import Kind, Member
from glancein.wiring import Home

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
NOT_AUTHORISED = "Not authorized"
CLIENTS = ("hq/door", "hq/gate", "lab/door", "hr", "screen")
LEAVES = ("event", "batch", "state", "ack", "refuse", "resend")
pytestmark = pytest.mark.broker


@dataclass(slots=True)
class Company:
    """A site's folder and its running brokers."""

    folder: Path
    brokers: dict[str, CompanyBroker]
    taken: dict[str, Path] = field(default_factory=dict)

    def bundle(self, name: str) -> Path:
        """What was copied to this client's machine."""
        place = self.taken.get(name)
        return place or self.folder / ("kiosks" if "/" in name else "consumers") / name

    def url(self, name: str, *, broker: str = "broker", certificate: bool = True) -> BrokerUrl:
        """How this client calls a broker."""
        home = self.bundle(name)
        own = f"&cert={home}/client.crt&key={home}/client.key" if certificate else ""
        port = self.brokers[broker].port
        return parse_broker_url(f"mqtts://localhost:{port}?ca={self.folder}/authority/ca.crt{own}")

    @contextmanager
    def link(self, name: str, *topics: str, broker: str = "broker") -> Iterator[Connection]:
        """A connection as the kiosk and the feed make it."""
        greeting = Greeting(f"test-{name.replace('/', '-')}-{time.monotonic_ns()}", topics=topics)
        with open_link(self.url(name, broker=broker), greeting) as link:
            yield link


def found(company: Path, *, now: datetime) -> dict[str, int]:
    """Make a site with everybody in it; the ports of its two brokers."""
    ports = {"broker": free_port(), "branch": free_port()}
    first = Member(Kind.BROKER, "broker", hosts=("localhost", "127.0.0.1"), port=ports["broker"])
    branch = Member(Kind.BROKER, "branch", hosts=("localhost",), port=ports["branch"], upstream="broker")
    make_site(company, name="hq", broker=first, days=800, now=now)
    with open_site(company, now=now) as site:
        site.add(branch, days=800)
        for name in ("hq/door", "hq/gate", "lab/door"):
            site.add(Member(Kind.KIOSK, name), days=800)
        site.add(Member(Kind.CONSUMER, "hr"), days=800)
        site.add(Member(Kind.READER, "screen"), days=800)
    return ports


@pytest.fixture(scope="module")
def company(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A site, its head office's broker and the one of a branch, bridged."""
    folder = tmp_path_factory.mktemp("company") / "site"
    ports = found(folder, now=now())
    brokers = {name: CompanyBroker(mosquitto, folder / "brokers" / name, port=ports[name]) for name in ports}
    for broker in brokers.values():
        broker.start()
    yield Company(folder, brokers)
    for broker in brokers.values():
        broker.kill()


def now() -> datetime:
    """Certificates know no fractions of a second."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.mark.parametrize("file", ["glancein.conf", "glancein.acl"])
def test_files_in_deploy_are_the_ones_that_site_writes(file: str, tmp_path: Path) -> None:
    """Who reads deploy/mosquitto reads what a company will run."""
    broker = Member(Kind.BROKER, "broker", hosts=("broker.example",))
    make_site(tmp_path / "site", name="hq", broker=broker, days=800, now=now())
    with open_site(tmp_path / "site", now=now()) as site:
        site.add(Member(Kind.CONSUMER, "hr"), days=800)

    written = (tmp_path / "site/brokers/broker" / file).read_text()

    assert written == (DEPLOY / "mosquitto" / file).read_text()


def test_everybody_may_write_only_what_is_theirs(company: Company) -> None:
    """Each client tries every topic of every kiosk: a kiosk's word is its own, an acknowledgement is HR's."""
    wrong, tried = [], 0
    for name in CLIENTS:
        with company.link(name) as link:
            for kiosk, leaf in itertools.product(("hq/door", "hq/gate", "lab/door"), LEAVES):
                refused = answer(link, f"glancein/v1/{kiosk}/{leaf}") == NOT_AUTHORISED
                tried += 1
                if refused is may_write(name, kiosk, leaf):
                    wrong.append(f"{name} on {kiosk}/{leaf}")
            wrong += [
                f"{name} on {topic}"
                for topic in ("glancein/v1/hq/door", "glancein/v2/hq/door/event", "elsewhere", "$SYS/x")
                if answer(link, topic) != NOT_AUTHORISED
            ]

    print(f"\n{tried} rights to write tried, {len(wrong)} wrong")
    assert wrong == []


def may_write(name: str, kiosk: str, leaf: str) -> bool:
    """The rights as they are meant."""
    return (name == kiosk and leaf in {"event", "batch", "state"}) or (
        name == "hr" and leaf in {"ack", "refuse", "resend"}
    )


def answer(link: Connection, topic: str) -> str:
    """The broker's answer to one publication."""
    token = link.publish(Message(topic, b"{}"))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for happening in link.wait(0.2):
            if isinstance(happening, Receipt) and happening.token == token:
                return happening.words
    raise AssertionError("the broker does not answer")


def test_everybody_hears_only_what_is_theirs(company: Company) -> None:
    """Each client listens to everything; what arrives is what it may read."""
    wrong = []
    for name in CLIENTS:
        with company.link(name, "glancein/v1/#", "#") as ear:
            heard = heard_by(company, ear)
        for kiosk, leaf in itertools.product(("hq/door", "hq/gate"), LEAVES):
            may = (name == kiosk and leaf in {"ack", "refuse", "resend"}) or (
                name in {"hr", "screen"} and leaf in {"event", "batch", "state"}
            )
            if (f"glancein/v1/{kiosk}/{leaf}" in heard) is not may:
                wrong.append((name, kiosk, leaf))

    assert wrong == []


def heard_by(company: Company, ear: Connection) -> set[str]:
    """The topics that arrive when everybody has published everything they may."""
    for speaker in ("hq/door", "hq/gate", "hr"):
        with company.link(speaker) as mouth:
            for kiosk, leaf in itertools.product(("hq/door", "hq/gate"), LEAVES):
                if may_write(speaker, kiosk, leaf):
                    answer(mouth, f"glancein/v1/{kiosk}/{leaf}")
    topics: set[str] = set()
    while messages := [happening for happening in ear.wait(0.3) if isinstance(happening, Message)]:
        topics |= {message.topic for message in messages}
    return topics


def test_end_to_end_through_the_company_broker(company: Company, tmp_path: Path) -> None:
    """A punch goes from a kiosk with its bundle to HR with its own, signed, and leaves the outbox."""
    assert delivered(company, tmp_path, kiosk="hq/door", at="broker") == (20, 0, 0)


def test_end_to_end_over_two_bridged_brokers(company: Company, tmp_path: Path) -> None:
    """The kiosk's broker is the branch's, HR's is the head office's."""
    assert delivered(company, tmp_path, kiosk="hq/gate", at="branch") == (20, 0, 0)


def test_bridge_that_was_down_loses_nothing(company: Company, tmp_path: Path) -> None:
    """The head office's broker dies, events go on at the branch, and all arrive when it is back."""

    def interrupt(recorded: int) -> None:
        if recorded == 5:
            company.brokers["broker"].kill()
        if recorded == 15:
            company.brokers["broker"].start()

    assert delivered(company, tmp_path, kiosk="hq/gate", at="branch", meanwhile=interrupt) == (20, 0, 0)


def delivered(
    company: Company, folder: Path, *, kiosk: str, at: str, meanwhile: Callable[[int], None] = lambda _: None
) -> tuple[int, int, int]:
    """What HR has of twenty punches, what is left in the outbox, and how many troubles were noted."""
    home = home_of(company, kiosk, folder, broker=at)
    store = SqliteFeedStore(folder / "feed.db")
    hr = company.bundle("hr")
    seal = wiring.open_seal(hr / "signing.key", hr / "trusted.keys")
    rules = FeedRules(consumer="hr", site="hq", kiosk=kiosk.split("/")[1], seal=seal)
    feed = Feed(company.url("hr"), store=store, rules=rules, on_error=lambda _: None)
    reader = threading.Thread(target=lambda: list(feed), name="hr")
    with closing(wiring.open_ledger(home)) as ledger:
        feedway = wiring.open_feedway(home, ledger, broker=home.settings.broker)
        feedway.publisher.start()
        reader.start()
        for number in range(20):
            ledger.record(check_in(f"E{number}", at=moment(number)))
            feedway.publisher.wake()
            meanwhile(number + 1)
        wait_until(lambda: ledger.position().backlog == 0, within_s=60)
        left = ledger.position().backlog
        feedway.publisher.stop(5)
    feed.stop()
    reader.join(10)
    store.close()
    return feed.counts.new, left, feed.counts.troubles


def test_reader_that_keeps_a_store_says_that_it_may_not_acknowledge(company: Company, tmp_path: Path) -> None:
    """``add-consumer --listen-only`` and ``feed --sqlite``: the kiosk keeps its punch, HR is told."""
    words = list[str]()
    store = SqliteFeedStore(tmp_path / "feed.db")
    rules = FeedRules(consumer="screen", site="hq", kiosk="door")
    feed = Feed(company.url("screen"), store=store, rules=rules, on_error=words.append)
    reader = threading.Thread(target=lambda: list(feed), name="screen")
    home = home_of(company, "hq/door", tmp_path, broker="broker")
    with closing(wiring.open_ledger(home)) as ledger:
        ledger.record(check_in("E1", at=moment(1)))
        reader.start()
        feedway = wiring.open_feedway(home, ledger, broker=home.settings.broker)
        feedway.publisher.start()
        # A reader that came too late for the punch first asks for it, and may not do that either.
        told = wait_until(lambda: any(" acknowledge (Not authorized)" in said for said in words), within_s=30)
        left = ledger.position().backlog
        feedway.publisher.stop(5)
    feed.stop()
    reader.join(10)
    store.close()

    assert (told, left) == (True, 1)


def home_of(company: Company, kiosk: str, folder: Path, *, broker: str) -> Home:
    """A kiosk's data folder with the settings of its bundle, moved from /etc/glancein."""
    bundle = company.bundle(kiosk)
    lines = (bundle / "kiosk.env").read_text().replace("/etc/glancein/identity", str(bundle)).splitlines()
    values = {
        name.removeprefix(settings.PREFIX).lower(): value
        for name, value in (line.split("=", 1) for line in lines)
    }
    first, chosen = company.brokers["broker"].port, company.brokers[broker].port
    values["broker"] = values["broker"].replace(f":{first}?", f":{chosen}?")
    (folder / "kiosk").mkdir()
    return Home(folder / "kiosk", settings.build(values))


def test_certificates_that_do_not_count_are_refused(mosquitto: str, tmp_path: Path) -> None:
    """None, expired, revoked, of another company, an older TLS: refused, in words, and the broker goes on."""
    site, other, long_ago = tmp_path / "site", tmp_path / "other", now() - timedelta(days=700)
    ports = found(site, now=now())
    found(other, now=now())
    with open_site(site, now=long_ago) as opened:
        opened.add(Member(Kind.KIOSK, "hq/late"), days=30)
    broker = CompanyBroker(mosquitto, site / "brokers/broker", port=ports["broker"])
    broker.start()
    company = Company(site, {"broker": broker})
    company.taken = {"stranger": other / "kiosks/hq/door", "stolen": tmp_path / "stolen"}
    shutil.copytree(site / "kiosks/hq/door", tmp_path / "stolen")
    try:
        with company.link("stolen") as link:
            before = answer(link, "glancein/v1/hq/door/event")
        with open_site(site, now=now()) as opened:
            opened.revoke("door", former_only=False)
        broker.reload()
        refusals = {name: refusal(company, name) for name in ("hq/late", "stolen", "stranger", "")}
        with company.link("hq/gate") as link:
            after = answer(link, "glancein/v1/hq/gate/event")
        older = old_tls(company)
    finally:
        broker.kill()

    print("\n" + "\n".join(f"{name or 'none'}: {words}" for name, words in refusals.items()))
    assert before == after != NOT_AUTHORISED
    assert all("certificate" in words for words in refusals.values())
    assert "protocol version" in older.lower()


def test_list_written_by_a_clock_that_is_ahead_locks_nobody_out(mosquitto: str, tmp_path: Path) -> None:
    """OpenSSL refuses everybody while a list is not valid yet: that of a laptop a week ahead is at once."""
    site = tmp_path / "site"
    ports = found(site, now=now())
    with open_site(site, now=now() + timedelta(days=7)) as opened:
        opened.revoke("door", former_only=False)
    broker = CompanyBroker(mosquitto, site / "brokers/broker", port=ports["broker"])
    broker.start()
    try:
        with Company(site, {"broker": broker}).link("hq/gate") as link:
            words = answer(link, "glancein/v1/hq/gate/event")
    finally:
        broker.kill()

    assert words != NOT_AUTHORISED


def refusal(company: Company, name: str) -> str:
    """What the kiosk says when the broker does not want it, once the broker has read its new list."""
    url = company.url(name or "hq/gate", certificate=bool(name))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            open_link(url, Greeting(f"refused-{name.replace('/', '-')}")).close()
        except FeedError as err:
            return str(err)
        time.sleep(0.05)
    return "was let in"


def old_tls(company: Company) -> str:
    """What comes of a good certificate over TLS 1.2."""
    url = company.url("hq/gate")
    context = ssl.create_default_context(cafile=url.ca)
    assert url.cert is not None
    context.load_cert_chain(url.cert, url.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("localhost", url.port), timeout=5) as plain:
        try:
            context.wrap_socket(plain, server_hostname="localhost").close()
        except ssl.SSLError as err:
            return str(err).replace("_", " ")
    return "was let in"


def test_server_of_another_company_is_not_believed(mosquitto: str, tmp_path: Path) -> None:
    """A kiosk tells its punches to nobody but its own company's broker."""
    site, other = tmp_path / "site", tmp_path / "other"
    found(site, now=now())
    ports = found(other, now=now())
    broker = CompanyBroker(mosquitto, other / "brokers/broker", port=ports["broker"])
    broker.start()
    try:
        words = refusal(Company(site, {"broker": broker}), "hq/door")
    finally:
        broker.kill()

    assert "its certificate is not trusted" in words

"""The only module that knows every class: settings -> the parts of a kiosk and of the commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never
from zoneinfo import ZoneInfo

from glancein import settings as table
from glancein.domain.camera_word import (
    NetworkCamera,
    PiCamera,
    PictureFolder,
    UsbCamera,
    VideoFile,
    parse_camera,
)
from glancein.errors import SettingsError
from glancein.settings import Settings
from glancein.types import Limits

if TYPE_CHECKING:
    from datetime import tzinfo

    from glancein.adapters.attempts_sqlite import AttemptNotes
    from glancein.adapters.broker_embedded import EmbeddedBroker
    from glancein.adapters.embedder_tflite import TfliteEmbedder
    from glancein.adapters.finder_tflite import TfliteFaceFinder
    from glancein.adapters.kiosk_socket import KioskSocket
    from glancein.adapters.ledger_sqlite import SqliteLedger
    from glancein.adapters.model_store import ModelStore
    from glancein.adapters.passes_sqlite import SqlitePasses
    from glancein.adapters.people_sqlite import SqlitePeople
    from glancein.adapters.publisher_mqtt import MqttPublisher
    from glancein.bulk_embed import Reader
    from glancein.capture import Capture
    from glancein.domain.wire import Seal
    from glancein.enrolment import Enroller, EnrolmentLimits
    from glancein.kiosk import Kiosk, Rules
    from glancein.model_card import Kind, ModelCard
    from glancein.pipeline import Pipeline
    from glancein.ports import Camera, Panel, Pictures, Screen, Source

DATABASE_FILE = "glancein.sqlite"
DESK_FILE = "desk.sqlite"
EMBEDDED = "embedded"
# One new person in a million may be taken for an enrolled one, by a calibration on people in every pose:
# frontal photos of different people are more alike (two of fifty by 0.65, where it expects one pair in ten
# million). Two badge photos of one person are more alike than a badge and a glance, and a false alarm stops a
# first day.
DUPLICATE_ALARM_RATE = 1e-6
EMBEDDED_PORT = 1883
LOCAL_TIME = Path("/etc/localtime")
MODEL_FOLDERS = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class Home:
    """One kiosk's data folder and the settings in it."""

    folder: Path
    settings: Settings

    @property
    def database(self) -> Path:
        """The SQLite file with people, templates, events and outbox."""
        return self.folder / DATABASE_FILE

    def set_aside(self) -> list[Path]:
        """The files of damaged databases that were put by; they still hold whoever was enrolled then.

        A log counts by itself: it holds rows as well, also once its database is gone.
        """
        found = sorted(self.folder.glob(f"{DATABASE_FILE}.damaged-*"))
        return [path for path in found if not path.name.endswith("-shm")]


def open_home(folder: Path | None = None) -> Home:
    """The data folder with its settings. Raises SettingsError."""
    where = data_folder(folder)
    return Home(where, table.load(where, os.environ))


def data_folder(folder: Path | None = None) -> Path:
    """As ``folder_meant``, made if need be. Raises SettingsError."""
    where = folder_meant(folder)
    try:
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as err:
        raise SettingsError(f"the data folder {where} cannot be made: {err.strerror}") from err
    return where


def folder_meant(folder: Path | None = None) -> Path:
    """As given, ``GLANCEIN_DATA``, or the user's own data folder, which need not be there."""
    import platformdirs  # noqa: PLC0415  # only who has no folder of their own needs it

    return folder or Path(os.environ.get("GLANCEIN_DATA") or platformdirs.user_data_path("glancein"))


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Both networks, opened and proved."""

    finder: TfliteFaceFinder
    embedder: TfliteEmbedder

    def limits_for(self, people: int, settings: Settings) -> Limits:
        """Threshold for this many people by the card's calibration, unless the settings fix it."""
        return limits_of(self.embedder.card, people, settings)


def limits_of(card: ModelCard, people: int, settings: Settings) -> Limits:
    """Threshold and margin for this many people by a card's calibration, unless the settings fix them."""
    from glancein.domain.calibrate import limits_for  # noqa: PLC0415  # loads numpy's slower parts

    calibrated = limits_for(card, people, settings.fpir)
    accept = settings.accept_cos or calibrated.accept_cos
    return Limits(accept, settings.margin_cos or calibrated.margin_cos)


def model_store(home: Home, kind: Kind) -> ModelStore:
    """The installed bundles of one kind, and the shipped one."""
    from glancein.adapters.model_store import ModelStore  # noqa: PLC0415  # loads the schema

    keys = MODEL_FOLDERS / "trusted"
    return ModelStore(home.folder / "models", kind, shipped=MODEL_FOLDERS / kind, keys=keys)


def open_recogniser(home: Home, *, on_trial: bool = False) -> Recogniser:
    """Open both networks in use: the installed ones, or else the shipped.

    ``on_trial`` first tries them in a process of their own and goes back to the previous ones if they fail.
    Raises ModelError.
    """
    from glancein.adapters.embedder_tflite import TfliteEmbedder  # noqa: PLC0415  # loads the runtime
    from glancein.adapters.finder_tflite import TfliteFaceFinder  # noqa: PLC0415  # as above

    stores = [model_store(home, kind) for kind in ("finder", "embedder")]
    finder, embedder = [store.working_folder() if on_trial else store.folder() for store in stores]
    return Recogniser(
        TfliteFaceFinder(finder, threads=threads_for(home, finder, measured=on_trial)),
        TfliteEmbedder(embedder, threads=threads_for(home, embedder, measured=on_trial)),
    )


def threads_for(home: Home, bundle: Path, *, measured: bool) -> int:
    """As set; 0 takes the fastest number for a kiosk, which runs all day, and 1 for what ends soon."""
    from glancein.adapters.tflite_runtime import fastest_threads  # noqa: PLC0415  # as above
    from glancein.model_card import read_card  # noqa: PLC0415  # as above

    if home.settings.threads or not measured:
        return home.settings.threads or 1
    return fastest_threads(bundle / read_card(bundle).file)


def open_people(home: Home) -> SqlitePeople:
    """The enrolled people. Raises StoreError."""
    from glancein.adapters.people_sqlite import SqlitePeople  # noqa: PLC0415  # loads sqlite-utils

    return SqlitePeople(home.database)


def open_passes(home: Home) -> SqlitePasses:
    """PINs and QR passes. Raises StoreError."""
    from glancein.adapters.passes_sqlite import SqlitePasses  # noqa: PLC0415  # loads argon2

    return SqlitePasses(home.database)


def note_attempts(home: Home, screen: Screen, ledger: SqliteLedger) -> AttemptNotes:
    """The screen, with each of its answers noted for the desk while the ledger's disk has room."""
    from glancein.adapters.attempts_sqlite import AttemptNotes  # noqa: PLC0415  # only a kiosk needs it

    return AttemptNotes(screen, home.folder / DESK_FILE, is_disk_tight=lambda: ledger.is_disk_tight)


def open_ledger(home: Home, *, rescue: bool = False) -> SqliteLedger:
    """The record of punches; ``rescue`` sets a damaged database aside. Raises StoreError."""
    from glancein.adapters.ledger_sqlite import SqliteLedger  # noqa: PLC0415  # as above

    chosen = home.settings
    return SqliteLedger(
        home.database, site=chosen.site, kiosk=chosen.kiosk, names=chosen.names_in_feed, rescue=rescue
    )


def running_kiosk(home: Home) -> dict[str, object] | None:
    """What the kiosk on this folder says of itself; None without one, empty if it does not answer."""
    from glancein.adapters.kiosk_socket import ask_kiosk  # noqa: PLC0415  # only who asks needs it

    return ask_kiosk(home.folder)


def tell_beside(home: Home, tell: Callable[[], Mapping[str, object]]) -> KioskSocket:
    """Says what ``tell`` gives to programs that ask for the running kiosk."""
    from glancein.adapters.kiosk_socket import KioskSocket  # noqa: PLC0415  # only a kiosk needs it

    return KioskSocket(home.folder, tell)


def open_camera(word: str, *, realtime: bool = True, fps: float = 10.0) -> Capture:
    """A camera by its word, not yet running. Raises InputError for a word that means none."""
    from glancein.adapters.camera_opencv import video_devices  # noqa: PLC0415  # loads OpenCV
    from glancein.capture import Capture  # noqa: PLC0415  # loads numpy

    return Capture(_source_maker(word, video_devices(), realtime=realtime, fps=fps))


def _source_maker(word: str, devices: list[str], *, realtime: bool, fps: float) -> Callable[[], Source]:
    from glancein.adapters import camera_folder, camera_opencv, camera_picamera2  # noqa: PLC0415  # OpenCV

    match parse_camera(word, devices=devices):
        case PiCamera() as pi:
            return lambda: camera_picamera2.PicameraSource(pi)
        case UsbCamera() as usb:
            return lambda: camera_opencv.UsbSource(usb)
        case NetworkCamera() as network:
            return lambda: camera_opencv.NetworkSource(network)
        case VideoFile() as video:
            return lambda: camera_opencv.VideoSource(video, realtime=realtime)
        case PictureFolder() as folder:
            replay = camera_folder.Replay(fps=fps, realtime=realtime)
            return lambda: camera_folder.FolderSource(folder, replay)
        case other:
            assert_never(other)


def rules_of(settings: Settings, recogniser: Recogniser) -> Rules:
    """How a kiosk with these settings decides. Raises SettingsError."""
    from glancein.domain.attendance import Policy, parse_rule  # noqa: PLC0415  # only a kiosk needs it
    from glancein.domain.visit import VisitRules  # noqa: PLC0415  # as above
    from glancein.kiosk import Rules  # noqa: PLC0415  # as above

    return Rules(
        limits_for=lambda people: recogniser.limits_for(people, settings),
        visit=VisitRules(
            agree_n=settings.agreeing_frames,
            window_s=settings.visit_window_s,
            patience_s=settings.refuse_after_s,
            gone_s=settings.leave_after_s,
        ),
        policy=Policy(
            rule=parse_rule(settings.direction),
            quiet_s=settings.quiet_s,
            max_shift_h=settings.max_shift_h,
            zone=time_zone(settings.time_zone),
        ),
    )


def time_zone(name: str) -> tzinfo:
    """The named zone, or the machine's with its summer-time rules. Raises SettingsError."""
    from datetime import UTC  # noqa: PLC0415  # beside its only use

    if not name:
        try:
            with LOCAL_TIME.open("rb") as file:
                return ZoneInfo.from_file(file, key="localtime")
        except (OSError, ValueError):
            return UTC
    return table.named_zone(name)


def embedder_sha256(home: Home) -> str | None:
    """Hash of the embedder in use, None if its card cannot be read; opens no runtime."""
    from glancein.errors import ModelError  # noqa: PLC0415  # beside its only use
    from glancein.model_card import read_card  # noqa: PLC0415  # as above

    try:
        return read_card(model_store(home, "embedder").folder()).sha256
    except ModelError:
        return None


def open_bulk_reader(home: Home, *, with_templates: bool = False) -> Reader:
    """Both networks, and a decoder in this process: for evaluation over one's own files."""
    from dataclasses import replace  # noqa: PLC0415  # beside its only use

    return replace(reader_of(open_recogniser(home), trusted=True), with_templates=with_templates)


def reader_of(recogniser: Recogniser, *, trusted: bool) -> Reader:
    """These networks behind a decoder; ``trusted`` decodes in this process, for one's own files."""
    from functools import partial  # noqa: PLC0415  # beside its only use

    from glancein.adapters.image_gate import read_picture  # noqa: PLC0415  # as above
    from glancein.bulk_embed import Reader  # noqa: PLC0415  # as above

    return Reader(partial(read_picture, trusted=trusted), recogniser.finder, recogniser.embedder)


def pipeline_of(recogniser: Recogniser, settings: Settings) -> Pipeline:
    """Frame -> decision with these networks."""
    from dataclasses import replace  # noqa: PLC0415  # beside its only use

    from glancein.domain.quality import PROBE_LIMITS  # noqa: PLC0415  # loads numpy
    from glancein.pipeline import Pipeline  # noqa: PLC0415  # as above

    limits = replace(PROBE_LIMITS, eye_distance_px=settings.min_face_px)
    return Pipeline(recogniser.finder, recogniser.embedder, limits)


@dataclass(frozen=True, slots=True)
class Feedway:
    """Where events go: the publisher, and the broker inside this process if there is one."""

    publisher: MqttPublisher
    broker_url: str
    embedded: EmbeddedBroker | None

    def close(self) -> None:
        """End the embedded broker, after the publisher has been stopped."""
        if self.embedded is not None:
            self.embedded.stop()


def open_feedway(home: Home, ledger: SqliteLedger, *, broker: str, port: int = EMBEDDED_PORT) -> Feedway:
    """A publisher to the broker named; ``embedded`` starts one here. Raises FeedError, SettingsError."""
    from glancein.adapters.clock_system import SystemClock  # noqa: PLC0415  # only a kiosk needs these
    from glancein.adapters.publisher_mqtt import (  # noqa: PLC0415  # loads paho
        Address,
        Delivery,
        MqttPublisher,
        PublisherRules,
    )
    from glancein.mqtt.broker_url import parse_broker_url  # noqa: PLC0415  # as above

    chosen = home.settings
    embedded = _start_embedded(port) if broker == EMBEDDED else None
    url = embedded.url if embedded else broker
    publisher = MqttPublisher(
        Address(parse_broker_url(url), chosen.site, chosen.kiosk),
        ledger,
        clock=SystemClock(time_zone(chosen.time_zone)),
        rules=PublisherRules(
            delivery=Delivery(chosen.delivery), seal=open_seal(chosen.signing_key, chosen.trusted_keys)
        ),
    )
    return Feedway(publisher, url, embedded)


def open_seal(signing_key: str | Path, trusted_keys: str | Path) -> Seal:
    """What signs with one file's key and trusts another's; an empty name leaves that out.

    The trusted keys are read again when their file changes, the signing key is not. Raises SettingsError.
    """
    from glancein.domain.wire import Seal  # noqa: PLC0415  # as above

    if not (signing_key or trusted_keys):
        return Seal()
    from glancein.adapters.keys_file import TrustedKeys, read_signer  # noqa: PLC0415  # loads cryptography

    return Seal(
        sign=read_signer(Path(signing_key)) if signing_key else None,
        verify=TrustedKeys(Path(trusted_keys)) if trusted_keys else None,
    )


def _start_embedded(port: int) -> EmbeddedBroker:
    from glancein.adapters.broker_embedded import EmbeddedBroker  # noqa: PLC0415  # loads amqtt

    broker = EmbeddedBroker(port)
    broker.start()
    return broker


@dataclass(frozen=True, slots=True)
class Stores:
    """The two views of one database."""

    people: SqlitePeople
    ledger: SqliteLedger


@contextmanager
def open_stores(home: Home) -> Iterator[Stores]:
    """People and ledger, closed at the end; a damaged database is set aside. Raises StoreError."""
    with closing(open_ledger(home, rescue=True)) as ledger, closing(open_people(home)) as people:
        yield Stores(people, ledger)


def open_kiosk(home: Home, stores: Stores, *, camera: Camera, screen: Screen, feedway: Feedway) -> Kiosk:
    """A kiosk, ready to run. Raises ModelError, StoreError, SettingsError."""
    from glancein.adapters.clock_system import SystemClock  # noqa: PLC0415  # as above
    from glancein.kiosk import Kiosk, Parts  # noqa: PLC0415  # as above
    from glancein.ports import Panel  # noqa: PLC0415  # as above
    from glancein.time_keeper import TimeKeeper  # noqa: PLC0415  # as above

    panel = screen if isinstance(screen, Panel) else None
    _check_somebody_can_answer(home.settings, panel)
    recogniser = open_recogniser(home, on_trial=True)
    clock = SystemClock(time_zone(home.settings.time_zone))
    parts = Parts(
        camera=camera,
        eye=pipeline_of(recogniser, home.settings),
        people=stores.people,
        ledger=stores.ledger,
        publisher=feedway.publisher,
        clock=clock,
        screen=screen,
        panel=panel,
        time_keeper=TimeKeeper(stores.ledger, clock, wake=feedway.publisher.wake),
    )
    return Kiosk(parts, rules_of(home.settings, recogniser))


def _check_somebody_can_answer(settings: Settings, panel: Panel | None) -> None:
    from glancein.domain.attendance import ever_asks, parse_rule  # noqa: PLC0415  # as above

    if panel is None and ever_asks(parse_rule(settings.direction)):
        raise SettingsError(
            f"direction = {settings.direction!r} asks people, which needs a screen to touch: --screen web"
        )


@contextmanager
def open_enroller(home: Home) -> Iterator[Enroller]:
    """What enrols people from photos. Raises ModelError, StoreError."""
    from glancein.adapters.image_gate import PictureGate  # noqa: PLC0415  # only who enrols needs it

    recogniser = open_recogniser(home)
    with PictureGate() as gate, closing(open_people(home)) as people:
        yield enroller_of(home, recogniser, gate, people)


def enroller_of(home: Home, recogniser: Recogniser, pictures: Pictures, people: SqlitePeople) -> Enroller:
    """An enroller out of open parts; it knows who is enrolled at this moment. Raises StoreError."""
    from datetime import UTC, datetime  # noqa: PLC0415  # only who enrols needs these

    from glancein.enrolment import Enroller  # noqa: PLC0415  # as above

    return Enroller(
        pictures,
        (recogniser.finder, recogniser.embedder),
        people,
        limits_for=lambda enrolled: enrolment_limits(home, recogniser.embedder.card, enrolled),
        now=lambda: datetime.now(UTC),
    )


def enrolment_limits(home: Home, card: ModelCard, enrolled: int) -> EnrolmentLimits:
    """What a badge photo must reach with so many people enrolled."""
    from glancein.enrolment import EnrolmentLimits  # noqa: PLC0415  # loads numpy

    return EnrolmentLimits(duplicate_cos(home, card, enrolled))


def duplicate_cos(home: Home, card: ModelCard, enrolled: int) -> float:
    """The cosine from which two templates count as one person, with so many enrolled."""
    from glancein.domain.calibrate import limits_for  # noqa: PLC0415  # loads numpy

    return home.settings.duplicate_cos or limits_for(card, enrolled, DUPLICATE_ALARM_RATE).accept_cos

"""A site's folder: certificates and keys for everybody, nothing half-written, nothing readable by others."""

from __future__ import annotations

import json
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glancein import cli, settings
from glancein.adapters.certificates import read_facts, revoked_serials
from glancein.adapters.keys_file import read_signer, read_trusted
from glancein.domain import wire
from glancein.errors import GlanceinError, InputError, SettingsError
from glancein.site.folder import SiteFolder, make_site, open_site, write_file
from glancein.site.register import Kind, Member, Register, decode_register, encode_register

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
BROKER = Member(Kind.BROKER, "broker", hosts=("localhost",))


class PowerCut(BaseException):
    """Nothing runs after this."""


def made(path: Path) -> Path:
    """A site with a consumer and a kiosk."""
    make_site(path, name="hq", broker=BROKER, days=800, now=NOW)
    with open_site(path, now=NOW) as site:
        site.add(Member(Kind.CONSUMER, "hr"), days=800)
        site.add(Member(Kind.KIOSK, "hq/door"), days=800)
    return path


def answer(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    code = cli.main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Exit code and what standard error says."""
    code = cli.main([str(word) for word in words])
    return code, capsys.readouterr().err


def test_bundle_of_a_kiosk_is_all_it_needs(tmp_path: Path) -> None:
    """Its name in the certificate, settings that are settings, and keys that both sides believe."""
    site = made(tmp_path / "site")
    bundle = site / "kiosks/hq/door"
    lines = dict(line.split("=", 1) for line in (bundle / "kiosk.env").read_text().splitlines())

    chosen = settings.build(
        {name.removeprefix(settings.PREFIX).lower(): value for name, value in lines.items()}
    )
    signature = read_signer(bundle / "signing.key")(b"an event")
    trusted = read_trusted(site / "consumers/hr/trusted.keys")
    consumers = read_trusted(bundle / "trusted.keys")

    assert (chosen.site, chosen.kiosk) == ("hq", "door")
    assert chosen.broker.startswith("mqtts://localhost:8883?ca=/etc/glancein/identity/ca.crt&cert=")
    assert read_facts((bundle / "client.crt").read_bytes()).common_name == "hq/door"
    assert trusted("kiosk hq/door", b"an event", signature)
    assert consumers(wire.CONSUMER, b"an ack", read_signer(site / "consumers/hr/signing.key")(b"an ack"))


def test_nobody_else_may_read_anything(tmp_path: Path) -> None:
    """Every file is its owner's alone."""
    site = made(tmp_path / "site")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in site.rglob("*") if path.is_file()}

    assert modes == {0o600}


def test_same_command_twice_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that is run again does no harm."""
    site = made(tmp_path / "site")
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}

    again = make_site(site, name="hq", broker=BROKER, days=800, now=NOW)
    code, told = answer(capsys, "site", "add-kiosk", site, "door")

    assert (again, code, told["new"], told["copy_again"]) == (False, 0, False, [])
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_rotated_keys_overlap_until_the_former_are_revoked(tmp_path: Path) -> None:
    """Between rotate and revoke --former both keys count, so that nothing is refused meanwhile."""
    site = made(tmp_path / "site")
    former = read_signer(site / "kiosks/hq/door/signing.key")(b"x")
    with open_site(site, now=NOW) as opened:
        opened.rotate("door", days=800)
    newer = read_signer(site / "kiosks/hq/door/signing.key")(b"x")
    keys = site / "consumers/hr/trusted.keys"
    both = [read_trusted(keys)("kiosk hq/door", b"x", signature) for signature in (former, newer)]

    with open_site(site, now=NOW) as opened:
        member = opened.revoke("door", former_only=True)
    after = [read_trusted(keys)("kiosk hq/door", b"x", signature) for signature in (former, newer)]

    assert (both, after) == ([True, True], [False, True])
    assert revoked_serials((site / "brokers/broker/revoked.crl").read_bytes()) == {member.issues[0].serial}


def test_revoked_kiosk_can_be_added_again(tmp_path: Path) -> None:
    """A replaced terminal takes its place's name with a new certificate."""
    site = made(tmp_path / "site")
    with open_site(site, now=NOW) as opened:
        opened.revoke("door", former_only=False)
        gone = (site / "kiosks/hq/door").exists()
        member, is_new = opened.add(Member(Kind.KIOSK, "hq/door"), days=800)

    assert (gone, is_new, len(member.issues), len(member.valid)) == (False, True, 2, 1)


def test_bundle_taken_away_after_copying_is_not_missed(tmp_path: Path) -> None:
    """Private keys need not stay where they were made."""
    site = made(tmp_path / "site")
    for path in (site / "kiosks/hq/door").iterdir():
        path.unlink()
    (site / "kiosks/hq/door").rmdir()

    with open_site(site, now=NOW) as opened:
        opened.add(Member(Kind.KIOSK, "hq/gate"), days=800)

    assert "kiosk hq/door " in (site / "consumers/hr/trusted.keys").read_text()
    assert not (site / "kiosks/hq/door").exists()


def taken_away(site: Path) -> None:
    """Every bundle is copied to its machine and deleted here."""
    for kind in ("brokers", "consumers", "kiosks"):
        shutil.rmtree(site / kind)


def left_in(site: Path) -> set[str]:
    """The files of all bundles."""
    kinds = ("brokers", "consumers", "kiosks")
    return {str(path.relative_to(site)) for kind in kinds for path in (site / kind).rglob("*.*")}


def test_revoking_writes_what_to_copy_when_bundles_were_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stolen card: the list for the brokers and the keys for HR are there and named, and no secret is."""
    site = made(tmp_path / "site")
    taken_away(site)

    code, told = answer(capsys, "site", "revoke", site, "door")

    assert code == 0
    assert left_in(site) == {"brokers/broker/revoked.crl", "consumers/hr/trusted.keys"}
    assert {str(Path(path).relative_to(site)) for path in told["copy_again"]} == left_in(site)
    assert len(revoked_serials((site / "brokers/broker/revoked.crl").read_bytes())) == 1
    assert "hq/door" not in (site / "consumers/hr/trusted.keys").read_text()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["add-kiosk", "gate"], {"consumers/hr/trusted.keys"}),
        (["rotate", "door"], {"consumers/hr/trusted.keys"}),
        (["rotate", "hr"], {"kiosks/hq/door/trusted.keys"}),
        (["add-consumer", "look", "--listen-only"], {"brokers/broker/glancein.acl"}),
        (["list"], set()),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_command_writes_what_changed_for_others_when_bundles_were_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], left: set[str]
) -> None:
    """The files that say something new, named; nothing else comes back, also when a list follows."""
    site = made(tmp_path / "site")
    taken_away(site)
    code, told = answer(capsys, "site", words[0], site, *words[1:])

    answer(capsys, "site", "list", site)

    others = [path for path in left_in(site) if not (site / path).with_name("ca.crt").exists()]
    assert code == 0
    assert set(others) == left
    assert (
        isinstance(told, list) or {str(Path(path).relative_to(site)) for path in told["copy_again"]} == left
    )


def test_everything_is_written_again_when_nothing_says_what_was_handed_out(tmp_path: Path) -> None:
    """In a copy of site.json and authority alone, or after an earlier version: rather too much to copy."""
    site = made(tmp_path / "site")
    before = {name: (site / name).read_bytes() for name in left_in(site)}
    taken_away(site)
    (site / "handed.json").unlink()

    with open_site(site, now=NOW + timedelta(days=1)) as opened:
        changed = {str(path.relative_to(site)) for path in opened.changed}

    secret = {name for name in before if name.endswith(("client.crt", "broker.crt", ".key"))}
    assert changed == left_in(site) == before.keys() - secret
    assert all((site / name).read_bytes() == before[name] for name in changed if "crl" not in name)


def test_power_cut_at_any_write_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at each sync of each command, the next command finds a whole folder and completes the work."""
    cuts = 0
    for point in range(1000):
        site = tmp_path / f"site-{point}"
        left = point

        def cut(_descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise PowerCut

        monkeypatch.setattr(os, "fsync", cut)
        try:
            work(site)
            done = True
        except PowerCut:
            done = False
        monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
        work(site)
        assert whole(site), point
        if done:
            break
        cuts += 1

    assert cuts > 40


def test_revocation_that_a_power_cut_kept_from_being_written_is_written_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The register knew it already, and the bundles were taken away: the next command of any kind has it."""
    site = made(tmp_path / "site")
    taken_away(site)

    def cut(_self: SiteFolder) -> None:
        raise PowerCut

    with monkeypatch.context() as patched, open_site(site, now=NOW) as opened:
        patched.setattr(SiteFolder, "settle", cut)
        with pytest.raises(PowerCut):
            opened.revoke("door", former_only=False)

    with open_site(site, now=NOW):
        assert left_in(site) == {"brokers/broker/revoked.crl", "consumers/hr/trusted.keys"}


def work(site: Path) -> None:
    """Every command that writes, each as if it were given for the first time."""
    make_site(site, name="hq", broker=BROKER, days=800, now=NOW)
    with open_site(site, now=NOW) as opened:
        opened.add(Member(Kind.CONSUMER, "hr"), days=800)
        door, _ = opened.add(Member(Kind.KIOSK, "hq/door"), days=800)
        if len(door.issues) == 1:
            opened.rotate("door", days=800)
        opened.revoke("door", former_only=True)


def whole(site: Path) -> bool:
    """True if every bundle is complete and belongs to what the register says."""
    with open_site(site, now=NOW) as opened:
        members = opened.register.members
        homes = {member.name: opened.bundle(member) for member in members}
    names = {
        Kind.BROKER: {"broker.crt", "broker.key", "ca.crt", "glancein.acl", "glancein.conf", "revoked.crl"},
        Kind.CONSUMER: {"client.crt", "client.key", "ca.crt", "signing.key", "trusted.keys", "feed.env"},
        Kind.KIOSK: {"client.crt", "client.key", "ca.crt", "signing.key", "trusted.keys", "kiosk.env"},
    }
    files = {m.name: "broker.crt" if m.kind is Kind.BROKER else "client.crt" for m in members}
    serials = {name: read_facts((homes[name] / file).read_bytes()).serial for name, file in files.items()}
    revoked = {serial for serial, _ in Register("hq", members).revoked()}
    return (
        [member.name for member in members] == ["broker", "hr", "hq/door"]
        and all({path.name for path in homes[m.name].iterdir()} == names[m.kind] for m in members)
        and all(m.newest is not None and serials[m.name] == m.newest.serial for m in members)
        and revoked_serials((homes["broker"] / "revoked.crl").read_bytes()) == revoked
        and not (site / ".staging").exists()
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add-kiosk", "a/b"], "cannot be part of a topic"),
        (["add-kiosk", "k" * 62], "longer than the 64"),
        (["add-consumer", "broker"], "is a broker already"),
        (["rotate", "nobody"], "'nobody' has no certificate here; these have: broker, hr, hq/door"),
        (["revoke", "broker"], "rotate it instead"),
        (["add-broker", "branch", "--broker-host", "a b"], "not the name or address of a machine"),
        (["add-kiosk", "gate", "--broker", "nowhere"], "'nowhere' has no certificate"),
        (["add-kiosk", "gate", "--broker", "hr"], "'hr' is not a broker in use; these are: broker"),
        (["add-consumer", "pay", "--broker", "door"], "'hq/door' is not a broker in use"),
        (["add-broker", "branch", "--broker-host", "b", "--bridge-to", "hr"], "'hr' is not a broker in use"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_wrong_words_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """Each mistake is named, and the folder stays as it was."""
    site = made(tmp_path / "site")
    before = (site / "site.json").read_bytes()

    code, error = complaint(capsys, "site", words[0], site, *words[1:])

    assert (code, error.count("\n")) == (2, 1)
    assert said in error
    assert (site / "site.json").read_bytes() == before


def test_nobody_is_sent_to_a_broker_that_was_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its certificate counts for nobody; the commands after that go on working."""
    site = made(tmp_path / "site")
    answer(capsys, "site", "add-broker", site, "branch", "--broker-host", "b")
    answer(capsys, "site", "revoke", site, "branch")

    code, error = complaint(capsys, "site", "add-kiosk", site, "gate", "--broker", "branch")

    assert (code, error.count("\n")) == (2, 1)
    assert "'branch' is not a broker in use" in error
    assert answer(capsys, "site", "list", site)[0] == 0


def test_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No certificate is written among somebody's photographs, and no authority is guessed."""
    (tmp_path / "holiday.jpg").write_bytes(b"")

    code, error = complaint(capsys, "site", "init", tmp_path, "--name", "hq", "--broker-host", "b")
    other, second = complaint(capsys, "site", "list", tmp_path)

    assert (code, other) == (2, 2)
    assert "holds other things (holiday.jpg)" in error
    assert "is not a site's folder" in second
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("days", "state", "code"), [(800, "ok", 0), (20, "expires soon", 0), (-1, "expired", 1)]
)
def test_list_warns_of_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, days: int, state: str, code: int
) -> None:
    """A month before the end it says so; after it the exit code does too."""
    now = datetime.now(UTC).replace(microsecond=0)
    began = now - timedelta(days=10)
    make_site(tmp_path / "site", name="hq", broker=BROKER, days=800, now=began)
    with open_site(tmp_path / "site", now=began) as opened:
        opened.add(Member(Kind.KIOSK, "hq/door"), days=days + 10)

    told = answer(capsys, "site", "list", tmp_path / "site")

    assert (told[0], told[1][1]["state"]) == (code, state)
    assert told[1][1]["days_left"] in {days, days - 1}


def test_register_survives_its_file() -> None:
    """What is written is what is read."""
    register = Register("hq", (BROKER,))

    assert decode_register(encode_register(register)) == register


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format":"glancein-site/1"}', b'{"format":"other"}']
)
def test_damaged_register_is_refused(content: bytes) -> None:
    """Nothing is signed on the word of a damaged file."""
    with pytest.raises(SettingsError):
        decode_register(content)


def test_authority_whose_key_is_another_is_refused(tmp_path: Path) -> None:
    """A mixed-up copy is noticed before anything is signed."""
    site, other = made(tmp_path / "site"), made(tmp_path / "other")
    write_file(site / "authority/ca.key", (other / "authority/ca.key").read_bytes())

    with pytest.raises(GlanceinError, match="does not belong"), open_site(site, now=NOW) as opened:
        opened.add(Member(Kind.KIOSK, "hq/gate"), days=800)

    with open_site(site, now=NOW) as opened, pytest.raises(InputError):
        opened.register.get("gate")

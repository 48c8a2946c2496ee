"""The command line as its users meet it: one-line errors, JSON for scripts, the shipped networks."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from PIL import Image
from tests.device.punches import check_in, event

from glancein import cli, wiring
from glancein.adapters.people_sqlite import SqlitePeople
from glancein.cli import run
from glancein.cli.desk import tell
from glancein.errors import SettingsError
from glancein.web.access import Role
from glancein.web.accounts import Accounts
from glancein.web.desk_file import DeskFile

if TYPE_CHECKING:
    from glancein.kiosk import Kiosk

PICTURES = Path(wiring.__file__).parent / "demo_pictures"
DEVICE = Path(wiring.__file__).parents[1]
COMMANDS = ("enroll", "people", "identify", "verify", "embed", "kiosk", "feed", "doctor", "bench", "demo")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GLANCEIN_DATA", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def answer(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    code = cli.main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Exit code and what standard error says."""
    code = cli.main([str(word) for word in words])
    return code, capsys.readouterr().err


def test_help_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every command."""
    assert cli.main(["--help"]) == 0

    told = capsys.readouterr().out
    assert [command for command in COMMANDS if command not in told] == []


def test_help_when_a_command_has_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """A flag takes no value, and none is named; an option's is."""
    assert cli.main(["people", "photo", "--help"]) == 0

    told = capsys.readouterr().out
    assert "--dry-run" in told
    assert "bool" not in told.lower()
    assert "<dir>" in told


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nonsense"], 2, "No such command"),
        (["people", "show", "E9"], 2, "nobody is enrolled as E9"),
        (["enroll"], 2, "say whom"),
        (["enroll", "missing.jpg", "--id", "E1", "--name", "A"], 2, "missing.jpg"),
        (["enroll", "missing.jpg", "--id", "E1", "--name", "A"], 2, "glancein: unreadable: "),
        (["enroll", "a.jpg", "--id", "E1", "--name", "A", "--photos", "."], 2, "--photos cannot be used"),
        (["enroll", "a.jpg", "--id", "E1", "--name", "A", "--allow-duplicate", " "], 2, "blank"),
        (["enroll", "--csv", "people.csv"], 2, "--photos"),
        (["enroll", "--csv", "a.csv", "--photos", ".", "--id", "E1"], 2, "--id cannot be used with --csv"),
        (
            ["enroll", "--csv", "a.csv", "--photos", ".", "--allow-duplicate", "R"],
            2,
            "column allow_duplicate",
        ),
        (["kiosk", "--camera", "nonsense"], 2, "nonsense"),
        (["kiosk", "--port", "99999"], 2, "--port"),
        (["kiosk", "--port", "-5"], 2, "--port"),
        (["kiosk", "--web-port", "65536"], 2, "--web-port"),
        (["kiosk", "--camera", "missing.mp4", "--port", "0"], 4, "missing.mp4"),
        (["feed", "--broker", "http://x"], 2, "mqtt://"),
        (["feed", "--broker", "mqtt://127.0.0.1:1"], 5, "cannot reach the broker"),
        (["feed", "--csv", "nodir/a.csv"], 2, "there is no folder nodir"),
        (["feed", "--kiosk", "#"], 2, "kiosk '#' cannot be part of a topic"),
        (["feed", "--site", "a/b"], 2, "site 'a/b' cannot be part of a topic"),
        (["feed", "--consumer", "x" * 65], 2, "kiosks would pass over what it acknowledges"),
        (["embed", "--out", "x.npz"], 2, "no pictures"),
        (["identify", "missing.jpg"], 1, ""),
        (
            ["desk", "--port", "0", "--certificate", "/none.pem", "--key", "/none.key"],
            2,
            "certificate /none.pem with key /none.key cannot be used (No such file or directory)",
        ),
        (
            ["desk", "--port", "0", "--certificate", __file__, "--key", __file__],
            2,
            "give a chain in PEM form and its own key, without a password",
        ),
    ],
)
@pytest.mark.usefixtures("home")
def test_command_when_the_input_is_wrong(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    """Bad input ends with its exit code and one line that says what is wrong."""
    got, told = complaint(capsys, *words)

    ours = [line for line in told.splitlines() if line.startswith("glancein:")]
    assert got == code
    assert "Traceback" not in told
    assert said in told
    assert len(ours) == (1 if said else 0)


def test_settings_when_one_is_unknown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown setting stops every command with its name."""
    home.mkdir()
    (home / "settings.toml").write_text("kiosc = 'x'\n", encoding="utf-8")

    code, told = complaint(capsys, "people", "list")

    assert (code, told.count("\n")) == (2, 1)
    assert "kiosc" in told


@pytest.mark.parametrize(
    "words",
    [
        ["people", "list"],
        ["identify", "a.jpg"],
        ["verify", "a.jpg", "b.jpg"],
        ["embed", "a.jpg", "--out", "e.npz"],
        ["models", "list"],
        ["models", "verify"],
    ],
    ids=" ".join,
)
def test_json_when_a_command_is_stopped(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    """A script that reads a document gets one, whatever stopped the command."""
    home.mkdir()
    (home / "settings.toml").write_text("kiosc = 'x'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    code = cli.main([*words, "--json"])

    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (code, document["outcome"], document["reason"]) == (2, "refused", "bad_input")
    assert document["message"] in told.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["enroll", "missing.jpg", "--id", "E1", "--name", "A"], "unreadable"),
        (["enroll", ".", "--id", "E1", "--name", "A"], "unreadable"),
        (["enroll", "missing.jpg", "--id", "a/b", "--name", "A"], "bad_input"),
        (["enroll", "--csv", "missing.csv", "--photos", "."], "bad_input"),
        (["people", "show", "E9"], "bad_input"),
        (["people", "photo", "E9", "missing.jpg"], "bad_input"),
        (["people", "remove", "E9", "--yes"], "bad_input"),
        (["people", "export", "/nowhere/people.jsonl"], "bad_input"),
        (["people", "import", "missing.jsonl"], "bad_input"),
    ],
)
@pytest.mark.usefixtures("home")
def test_json_when_the_input_is_wrong(
    capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    """A script that asked for JSON reads why nothing was done, under a stable code."""
    code, refused = answer(capsys, *words)

    assert (code, refused["outcome"], refused["reason"]) == (2, "refused", reason)
    assert refused["message"]


@pytest.mark.parametrize("words", [["enroll", "--name", "E", "--id"], ["people", "photo"]], ids=" ".join)
def test_dry_run_when_there_is_no_data_folder(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Nothing is stored, not even an empty database."""
    cli.main([*words, "E1", str(PICTURES / "collins.jpg"), "--dry-run", "--json"])

    assert json.loads(capsys.readouterr().out)["outcome"] in {"would enrol", "refused"}
    assert not home.exists()


@pytest.mark.usefixtures("home")
def test_enroll_when_the_photo_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person enrolled from one photo is listed, shown, identified, re-enrolled and erased."""
    preview = tmp_path / "crop.png"
    photo = PICTURES / "obama.jpg"

    code, enrolled = answer(
        capsys, "enroll", photo, "--id", "E1", "--name", "Barack Obama", "--preview", preview
    )
    assert (code, enrolled["outcome"]) == (0, "added")
    assert preview.read_bytes().startswith(b"\x89PNG")

    assert [p["id"] for p in answer(capsys, "people", "list")[1]] == ["E1"]
    _, seen = answer(capsys, "identify", photo, PICTURES / "biden.jpg")
    assert [picture["person"] for picture in seen["pictures"]] == ["E1", None]
    assert seen["pictures"][1]["reason"] == "unknown"

    code, again = answer(capsys, "people", "photo", "E1", PICTURES / "obama3.jpg")
    assert (code, again["outcome"]) == (0, "replaced")
    assert len(answer(capsys, "people", "show", "E1")[1]["history"]) == 2
    assert answer(capsys, "people", "remove", "E1", "--yes") == (
        0,
        {"id": "E1", "outcome": "erased", "may_still_be_in": []},
    )
    assert answer(capsys, "people", "list")[1] == []


def test_erasure_names_every_file_of_a_damaged_database_that_still_holds_the_person(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can take one row out of what was set aside; a log outlives its database and holds rows, too."""
    assert cli.main(["enroll", str(PICTURES / "collins.jpg"), "--id", "E1", "--name", "Eileen Collins"]) == 0
    aside, bereft = (f"glancein.sqlite.damaged-20261129T08531{second}" for second in (1, 2))
    for name in (aside, f"{aside}-wal", f"{aside}-shm", f"{bereft}-wal"):
        (home / name).write_bytes(b"what is left")
    capsys.readouterr()

    assert cli.main(["people", "remove", "E1", "--yes"]) == 0

    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if "damaged" in line] == [
        f"{name}, a damaged database, may still hold them: delete it in {home}"
        for name in (aside, f"{aside}-wal", f"{bereft}-wal")
    ]


def test_pin_of_nobody_cannot_be_taken_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped id is no success."""
    code, told = complaint(capsys, "people", "pin", "E9", "--remove", "--data", home)

    assert (code, told) == (2, "glancein: nobody is enrolled as E9: see glancein people list\n")


def test_erasure_takes_the_desks_consents_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who gets the id next has agreed to nothing yet."""
    photo = PICTURES / "collins.jpg"
    assert cli.main(["enroll", str(photo), "--id", "E1", "--name", "Eileen Collins"]) == 0
    capsys.readouterr()
    agreed = "INSERT INTO consents (person_id, version, text, at, by) VALUES (:id, 'v', 'yes', 0, 'boss')"
    with closing(DeskFile(home)) as desk:
        desk.change(agreed, id="E1")
        desk.change(agreed, id="E2")

    assert answer(capsys, "people", "remove", "E1", "--yes")[0] == 0

    with closing(DeskFile(home)) as desk:
        assert desk.rows("SELECT person_id FROM consents") == [("E2",)]


@pytest.mark.usefixtures("home")
def test_enroll_when_the_face_is_enrolled_already(capsys: pytest.CaptureFixture[str]) -> None:
    """The same face under a second id is refused as a duplicate, unless a reason is given."""
    photo = PICTURES / "collins.jpg"
    assert cli.main(["enroll", str(photo), "--id", "E1", "--name", "Eileen Collins"]) == 0
    capsys.readouterr()

    code, refused = answer(capsys, "enroll", photo, "--id", "E2", "--name", "Other")
    assert (code, refused["reason"], refused["most_like"]["id"]) == (2, "duplicate_person", "E1")
    assert refused["findings"][0]["value"] > refused["findings"][0]["limit"]

    told = complaint(capsys, "enroll", photo, "--id", "E2", "--name", "Other")[1]
    assert told.startswith("glancein: duplicate_person: ")

    code, unchanged = answer(capsys, "enroll", photo, "--id", "E1", "--name", "Eileen Collins", "--dry-run")
    assert (code, unchanged["outcome"]) == (0, "unchanged")

    code, allowed = answer(
        capsys, "enroll", photo, "--id", "E2", "--name", "Other", "--allow-duplicate", "twins"
    )
    assert (code, allowed["outcome"]) == (0, "added")


@pytest.mark.usefixtures("home")
def test_enroll_when_the_face_is_too_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal tells each finding with its measure and limit, and shows the crop it speaks of."""
    photo, preview = tmp_path / "tiny.png", tmp_path / "crop.png"
    with Image.open(PICTURES / "collins.jpg") as whole:
        whole.resize((60, 60 * whole.height // whole.width)).save(photo)

    code, refused = answer(capsys, "enroll", photo, "--id", "E1", "--name", "E", "--preview", preview)

    assert (code, refused["outcome"], refused["reason"]) == (2, "refused", "too_small")
    assert refused["findings"][0]["value"] < refused["findings"][0]["limit"]
    assert preview.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("home")
def test_enroll_when_the_preview_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and nobody is enrolled."""
    preview = tmp_path / "no such folder" / "crop.png"

    code, told = complaint(
        capsys, "enroll", PICTURES / "collins.jpg", "--id", "E1", "--name", "E", "--preview", preview
    )

    assert (code, told.count("\n")) == (2, 1)
    assert answer(capsys, "people", "list")[1] == []


@pytest.mark.usefixtures("home")
def test_enroll_when_given_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A roster reports every row, enrols the good ones, and does nothing the second time."""
    roster = tmp_path / "people.csv"
    roster.write_text("id,name,photo\nE1,Eileen Collins,collins.jpg\nE2,Nobody,gone.jpg\n", encoding="utf-8")
    words = ("enroll", "--csv", roster, "--photos", PICTURES)

    trial = answer(capsys, *words, "--dry-run")
    first = answer(capsys, *words)
    second = answer(capsys, *words)

    statuses = [[row["status"] for row in report["rows"]] for _, report in (trial, first, second)]
    assert statuses == [["would enrol", "refused"], ["enrolled", "refused"], ["unchanged", "refused"]]
    assert {code for code, _ in (trial, first, second)} == {1}


@pytest.mark.usefixtures("home")
def test_people_when_moved_to_another_kiosk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive from one kiosk makes the same people known on another."""
    archive = tmp_path / "people.jsonl"
    cli.main(["enroll", str(PICTURES / "collins.jpg"), "--id", "E1", "--name", "Eileen Collins"])
    capsys.readouterr()
    assert answer(capsys, "people", "export", archive) == (0, {"file": str(archive), "people": 1})
    monkeypatch.setenv("GLANCEIN_DATA", str(tmp_path / "second"))

    assert answer(capsys, "people", "import", archive) == (0, {"E1": "added"})
    assert answer(capsys, "people", "import", archive) == (0, {"E1": "unchanged"})
    assert answer(capsys, "identify", PICTURES / "collins.jpg")[1]["pictures"][0]["person"] == "E1"


@pytest.mark.usefixtures("home")
def test_export_when_there_is_a_pipe_or_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No device or pipe is replaced by an archive, as root not even /dev/null, and no link by a file."""
    pipe, link, archive = tmp_path / "pipe", tmp_path / "link", tmp_path / "people.jsonl"
    os.mkfifo(pipe)
    link.symlink_to(archive)

    code = cli.main(["people", "export", str(pipe)])

    assert (code, "it is no file" in capsys.readouterr().err, pipe.is_fifo()) == (2, True, True)
    assert cli.main(["people", "export", str(link)]) == 0
    assert (link.readlink(), archive.is_file()) == (archive, True)


@pytest.mark.usefixtures("home")
def test_people_when_an_imported_face_is_enrolled_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody known under another id is refused, the others come in, and the kiosk still knows everybody."""
    archive = tmp_path / "people.jsonl"
    for person, file in (("A1", "collins.jpg"), ("A2", "biden.jpg")):
        assert cli.main(["enroll", str(PICTURES / file), "--id", person, "--name", person]) == 0
    assert cli.main(["people", "export", str(archive)]) == 0
    monkeypatch.setenv("GLANCEIN_DATA", str(tmp_path / "second"))
    assert cli.main(["enroll", str(PICTURES / "collins.jpg"), "--id", "X1", "--name", "X"]) == 0
    capsys.readouterr()

    code, told = answer(capsys, "people", "import", archive)

    assert (code, told["A2"], told["A1"]["reason"]) == (1, "added", "duplicate_person")
    assert (told["A1"]["outcome"], told["A1"]["most_like"]["id"]) == ("refused", "X1")
    assert answer(capsys, "identify", PICTURES / "collins.jpg")[1]["pictures"][0]["person"] == "X1"
    code = cli.main(["people", "import", str(archive)])
    assert (code, "as X1 (cosine 1.00)" in capsys.readouterr().out) == (1, True)


@pytest.mark.usefixtures("home")
def test_people_when_imported_twins_were_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason given at the first kiosk counts at the second."""
    archive, photo = tmp_path / "people.jsonl", str(PICTURES / "collins.jpg")
    cli.main(["enroll", photo, "--id", "A2", "--name", "One"])
    cli.main(["enroll", photo, "--id", "A1", "--name", "Two", "--allow-duplicate", "twins"])
    cli.main(["people", "export", str(archive)])
    monkeypatch.setenv("GLANCEIN_DATA", str(tmp_path / "second"))
    capsys.readouterr()

    assert answer(capsys, "people", "import", archive) == (0, {"A1": "added", "A2": "added"})


@pytest.mark.usefixtures("home")
def test_verify_when_given_one_person_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    """The same picture is the same person; two people are not."""
    _, same = answer(capsys, "verify", PICTURES / "obama.jpg", PICTURES / "obama.jpg")
    _, other = answer(capsys, "verify", PICTURES / "obama.jpg", PICTURES / "collins.jpg")

    assert same["same"] is True
    assert same["score"] == pytest.approx(1.0, abs=1e-3)
    assert other["same"] is False


@pytest.mark.usefixtures("home")
def test_identify_when_some_are_unknown_and_one_is_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every answer has the same keys, says who comes near, and why nobody is named, in a sentence."""
    for person, name in (("E1", "obama"), ("E2", "collins")):
        cli.main(["enroll", str(PICTURES / f"{name}.jpg"), "--id", person, "--name", name])
    tiny = tmp_path / "tiny.png"
    with Image.open(PICTURES / "collins.jpg") as whole:
        whole.resize((120, 120 * whole.height // whole.width)).save(tiny)
    capsys.readouterr()

    code, told = answer(
        capsys, "identify", PICTURES / "obama2.jpg", PICTURES / "biden.jpg", tiny, tmp_path / "none.jpg"
    )

    known, unknown, small, missing = told["pictures"]
    assert code == 1
    assert list(known) == list(unknown) == list(small) == list(missing)
    assert (known["person"], known["nearest"], known["runner_up_person"]) == ("E1", "E1", "E2")
    assert known["score"] > known["runner_up"]
    assert (unknown["person"], unknown["reason"]) == (None, "unknown")
    assert {unknown["nearest"], unknown["runner_up_person"]} == {"E1", "E2"}
    assert unknown["runner_up"] <= unknown["score"] < told["threshold"]
    assert small["findings"][0]["reason"] == small["reason"] == "too_small"
    assert "none.jpg cannot be read" in missing["message"]
    assert all(one["message"] for one in (unknown, small, missing))


@pytest.mark.usefixtures("home")
def test_identify_when_printed_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a picture: its whole name, and a sentence where nobody is named."""
    assert cli.main(["identify", str(PICTURES / "biden.jpg"), str(tmp_path / "no\nne.jpg")]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"{PICTURES / 'biden.jpg'}\t")
    assert lines[2].endswith("empty_gallery: nobody is enrolled: begin with glancein enroll")
    assert "no\\nne.jpg" in lines[3]


@pytest.mark.usefixtures("home")
def test_verify_when_a_picture_shows_two_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is picked: refused with its reason, as JSON too, and a sentence that names the file once."""
    two = tmp_path / "two.png"
    with Image.open(PICTURES / "obama.jpg") as left, Image.open(PICTURES / "collins.jpg") as right:
        both = Image.new("RGB", (1000, 600))
        for x, one in ((0, left), (500, right)):
            both.paste(one.convert("RGB").resize((500, 600)), (x, 0))
        both.save(two)

    code = cli.main(["verify", str(two), str(PICTURES / "obama.jpg"), "--json"])

    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (code, document["same"], document["reason"]) == (2, None, "several_faces")
    assert document["message"] in told.err
    assert told.err.count("two.png") == 1


@pytest.mark.usefixtures("home")
def test_embed_when_the_place_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line before the work."""
    code, told = complaint(
        capsys, "embed", PICTURES / "biden.jpg", "--out", tmp_path / "no\nfolder" / "e.npz"
    )

    assert (code, told.count("\n")) == (2, 1)
    assert "no\\nfolder/e.npz cannot be written: No such file" in told


@pytest.mark.usefixtures("home")
def test_embed_when_the_list_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name is what the disk has, in whatever encoding; what was missed is said once, on one line."""
    name = os.fsencode(tmp_path) + b"/b\xff.png"
    with Image.open(PICTURES / "biden.jpg") as picture, open(name, "wb") as copy:  # noqa: PTH123  # bytes
        picture.save(copy, "PNG")
    listed = tmp_path / "files.txt"
    listed.write_bytes(b"\xef\xbb\xbf" + name + b"\r\n\n" + os.fsencode(tmp_path) + b"/gone.jpg")

    code = cli.main(["embed", "--list", str(listed), "--out", str(tmp_path / "e.npz"), "--processes", "1"])

    told = capsys.readouterr()
    assert (code, told.out.split()[:3]) == (1, ["1", "of", "2"])
    assert told.err == f"{tmp_path}/gone.jpg cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read as a list of paths: No such file or directory"),
        (b"a\0", "save it as plain text"),
    ],
)
@pytest.mark.usefixtures("home")
def test_embed_when_the_list_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    """One line in words, without the system's number."""
    listed = tmp_path / "files.txt"
    if content is not None:
        listed.write_bytes(content)

    code, told = complaint(capsys, "embed", "--list", listed, "--out", tmp_path / "e.npz")

    assert (code, told.count("\n")) == (2, 1)
    assert said in told
    assert "Errno" not in told


@pytest.mark.usefixtures("home")
def test_embed_when_given_a_list_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every picture of a list is a row of the .npz, in order, in one process or two; one missing: code 1."""
    listed = tmp_path / "files.txt"
    names = [str(PICTURES / name) for name in ("collins.jpg", "biden.jpg")]
    listed.write_text("\n".join([*names, str(tmp_path / "none.jpg")]) + "\n", encoding="utf-8")
    outs = [tmp_path / "one.npz", tmp_path / "two.npz"]

    for out, processes in zip(outs, ("1", "2"), strict=True):
        code, told = answer(capsys, "embed", "--list", listed, "--out", out, "--processes", processes)
        assert (code, told["found"], told["pictures"]) == (1, 2, 3)

    with np.load(outs[0]) as one, np.load(outs[1]) as two:
        assert one["path"].tolist()[:2] == names
        assert one["found"].tolist() == [True, True, False]
        assert one["embedding"] == pytest.approx(two["embedding"], abs=1e-6)


def test_embed_with_templates_gives_what_enrolling_stores(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for the place of the face, which enrolment searches in all turns."""
    photo = PICTURES / "collins.jpg"
    assert answer(capsys, "enroll", photo, "--id", "c1", "--name", "Eileen Collins")[0] == 0

    code, _ = answer(capsys, "embed", photo, "--templates", "--out", tmp_path / "e.npz")

    assert code == 0
    with closing(SqlitePeople(home / "glancein.sqlite")) as people, np.load(tmp_path / "e.npz") as stored:
        (template,) = people.templates(str(stored["model_sha256"]))
        assert float(stored["template"][0] @ template.vector) > 0.98


@pytest.mark.usefixtures("home")
def test_doctor_when_nothing_is_set_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Doctor says a line for each thing, with what to do where something is missing."""
    code, checks = answer(capsys, "doctor", "--camera", f"{tmp_path}/")

    found = {check["what"]: check for check in checks}
    assert code == 1
    assert found["camera"]["state"] == "broken"
    assert found["camera"]["advice"]
    assert found["embedder"]["state"] == found["finder"]["state"] == "ok"


def test_doctor_when_a_setting_is_wrong(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table says so in a line that names the file, and goes on with what needs no settings."""
    home.mkdir()
    (home / "settings.toml").write_text('direction = "sideways"\n', encoding="utf-8")

    code, checks = answer(capsys, "doctor")

    assert (code, checks[0]["what"], checks[0]["state"]) == (1, "settings", "broken")
    assert "settings.toml: direction 'sideways'" in checks[0]["said"]
    assert "disk" in {check["what"] for check in checks}


@pytest.mark.usefixtures("home")
def test_bench_when_run_briefly(capsys: pytest.CaptureFixture[str]) -> None:
    """Bench times every stage and the memory."""
    code, told = answer(capsys, "bench", "--repeats", "3")

    assert code == 0
    assert {"find", "align", "embed", "search 100,000 people"} <= {s["stage"] for s in told["stages"]}
    assert told["peak_memory_mb"] > 0


def test_make_key_when_used_for_a_feed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key is written once, and its printed line is one that a list of trusted keys takes."""
    key, trusted = tmp_path / "hr.key", tmp_path / "trusted"

    assert cli.main(["make-key", str(key), "--whose", "consumer hr"]) == 0
    line = capsys.readouterr().out
    trusted.write_text(line, encoding="utf-8")
    seal = wiring.open_seal(key, trusted)

    assert line.startswith("consumer hr ")
    assert seal.sign is not None
    assert seal.verify is not None
    assert seal.verify("consumer", b"core", seal.sign(b"core"))
    assert cli.main(["make-key", str(key)]) == 2
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "whose", ["kiosk door", "kiosk hq/", "kiosk hq/door/2", "kiosk +/door", "hr", "consumer "]
)
def test_make_key_for_nobody_who_could_use_it(tmp_path: Path, whose: str) -> None:
    """A line that no list of trusted keys takes, or that means no kiosk, is not printed, and no key made."""
    assert cli.main(["make-key", str(tmp_path / "key"), "--whose", whose]) == 2
    assert not (tmp_path / "key").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["written at the end", "written at once"])
def test_result_when_its_place_is_full(home: Path, unbuffered: str) -> None:
    """A full disk behind standard output is one line and a code, not a traceback."""
    home.mkdir()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "glancein", "people", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(DEVICE), "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == (
        "glancein: the result cannot be written: No space left on device; send it elsewhere\n"
    )


@pytest.mark.usefixtures("home")
def test_kiosk_serves_the_desk_where_the_settings_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service has its environment and no command line; a port that is taken is told from there too."""
    monkeypatch.setenv("GLANCEIN_DESK_HOST", "127.0.0.2")
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("GLANCEIN_DESK_PORT", str(port))
        code, told = complaint(capsys, "kiosk", "--camera", f"{PICTURES}/", "--port", "0")

    assert code == 2
    assert f"cannot listen on 127.0.0.2 port {port}" in told


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", ["desk", "kiosk"])
def test_desk_when_its_address_is_empty(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A line of kiosk.env that was left open does not open the desk to the network."""
    monkeypatch.setenv("GLANCEIN_DESK_HOST", "")
    words = ["--host", "", "--port", "0"]
    if command == "kiosk":
        words = ["--camera", f"{PICTURES}/", "--port", "0", "--desk-port", "0"]

    code, told = complaint(capsys, command, *words)

    assert code == 2
    assert "the address to listen on is empty" in told


def test_kiosk_tells_programs_beside_it_how_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it runs, from before it takes the camera."""
    told: list[dict[str, object] | None] = []
    monkeypatch.setattr(
        "glancein.kiosk.Kiosk.run", lambda *_: told.append(wiring.running_kiosk(wiring.open_home(home)))
    )
    code = cli.main(["kiosk", "--camera", f"{PICTURES}/", "--port", "0"])

    assert code == 0
    assert told == [{"frames": 0, "recorded": 0, "not_recorded": 0, "enrolled": 0, "camera": ""}]
    assert wiring.running_kiosk(wiring.open_home(home)) is None


@pytest.mark.usefixtures("home")
def test_kiosk_tells_the_time_of_its_time_zone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the terminal as on the page and in the feed, whatever zone the machine is in."""
    monkeypatch.setenv("GLANCEIN_TIME_ZONE", "Asia/Seoul")
    punch = event(punch=check_in())  # noon UTC
    monkeypatch.setattr(
        "glancein.kiosk.Kiosk.run", lambda door, _: door._parts.screen.show_recorded(punch, None)
    )

    cli.main(["kiosk", "--camera", f"{PICTURES}/", "--port", "0"])

    assert " at 21:00:00 " in capsys.readouterr().out


def test_desk_prints_a_code_for_another_admin(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody knows a password, who sits at the machine reads a code; else there is none."""
    with closing(DeskFile(home)) as file:
        Accounts(file).add("boss", "five green lamps", role=Role.ADMIN)

    def tell_and_end(*told: Any, safer: str) -> None:  # Any: what the command tells of
        tell(*told, safer=safer)
        raise SettingsError("that is all")

    monkeypatch.setattr("glancein.cli.desk.tell", tell_and_end)
    cli.main(["desk", "--port", "0"])
    without = capsys.readouterr().err
    cli.main(["desk", "--port", "0", "--new-admin"])

    assert "/setup" not in without
    assert re.search(r"another admin; open \S+/setup and enter (\w{4}-){2}\w{4}\n", capsys.readouterr().err)


def test_kiosk_names_no_option_of_another_command_when_its_desk_is_open(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``glancein kiosk`` has no --certificate: it says which command has."""

    @contextmanager
    def serve(*_: object, **__: object) -> Iterator[tuple[object, object]]:
        yield (
            SimpleNamespace(url="http://kiosk:8600"),
            SimpleNamespace(accounts=SimpleNamespace(setup_code="")),
        )

    monkeypatch.setattr("glancein.web.desk.build.serving_desk", serve)
    everywhere = "0.0.0.0"  # noqa: S104  # nothing is bound: the server is a stand-in
    with run._desk_beside(wiring.open_home(home), cast("Kiosk", None), everywhere, 8600):
        told = capsys.readouterr().err

    assert "unencrypted" in told
    assert "glancein desk --certificate" in told

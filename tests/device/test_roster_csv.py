"""Rosters: the encodings and spellings people really save, and each row that must not be enrolled."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from glancein.adapters.roster_csv import read_roster
from glancein.domain.roster import BadRow, RosterRow
from glancein.errors import InputError

HEADER = "id,name,photo\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two photos, and a secret beside it."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (folder / name).write_bytes(b"photo")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return folder


def rows_of(photos: Path, content: bytes | str, encoding: str | None = None) -> list[RosterRow | BadRow]:
    """The rows of a roster file with this content."""
    path = photos.parent / "people.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_roster(path, photos, encoding=encoding)


def good(photos: Path, content: bytes | str, encoding: str | None = None) -> list[tuple[str, str, str]]:
    """The rows, all of which must be usable, as (id, name, photo)."""
    rows = rows_of(photos, content, encoding)
    assert all(isinstance(row, RosterRow) for row in rows), rows
    return [
        (row.person_id, row.name, str(row.photo.relative_to(photos.resolve())))
        for row in rows
        if isinstance(row, RosterRow)
    ]


def bad(photos: Path, row: str) -> BadRow:
    """The one row, which must be refused."""
    (found,) = rows_of(photos, HEADER + row + "\n")
    assert isinstance(found, BadRow), found
    return found


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8"),
        lambda text: codecs.BOM_UTF8 + text.encode("utf-8"),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    ],
    ids=["utf-8", "utf-8 with mark", "utf-16", "utf-16 big-endian", "utf-32"],
)
def test_read_roster_knows_unicode_with_and_without_mark(photos: Path, encode: object) -> None:
    """Names survive in every Unicode form a spreadsheet writes."""
    assert callable(encode)
    content = encode(HEADER + "E1,Zoë Müller,a.jpg\nE2,홍길동,b.jpg\n")

    assert good(photos, content) == [("E1", "Zoë Müller", "a.jpg"), ("E2", "홍길동", "b.jpg")]


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "Zoë"), ("cp949", "홍길동")])
def test_read_roster_in_old_encoding_is_refused_until_named(photos: Path, encoding: str, name: str) -> None:
    """An encoding is never guessed; named, it is used."""
    content = (HEADER + f"E1,{name},a.jpg\n").encode(encoding)

    with pytest.raises(InputError, match=r"line 2: not utf-8; save it as 'CSV UTF-8', or name its encoding"):
        rows_of(photos, content)

    assert good(photos, content, encoding) == [("E1", name, "a.jpg")]


@pytest.mark.parametrize(
    "content",
    [
        "Employee ID,Full Name,Photo File\nE1,Ann,a.jpg\n",
        "photo;name;id\na.jpg;Ann;E1\n",
        "ID\tNAME\tPICTURE\tremark\nE1\tAnn\ta.jpg\tnew\n",
        "사번,성명,사진\r\nE1,Ann,a.jpg\r\n",
        'id,name,photo\n"E1"," Ann ","a.jpg"\n\n,,\n   ,\n',
    ],
    ids=["words", "semicolons", "tabs", "Korean", "quotes and empty rows"],
)
def test_read_roster_takes_headers_as_people_write_them(photos: Path, content: str) -> None:
    """Columns are found by name in any order, with any usual delimiter; empty rows are skipped."""
    assert good(photos, content) == [("E1", "Ann", "a.jpg")]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("sep=;\nid;name;photo\nE1;Ann;a.jpg\n", 3),
        ('"sep=|"\r\nid|name|photo\r\nE1|Ann|a.jpg\r\n', 3),
        ("SEP=\t\nid\tname\tphoto\nE1\tAnn\ta.jpg\n", 3),
        ('id;name;photo;"remarks, one, two, three, four"\nE1;Ann;a.jpg;"a, b"\n', 2),
    ],
    ids=["Excel's line", "in quotes", "a tab", "commas in a quoted column"],
)
def test_read_roster_takes_the_separator_that_the_file_names(photos: Path, content: str, line: int) -> None:
    """By Excel's first line, or by the one under which the header's names stand; lines count from the top."""
    assert good(photos, content) == [("E1", "Ann", "a.jpg")]
    assert rows_of(photos, content)[0].line == line


def test_read_roster_keeps_the_reason_for_a_duplicate(photos: Path) -> None:
    """A further column says for each row why a face like an enrolled one is right."""
    rows = rows_of(
        photos, "id,name,photo,Allow Duplicate\nE1,Ann,a.jpg, twins \nE2,Bea,b.jpg,\nE3,Cid,b.jpg\n"
    )

    assert [row.allow_duplicate for row in rows if isinstance(row, RosterRow)] == ["twins", "", ""]


def test_read_roster_photo_in_subfolder_with_backslash_is_found(photos: Path) -> None:
    """A Windows path inside the folder is understood."""
    assert good(photos, HEADER + "E1,Ann,sub\\c.jpg\n") == [("E1", "Ann", "sub/c.jpg")]


@pytest.mark.parametrize(
    "cell",
    [
        "../secret.jpg",
        "/etc/passwd",
        "sub/../../secret.jpg",
        "..\\secret.jpg",
        "C:\\a.jpg",
        "C:a.jpg",
        "a\x01.jpg",
    ],
)
def test_read_roster_photo_outside_folder_is_refused(photos: Path, cell: str) -> None:
    """No row can name a file outside the photo folder."""
    row = bad(photos, f"E1,Ann,{cell}")

    assert row.reason == "bad_photo_path"
    assert "must be a name inside the photo folder" in row.message


def test_read_roster_link_out_of_the_folder_is_refused(photos: Path) -> None:
    """A link inside the folder cannot lead out of it."""
    (photos / "link.jpg").symlink_to(photos.parent / "secret.jpg")

    assert "leads out of the photo folder" in bad(photos, "E1,Ann,link.jpg").message


@pytest.mark.parametrize("cell", ["missing.jpg", "", "sub", "loop.jpg"])
def test_read_roster_missing_photo_is_named(photos: Path, cell: str) -> None:
    """A photo that is not there is that row's problem only."""
    (photos / "loop.jpg").symlink_to("loop.jpg")

    assert bad(photos, f"E1,Ann,{cell}").reason == "bad_photo_path"


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+SUM(1)", "-2", "@cmd", '"=1+1"'])
def test_read_roster_formula_as_name_is_refused(photos: Path, name: str) -> None:
    """What a spreadsheet would run is no name."""
    row = bad(photos, f"E1,{name},a.jpg")

    assert row.reason == "bad_row"
    assert "formula" in row.message


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("=1,Ann,a.jpg", "formula"),
        (",Ann,a.jpg", "id"),
        ("E1,,a.jpg", "name"),
        ("a/b,Ann,a.jpg", "'/'"),
        ("E1", "name"),
    ],
)
def test_read_roster_unusable_cells_are_refused(photos: Path, cells: str, words: str) -> None:
    """Each bad cell is named in its own row's report."""
    assert words in bad(photos, cells).message


def test_read_roster_second_row_of_an_id_is_refused_with_the_first_line(photos: Path) -> None:
    """Two people cannot share an id, however it is normalised."""
    rows = rows_of(photos, HEADER + "Ä1,Ann,a.jpg\nA\u03081,Bob,b.jpg\nE2,Cid,b.jpg\n")

    assert isinstance(rows[1], BadRow)
    assert (rows[1].reason, rows[1].line) == ("duplicate_id", 3)
    assert "line 2" in rows[1].message
    assert isinstance(rows[2], RosterRow)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "missing: id, name, photo"),
        (b"id,name\nE1,Ann\n", "missing: photo"),
        (b"\xff\xfe\x00", "not utf-16"),
        (b"PK\x03\x04\x00\x00", "not text"),
        (b'id,name,photo\nE1,"Ann,a.jpg\n', "line 2 is not CSV"),
        (b'id,name,photo\nE1,"A"nn,a.jpg\n', "line 2 is not CSV"),
    ],
    ids=["empty", "no photo column", "half utf-16", "spreadsheet", "open quote", "stray quote"],
)
def test_read_roster_unusable_file_is_one_line(photos: Path, content: bytes, words: str) -> None:
    """A file that is no roster is refused as a whole, before anybody is enrolled."""
    with pytest.raises(InputError, match=words) as refused:
        rows_of(photos, content)

    assert str(refused.value).isprintable()


def test_read_roster_missing_file_folder_or_encoding_is_named(photos: Path) -> None:
    """Each wrong argument says which it is."""
    people = photos.parent / "people.csv"
    people.write_text(HEADER, encoding="utf-8")

    with pytest.raises(InputError, match="No such file"):
        read_roster(photos / "no.csv", photos)
    with pytest.raises(InputError, match="not a folder"):
        read_roster(people, photos / "a.jpg")
    for name in ("klingon", "undefined"):  # Python ships a codec of the second name
        with pytest.raises(InputError, match=f"no encoding '{name}'"):
            read_roster(people, photos, encoding=name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_read_roster_mark_is_no_part_of_the_first_column(photos: Path, encoding: str) -> None:
    """Whoever names the encoding of a file that begins with its mark is right as well."""
    people = photos.parent / "people.csv"
    people.write_text("\ufeffid,name,photo\nE1,Ann,a.jpg\n", encoding=encoding)

    (row,) = read_roster(people, photos, encoding=encoding)

    assert isinstance(row, RosterRow)
    assert row.person_id == "E1"

"""From a file of embeddings to the report, and every way the files can fail to fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install glancein[training]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install glancein[training]")

from glancein.errors import InputError
from glancein_training.evaluate import structure
from glancein_training.evaluate.bootstrap import person_weights
from glancein_training.evaluate.command import Request, evaluate, find_padding
from glancein_training.evaluate.compare import compare
from glancein_training.evaluate.contact_sheet import load_tiles, write_sheet
from glancein_training.evaluate.faces import Faces, Floats, parity_of, read_faces, unit_rows
from glancein_training.evaluate.groups import strangers_by_group
from glancein_training.evaluate.pair_list import listed_pairs, read_pair_list
from glancein_training.evaluate.report import Plan, measure
from glancein_training.evaluate.verification import all_pairs, thresholds_at

QUICK = Plan(galleries=(10, 20), drawings=3, resamples=10, map_people=5)


def vectors_of(people: int, each: int, *, seed: int = 0) -> Floats:
    """Noisy copies of random directions."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(people, 24)), each, axis=0)
    return unit_rows(np.asarray(centres + 0.5 * rng.normal(size=centres.shape), np.float32))


def write_embeddings(folder: Path, people: int = 50, each: int = 3) -> Path:
    """What ``glancein embed`` writes, with one picture that has no face."""
    path = np.array([f"set/p{k:03d}/p{k:03d}_{j + 1:04d}.png" for k in range(people) for j in range(each)])
    count = len(path)
    found = np.ones(count, bool)
    found[-1] = False
    np.savez(
        folder / "faces.npz",
        path=path,
        found=found,
        embedding=vectors_of(people, each),
        box=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        quality=np.ones(count, np.float32),
    )
    return folder / "faces.npz"


def write_labels(folder: Path, people: int = 50, each: int = 3) -> Path:
    """A label file with a split and a group."""
    lines = ["path,identity,split,group"]
    lines += [
        f"p{k:03d}/p{k:03d}_{j + 1:04d}.png,{k},{'train' if k < 8 else 'val'},{'x' if k % 3 else 'y'}"
        for k in range(people)
        for j in range(each)
    ]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "labels.csv"


def test_report_is_written_whole(tmp_path: Path) -> None:
    """JSON and HTML hold the same figures, and the page needs no other file."""
    request = Request(write_embeddings(tmp_path), labels=write_labels(tmp_path), split="val")

    report = evaluate(request, tmp_path / "out", QUICK)

    stored = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (stored["pictures"], stored["people"], stored["no_face"], stored["padding"]) == (126, 42, 1, 8)
    value = report.verification.true_accepts["1e-02"].value
    assert stored["verification"]["true_accepts"]["1e-02"]["value"] == value
    assert f"{100 * value:.2f} %" in page
    assert page.count("<img") == 5
    assert 'src="http' not in page
    assert {row["group"] for row in stored["groups"]} == {"x", "y"}
    curves = stored["verification"]["curves"]
    assert {len(points) for points in curves.values()} == {200}
    assert (curves["roc_false_accepts"][-1], curves["val"][-1], curves["far"][-1]) == (1, 1, 1)


def test_every_figure_of_the_report_has_its_interval(tmp_path: Path) -> None:
    """Beside the figure in JSON, in brackets on the page."""
    report = evaluate(Request(write_embeddings(tmp_path)), tmp_path / "out", QUICK)

    stored = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    low, high = stored["verification"]["area_interval"]
    assert f"{stored['verification']['area']:.5f} ({low:.5f} to {high:.5f})" in page
    fold = stored["verification"]["ten_fold"]
    low, high = (100 * end for end in fold["accuracy_interval"])
    assert f"{100 * fold['accuracy']:.2f} % ({low:.2f} to {high:.2f}), standard error" in page
    assert {len(row["true_accepts_interval"]) for row in stored["transfer"]} == {2}
    assert all(f"{row['realised_far']:.2e} (" in page for row in stored["transfer"])
    for row in stored["clusters"]:
        low, high = row["pair_f_interval"]
        assert f"pairwise F {row['pair_f']:.3f} ({low:.3f} to {high:.3f})" in page
    curves = report.verification.curves
    assert {len(ends or ()) for ends in curves.val_interval + curves.far_interval} == {2}


def test_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    """Nothing in the figures depends on when they were measured."""
    faces = read_faces(write_embeddings(tmp_path))

    assert measure(faces, QUICK) == measure(faces, QUICK)


def test_labels_and_pairs_may_begin_with_the_mark_of_spreadsheets(tmp_path: Path) -> None:
    """The first column and the number of folds are read as without it."""
    embeddings, labels = write_embeddings(tmp_path), write_labels(tmp_path)
    lines = ["10\t1", *(f"p{k:03d}\t1\t2\np{k:03d}\t1\tp{k + 10:03d}\t2" for k in range(10))]
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    plain = read_faces(embeddings, labels=labels)
    listed = read_pair_list(tmp_path / "pairs.txt")

    for path in (labels, tmp_path / "pairs.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    marked = read_faces(embeddings, labels=labels)
    assert marked.path.tolist() == plain.path.tolist()
    assert marked.split.tolist() == plain.split.tolist()
    assert read_pair_list(tmp_path / "pairs.txt") == listed


def test_empty_lines_of_a_spreadsheet_name_nobody(tmp_path: Path) -> None:
    """Labels by badge number that end in commas alone are read as without."""
    np.savez(tmp_path / "e.npz", path=["x/E1.jpg", "x/E2.jpg"], embedding=np.eye(2, 4))
    (tmp_path / "people.csv").write_text("id,group\nE1,a\nE2,b\n,\n", encoding="utf-8")

    faces = read_faces(tmp_path / "e.npz", labels=tmp_path / "people.csv")

    assert faces.people == ("E1", "E2")


def test_people_are_the_folders_without_labels(tmp_path: Path) -> None:
    """A folder per person needs no label file."""
    faces = read_faces(write_embeddings(tmp_path, 4, 2))

    assert faces.people == ("p000", "p001", "p002", "p003")


def test_few_second_pictures_give_a_report_without_ten_folds(tmp_path: Path) -> None:
    """A company where 8 of 60 have a second picture: a fold has nobody to look for, the rest is measured."""
    everyone = read_faces(write_embeddings(tmp_path, 60, 2))
    faces = everyone.take((np.arange(len(everyone)) % 2 == 0) | (everyone.identity < 8))

    report = measure(faces, QUICK)

    assert report.verification.ten_fold is None
    assert report.verification.genuine_pairs == 8


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_too_few_faces_are_refused(tmp_path: Path, seen: int) -> None:
    """Nothing can be told from them, and the libraries behind the report break on them."""
    found = np.arange(12) < seen
    np.savez(
        tmp_path / "e.npz",
        path=[f"p{k % 4}/{k}.jpg" for k in range(12)],
        found=found,
        embedding=vectors_of(12, 1),
    )

    with pytest.raises(InputError, match=f"{seen} of 12 pictures have a face"):
        evaluate(Request(tmp_path / "e.npz"), tmp_path / "out", QUICK)

    assert not (tmp_path / "out").exists()


def test_file_without_pictures_is_refused(tmp_path: Path) -> None:
    """An empty folder that was embedded."""
    np.savez(tmp_path / "e.npz", path=np.array([], str), embedding=np.zeros((0, 24), np.float32))

    with pytest.raises(InputError, match=r"e\.npz holds no pictures"):
        read_faces(tmp_path / "e.npz")


def test_badge_folders_match_by_file_name(tmp_path: Path) -> None:
    """One folder of badge photos and one of the kiosk: the person is the file's name, groups come by id."""
    path = np.array(["neutral/001.jpg", "neutral/002.jpg", "smiling/001.jpg", "smiling/002.jpg"])
    np.savez(tmp_path / "b.npz", path=path, found=np.ones(4, bool), embedding=vectors_of(4, 1))
    (tmp_path / "people.csv").write_text("id,self_reported_gender\n001,female\n002,male\n", encoding="utf-8")

    faces = read_faces(tmp_path / "b.npz", labels=tmp_path / "people.csv")

    assert faces.people == ("001", "002")
    assert faces.groups["self_reported_gender"].tolist() == ["female", "male", "female", "male"]


def test_halves_share_no_person_and_lose_none(tmp_path: Path) -> None:
    """Even people choose, odd people report."""
    faces = read_faces(write_embeddings(tmp_path), labels=write_labels(tmp_path))
    even, odd = faces.half(0), faces.half(1)

    assert set(even.people).isdisjoint(odd.people)
    assert len(even) + len(odd) == len(faces)
    assert all(int(name) % 2 == 0 for name in even.people)
    assert {parity_of(name) for name in ("anna", "bert", "carl", "dora", "emil")} == {0, 1}


def test_other_splits_pad_the_gallery_with_one_picture_each(tmp_path: Path) -> None:
    """People of the other splits fill large galleries, one template each."""
    request = Request(write_embeddings(tmp_path), labels=write_labels(tmp_path), split="val")
    everyone = read_faces(request.embeddings, labels=request.labels)

    padding = find_padding(everyone, request, seed=0)

    assert padding is not None
    assert len(padding) == len(padding.people) == 8


def test_pair_list_in_folds_is_followed(tmp_path: Path) -> None:
    """LFW's format: the header's folds, genuine lines with two numbers, impostor lines with two people."""
    lines = ["10\t1"]
    for k in range(10):
        lines += [f"p{k:03d}\t1\t2", f"p{k:03d}\t1\tp{k + 10:03d}\t2"]
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    faces = read_faces(write_embeddings(tmp_path))

    pairs = listed_pairs(faces, read_pair_list(tmp_path / "pairs.txt"))

    assert pairs.fold is not None
    assert pairs.fold.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert pairs.same.tolist() == [True, False] * 10
    assert faces.path[pairs.right[1]] == "set/p010/p010_0002.png"


def test_listed_pairs_are_all_that_is_judged(tmp_path: Path) -> None:
    """With a pair list the figures are those pairs' only."""
    lines = ["10\t1"]
    for k in range(10):
        lines += [f"p{k:03d}\t1\t2", f"p{k:03d}\t1\tp{k + 10:03d}\t2"]
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    faces = read_faces(write_embeddings(tmp_path))

    report = measure(faces, QUICK, listed=listed_pairs(faces, read_pair_list(tmp_path / "pairs.txt")))

    assert (report.verification.genuine_pairs, report.verification.impostor_pairs) == (10, 10)
    assert report.verification.ten_fold is not None
    assert report.open_set == []


def test_list_of_other_folds_gets_no_ten_fold_accuracy(tmp_path: Path) -> None:
    """Rather none than that of other pairs."""
    (tmp_path / "pairs.txt").write_text("1\t1\np000\t1\t2\np000\t1\tp001\t1\n", encoding="utf-8")
    faces = read_faces(write_embeddings(tmp_path))

    report = measure(faces, QUICK, listed=listed_pairs(faces, read_pair_list(tmp_path / "pairs.txt")))

    assert report.verification.ten_fold is None


def test_list_with_few_strangers_gets_no_ten_fold_accuracy(tmp_path: Path) -> None:
    """Twelve genuine pairs make ten folds, five impostor ones do not: the other figures stand."""
    lines = [f"p{k:03d}\t1\t2" for k in range(12)] + [f"p{k:03d}\t1\tp{k + 1:03d}\t1" for k in range(5)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    faces = read_faces(write_embeddings(tmp_path))

    report = measure(faces, QUICK, listed=listed_pairs(faces, read_pair_list(tmp_path / "pairs.txt")))

    assert report.verification.ten_fold is None
    assert (report.verification.genuine_pairs, report.verification.impostor_pairs) == (12, 5)


def test_only_badge_photos_set_the_report_s_thresholds(tmp_path: Path) -> None:
    """``enrol`` reaches the table of thresholds too."""
    faces = read_faces(write_embeddings(tmp_path))
    first = np.array([path.endswith("0001.png") for path in faces.path])

    told, other = measure(faces, QUICK, enrol=first).limits, measure(faces, QUICK).limits

    assert [limit.gallery for limit in told] == [limit.gallery for limit in other]
    assert told != other


def test_strangers_intervals_rest_on_all_resamples(tmp_path: Path) -> None:
    """Twenty would make an interval's ends those of the outermost two."""
    faces = read_faces(write_embeddings(tmp_path), labels=write_labels(tmp_path))
    strangers = faces.take(np.arange(0, len(faces), 3))
    strangers.vector[::2] = strangers.vector[0]  # every second one looks like all others of these

    found = measure(faces, replace(QUICK, resamples=200), padding=strangers).strangers

    limit = float(thresholds_at(all_pairs(faces).impostor(), (1e-3,))[0])
    wanted = strangers_by_group(strangers, limit, resamples=200, seed=0)
    assert [row.false_match for row in found] == [row.false_match for row in wanted]
    assert 0 < found[0].false_match.value < 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10\t1\nann\t1\t2\n", "promises 10 folds"),
        ("ann one two\n", "pair 1"),
        ("", "names no pairs"),
        ("nobody\t1\t2\np000\t1\tp001\t1\n", "nobody/nobody_0001"),
        ("p000\t1\t2\np001\t1\t2\n", "no genuine or no impostor pairs"),
        ("p000\t1\tp001\t2\n", "no genuine or no impostor pairs"),
    ],
)
def test_pair_list_that_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    """A broken pair list says which line or picture is wrong."""
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8")
    request = Request(write_embeddings(tmp_path), pairs=tmp_path / "pairs.txt")

    with pytest.raises(InputError, match=said):
        evaluate(request, tmp_path / "out", QUICK)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("embedding", np.zeros(12, np.float32), "'embedding' of .* is 12 float32, not 12 x any numbers"),
        ("embedding", np.zeros((11, 24), np.float32), "is 11 x 24 float32, not 12 x any"),
        ("embedding", np.full((12, 24), "x"), "is 12 x 24 <U1, not 12 x any numbers"),
        ("found", np.ones(3, bool), "'found' of .* is 3 bool, not 12 numbers"),
        ("found", np.ones((12, 2), bool), "is 12 x 2 bool, not 12 numbers"),
        (
            "template",
            np.zeros((12, 23), np.float32),
            "'template' of .* is 12 x 23 float32, not 12 x 24 numbers",
        ),
        ("quality", np.float32(1), "'quality' of .* is a single float32, not 12 numbers"),
    ],
)
def test_array_that_does_not_fit_the_pictures_is_named(
    tmp_path: Path, name: str, array: np.ndarray, said: str
) -> None:
    """Which one, what it is and what it should be."""
    with np.load(write_embeddings(tmp_path, 4, 3)) as stored:
        arrays = {**stored, name: array}
    np.savez(tmp_path / "e.npz", allow_pickle=False, **arrays)

    with pytest.raises(InputError, match=said):
        read_faces(tmp_path / "e.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"vectors": np.ones(4, np.int8), "scale": np.ones(4)}, "'vectors' of .* is 4 int8, not any x any"),
        ({"vectors": np.ones((4, 2), np.int8), "scale": np.ones(3)}, "'scale' of .* is 3 float64, not 4"),
        ({"vectors": np.ones((4, 2), np.int8)}, "no array 'scale'"),
    ],
)
def test_teacher_of_other_shapes_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    """A row of steps for each picture, and one scale for each row."""
    np.savez(tmp_path / "teacher.npz", allow_pickle=False, **arrays)

    with pytest.raises(InputError, match=said):
        read_faces(tmp_path / "teacher.npz", labels=write_labels(tmp_path, 2, 2))


def test_templates_are_read_at_unit_length_and_go_with_their_pictures(tmp_path: Path) -> None:
    """A picture whose template is damaged is one without a face."""
    with np.load(write_embeddings(tmp_path, 4, 3)) as stored:
        template = np.asarray(5 * stored["embedding"][::-1], np.float32)
        template[2] = np.nan
        np.savez(tmp_path / "e.npz", allow_pickle=False, **stored, template=template)

    faces = read_faces(tmp_path / "e.npz")

    assert faces.found.tolist() == [k not in {2, 11} for k in range(12)]
    np.testing.assert_allclose(np.linalg.norm(faces.enrolled, axis=1), faces.found, atol=1e-6)
    some = faces.take(np.array([4, 7]))
    np.testing.assert_allclose(
        some.enrolled, template[[4, 7]] / np.linalg.norm(template[[4, 7]], axis=1)[:, None], atol=1e-6
    )
    assert read_faces(tmp_path / "faces.npz").template is None


def test_wrong_files_are_named(tmp_path: Path) -> None:
    """A file that is no .npz, or has no embeddings, is refused in one sentence."""
    (tmp_path / "text.npz").write_text("no zip", encoding="utf-8")
    np.savez(tmp_path / "empty.npz", path=np.array(["a"]))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "empty.npz").read_bytes()[:60])
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    (tmp_path / "latin.csv").write_bytes(b"path,identity\nM\xfcller/1.png,1\n")

    with pytest.raises(InputError, match=r"cannot read .*cut.npz"):
        read_faces(tmp_path / "cut.npz")
    with pytest.raises(InputError, match=r"array.npz is a single array"):
        read_faces(tmp_path / "array.npz")
    with pytest.raises(InputError, match="save it as CSV in UTF-8"):
        read_faces(write_embeddings(tmp_path), labels=tmp_path / "latin.csv")
    with pytest.raises(InputError, match=r"cannot read .*text.npz"):
        read_faces(tmp_path / "text.npz")
    with pytest.raises(InputError, match="no array 'embedding'"):
        read_faces(tmp_path / "empty.npz")
    with pytest.raises(InputError, match="cannot read labels"):
        read_faces(write_embeddings(tmp_path), labels=tmp_path / "missing.csv")


def test_padding_of_another_network_is_refused(tmp_path: Path) -> None:
    """Its vectors are of another length, and their cosines would mean nothing."""
    request = Request(write_embeddings(tmp_path), padding=tmp_path / "strangers.npz")
    np.savez(tmp_path / "strangers.npz", path=[f"s{k}/1.png" for k in range(9)], embedding=np.eye(9, 12))

    with pytest.raises(InputError, match="vectors of 12 numbers, the pictures of 24"):
        evaluate(request, tmp_path / "out", QUICK)


def test_compared_misses_are_left_out_where_the_data_cannot_tell_them(tmp_path: Path) -> None:
    """As in a report: FPIR 1 % needs a hundred looks of strangers."""
    faces = read_faces(write_embeddings(tmp_path))
    few, many = faces.sample(20, seed=0), faces

    one, other = (
        compare([("a", some), ("b", some)], gallery=10, resamples=5, seed=0) for some in (few, many)
    )

    assert np.isnan(one[0].miss.value)
    assert np.isnan(one[1].miss_difference.value)
    assert 0 <= other[0].miss.value <= 1
    assert other[1].miss_difference.value == 0


def test_unknown_split_or_half_says_what_there_is(tmp_path: Path) -> None:
    """A choice that leaves nothing names the choices."""
    embeddings, labels = write_embeddings(tmp_path), write_labels(tmp_path)

    with pytest.raises(InputError, match="train, val"):
        evaluate(Request(embeddings, labels=labels, split="test"), tmp_path / "out", QUICK)
    with pytest.raises(InputError, match="even"):
        evaluate(Request(embeddings, labels=labels, half="left"), tmp_path / "out", QUICK)


def test_contact_sheet_shows_the_worst_pairs(tmp_path: Path) -> None:
    """With the pictures at hand the hardest errors are drawn; a missing picture is named."""
    faces = read_faces(write_embeddings(tmp_path, 6, 2))
    for name in faces.path:
        target = tmp_path / "images" / str(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), "red").save(target)

    write_sheet(tmp_path / "errors.png", faces, all_pairs(faces), tmp_path / "images")

    with Image.open(tmp_path / "errors.png") as sheet:
        assert sheet.size[0] == 6 * 200
    with pytest.raises(InputError, match="neither in"):
        write_sheet(tmp_path / "none.png", faces, all_pairs(faces), tmp_path)
    assert not (tmp_path / "none.png").exists()


def test_damaged_picture_is_crossed_out_on_the_contact_sheet(tmp_path: Path) -> None:
    """It has no face, so it always is among the hardest: the report is written all the same."""
    embeddings = write_embeddings(tmp_path, 6, 2)
    for name in read_faces(embeddings).path:
        target = tmp_path / "images" / str(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), "red").save(target)
    target.write_bytes(b"\x89PNG cut short")  # the last one, without a face

    evaluate(Request(embeddings, images=tmp_path / "images"), tmp_path / "out", QUICK)

    assert (tmp_path / "out" / "report.html").exists()
    with Image.open(tmp_path / "out" / "errors.png") as sheet:
        pixels = np.asarray(sheet)
    red, grey = (np.all(pixels == colour, axis=2).sum() for colour in ((255, 0, 0), (211, 211, 211)))
    assert red > grey > 0


def test_picture_of_sixteen_bits_is_shown_in_its_whole_range(tmp_path: Path) -> None:
    """A middle grey is a middle grey."""
    Image.fromarray(np.full((20, 20), 0x8080, np.uint16)).save(tmp_path / "grey.png")

    tile = load_tiles(tmp_path, ["grey.png"])["grey.png"]

    assert tile.getpixel((9, 9)) == (0x80, 0x80, 0x80)


def test_cluster_agreement_of_known_partitions() -> None:
    """Three pairs joined of four, one wrongly: counted by hand."""
    people = np.array([0, 0, 0, 1, 1])
    clusters = np.array([0, 0, 1, 1, 1])

    found = structure.agreement("by hand", clusters, people)

    # Joined: (0,1), (2,3), (2,4), (3,4); right among them (0,1), (3,4); wanted: 3 + 1.
    assert (found.pair_precision, found.pair_recall) == (0.5, 0.5)


def test_strangers_false_matches_are_counted_inside_their_group() -> None:
    """Two look-alikes in a group of four are one pair in six; a group without any has none."""
    vectors = unit_rows(np.asarray(np.eye(8), np.float32))
    vectors[1] = vectors[0]
    vectors[4] = vectors[0]
    group = np.array(["a"] * 4 + ["b"] * 4)
    names = np.array([f"{k}.jpg" for k in range(8)])
    found, split = np.ones(8, bool), np.array([""] * 8)
    faces = Faces(names, found, vectors, np.arange(8), tuple(names.tolist()), split, {"group": group})

    one, other = strangers_by_group(faces, 0.5, resamples=5, seed=0)

    assert (one.group, one.people, other.group) == ("a", 4, "b")
    assert one.false_match.value == pytest.approx(1 / 6)
    assert other.false_match.value == 0
    assert np.isnan(one.true_accept.value)


def test_bytes_keep_directions() -> None:
    """Rounding to bytes turns a vector by no more than half a step in every dimension can."""
    vectors = vectors_of(50, 2)

    off = np.linalg.norm(structure.as_bytes(vectors) - vectors, axis=1)

    half_step = np.abs(vectors).max(axis=1) / 127 / 2
    assert (off <= 1.01 * half_step * np.sqrt(vectors.shape[1])).all()


def test_nearest_neighbour_of_separable_people_is_right(tmp_path: Path) -> None:
    """Only the picture without a face is wrong."""
    faces = read_faces(write_embeddings(tmp_path))

    found = structure.nearest_neighbours(faces, 1, weights=person_weights(len(faces.people), 20, seed=0))
    assert found.value == pytest.approx(149 / 150, abs=0.03)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_picture_is_not_among_its_own_neighbours(tmp_path: Path) -> None:
    """Each of three is nearest to a stranger, or one itself: its own vote would make two of them right."""
    faces = read_faces(write_embeddings(tmp_path, 2, 2)).take(np.array([0, 1, 2]))
    faces = replace(faces, vector=unit_rows(np.array([[1, 0], [0, 1], [1, 0.1]], np.float32)))

    found = structure.nearest_neighbours(faces, 5, weights=np.ones((2, 2)))

    assert found.value == 0

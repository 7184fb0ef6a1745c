"""FER2013 comes with its own labels by name, needs no vote file, and damage is named, never loaded."""

import gzip
from pathlib import Path

import pytest
import torch
from trees import EMOTION_CODES, PIXELS, cut, lead_out, replace, state_of, write_fer2013

from fervt_lib.data import EXPRESSIONS, load

NAME_OF = {0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "sadness", 5: "surprise", 6: "neutral"}
ROWS = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}


@pytest.fixture
def fer2013_tree(tmp_path, monkeypatch):
    """A function that writes eight faces in one layout; the cache is a folder of this test's own."""
    monkeypatch.setenv("FERVT_CACHE", str(tmp_path / "cache"))

    def write(layout: str = "csv") -> Path:
        root = tmp_path / layout / "fer2013"
        write_fer2013(root, layout)
        return root

    return write


@pytest.mark.parametrize("layout", ["csv", "gz", "icml"])
def test_every_layout_gives_the_same_faces_with_labels_by_name(fer2013_tree, layout):
    root = fer2013_tree(layout)
    before = state_of(root)
    for split, rows in ROWS.items():
        faces = load("fer2013", split, root=root)
        assert faces.rows.tolist() == rows and faces.protocol == "fer2013"
        assert torch.equal(faces.images, torch.tensor(PIXELS[rows])[:, None])
        assert [EXPRESSIONS[label] for label in faces.labels] == [NAME_OF[EMOTION_CODES[row]] for row in rows]
        assert faces.votes.sum(1).tolist() == [10] * len(rows)
    assert state_of(root) == before


def test_votes_and_labels_of_one_folder_do_not_share_a_cache(ferplus_tree, tmp_path):
    root = ferplus_tree("csv")
    assert load("ferplus", "test", root=root).labels.tolist() == [4, 6]
    assert load("fer2013", "test", root=root).labels.tolist() == [EXPRESSIONS.index("surprise"), 4]
    assert load("ferplus", "test", root=root).labels.tolist() == [4, 6]
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: ("\ufeff" + text).encode(),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text.encode("utf-16")),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: (text.replace(",", " , ") + "\n\n").encode(),
        lambda text: text.replace("\n", ",more\n").encode(),
    ],
    ids=["UTF-8 with a mark", "UTF-16", "UTF-16 in gzip", "CRLF", "stray blanks", "an extra column"],
)
def test_other_ways_to_write_the_file_are_read(fer2013_tree, change):
    file = fer2013_tree() / "fer2013.csv"
    file.write_bytes(change(file.read_text()))
    faces = load("fer2013", "test", root=file.parent)
    assert torch.equal(faces.images[:, 0], torch.tensor(PIXELS[6:]))
    assert faces.labels.tolist() == [EXPRESSIONS.index("surprise"), EXPRESSIONS.index("anger")]


def test_the_real_file_has_the_known_faces(real_ferplus):
    counts = torch.stack([load("fer2013", split).votes.gt(0).sum(0) for split in ROWS])
    assert counts.sum(1).tolist() == [28_709, 3_589, 3_589]
    assert counts[:, EXPRESSIONS.index("disgust")].tolist() == [436, 56, 55]


def test_an_unknown_split_is_refused(fer2013_tree):
    with pytest.raises(ValueError, match="'dev'.*validation"):
        load("fer2013", "dev", root=fer2013_tree())


FILE = r"fer2013\.csv"
BAD = {  # what is wrong: (how it is made, what the message must say)
    "no file": (lambda f: f.unlink(), r"no FER2013 in .*needs fer2013\.csv from Kaggle in data/ferplus"),
    "Kaggle's folders": (lambda f: make_folders(f), r"fer2013\.csv from Kaggle .*train/angry/…, are not read"),
    "an empty file": (lambda f: f.write_text(""), FILE + ": damaged or cut short"),
    "a header alone": (lambda f: f.write_text("emotion,pixels,Usage\n"), FILE + ": a header and no faces"),
    "a folder in its place": (lambda f: (f.unlink(), f.mkdir()), "no FER2013 in"),
    "a link out": (lambda f: lead_out(f, f.parent), FILE + " is a link out of"),
    "a code of 7": (
        lambda f: replace(f, "6," + pixels(1), "7," + pixels(1)),
        FILE + ", row 3: emotion is '7', not 0, 1",
    ),
    "no code": (lambda f: replace(f, "6," + pixels(1), "," + pixels(1)), FILE + ", row 3: emotion is ''"),
    "a code by name": (lambda f: replace(f, "6," + pixels(1), "happy," + pixels(1)), FILE + ", row 3: emotion is 'hap"),
    "no column emotion": (lambda f: replace(f, "emotion", "label"), FILE + ": no column emotion; its header reads lab"),
    "a column twice": (lambda f: replace(f, "Usage", "Usage, Usage"), FILE + ": 2 columns Usage"),
    "no test faces": (lambda f: cut_after_validation(f), FILE + " has no PrivateTest faces"),
    "a field too many in row 2": (lambda f: replace(f, "Training", "Training,x"), FILE + ".*row 2: more fields"),
    "a field too many in row 3": (lambda f: add_field(f), FILE + ": damaged or cut short .*line 3, saw 4"),
    "a pixel past 32 bits": (
        lambda f: replace(f, "3," + pixels(0), "3,4294967296" + pixels(0)[pixels(0).index(" ") :]),
        FILE + ", row 2: a pixel of 4294967296",
    ),
    "cut short": (lambda f: cut(f, 2000), FILE + ", row 9: .* pixels"),
    "another encoding": (lambda f: f.write_bytes(f.read_bytes() + b"\x81\xff"), FILE),
}


def pixels(row: int) -> str:
    return " ".join(map(str, PIXELS[row].ravel()[:9]))


def make_folders(file: Path) -> None:
    file.unlink()
    (file.parent / "train" / "angry").mkdir(parents=True)


def cut_after_validation(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:7]))


def add_field(file: Path) -> None:
    lines = file.read_text().split("\n")
    file.write_text("\n".join([*lines[:2], lines[2] + ",x", *lines[3:]]))


@pytest.mark.parametrize("wrong", BAD)
def test_damage_is_named_and_nothing_is_cached(fer2013_tree, refused, wrong):
    damage, message = BAD[wrong]
    refused("fer2013", fer2013_tree(), lambda root: damage(root / "fer2013.csv"), message)

"""FER+ comes back the same from every layout, by the protocol's rules, and damage is named, never loaded."""

import errno
import gzip
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from trees import PIXELS, VOTES, cut, replace

from fervt_lib.data import DataError, choose_faces, load_ferplus

KEPT = {  # rows of the small tree, by split
    "majority": {"train": [0, 1, 2], "validation": [4], "test": [6, 7]},
    "argmax": {"train": [0, 1, 2, 3], "validation": [4], "test": [6, 7]},
}


@pytest.mark.parametrize("protocol", KEPT)
@pytest.mark.parametrize("layout", ["csv", "gz", "icml", "pictures"])
def test_every_layout_gives_the_same_faces_votes_and_splits(ferplus_tree, layout, protocol):
    root = ferplus_tree(layout)
    for split, rows in KEPT[protocol].items():
        faces = load_ferplus(split, protocol, root)
        assert faces.rows.tolist() == rows and faces.protocol == protocol
        assert torch.equal(faces.images, torch.tensor(PIXELS[rows])[:, None])
        assert torch.equal(faces.raw_votes, torch.tensor(VOTES, dtype=torch.uint8)[rows])
        assert torch.equal(faces.labels, torch.tensor(VOTES)[rows].argmax(1))


def test_gzip_is_told_by_its_bytes_and_may_come_in_parts(ferplus_tree):
    whole = ferplus_tree("csv") / "fer2013.csv"
    text = whole.read_bytes()
    whole.write_bytes(gzip.compress(text[:9000]) + gzip.compress(text[9000:]))
    assert len(load_ferplus("train", root=whole.parent)) == 3


@pytest.mark.parametrize(
    ("protocol", "raw", "votes"),
    [
        ("majority", [6, 2, 1, 1, 0, 0, 0, 0, 0, 0], [6, 2, 0, 0, 0, 0, 0, 0]),  # a count of 1 is noise
        ("majority", [3, 1, 1, 1, 1, 1, 1, 1, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]),  # all that is left counts
        ("majority", [0, 0, 0, 5, 0, 0, 0, 3, 2, 0], None),  # half exactly is no majority
        ("majority", [0, 0, 0, 6, 0, 0, 0, 2, 2, 0], [0, 0, 0, 6, 0, 0, 0, 2]),  # unknown counts, then goes
        ("majority", [0, 5, 0, 0, 0, 0, 0, 0, 1, 4], [0, 5, 0, 0, 0, 0, 0, 0]),  # so does NF
        ("majority", [2, 0, 0, 0, 0, 0, 0, 0, 8, 0], None),
        ("majority", [2, 0, 0, 0, 0, 0, 0, 0, 0, 8], None),
        ("majority", [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
        ("argmax", [0, 0, 0, 5, 0, 0, 0, 3, 1, 1], [0, 0, 0, 5, 0, 0, 0, 3]),
        ("argmax", [2, 1, 1, 1, 1, 1, 1, 1, 1, 0], [2, 1, 1, 1, 1, 1, 1, 1]),
        ("argmax", [4, 0, 0, 0, 0, 0, 0, 0, 5, 1], None),
        ("argmax", [4, 0, 0, 0, 0, 0, 0, 0, 1, 5], None),
    ],
)
def test_protocol_rules(protocol, raw, votes):
    raw = torch.tensor([raw, raw], dtype=torch.uint8)
    kept, chosen = choose_faces(raw, torch.tensor([True, False]), protocol)
    assert kept.tolist() == [votes is not None, False]  # the second has no name
    assert chosen.tolist() == ([votes] if votes else [])


def test_faces_without_a_name_are_dropped(ferplus_tree):
    root = ferplus_tree()
    replace(root / "fer2013new.csv", "fer0000001.png", "")
    assert load_ferplus("train", root=root).rows.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("protocol", "counts"), [("majority", (25_060, 3_199, 3_153)), ("argmax", (28_389, 3_553, 3_546))]
)
def test_the_real_files_give_the_counted_faces(real_ferplus, protocol, counts):
    assert tuple(len(load_ferplus(split, protocol)) for split in ("train", "validation", "test")) == counts


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"protocol": "mode"}])
def test_unknown_split_or_protocol_is_refused(ferplus_tree, wrong):
    with pytest.raises(ValueError, match=repr(*wrong.values())):
        load_ferplus(**wrong, root=ferplus_tree())


# --- cache -------------------------------------------------------------------------------------------------------


def cache_of(root: Path) -> Path:
    return root.parents[1] / "cache"


def test_a_second_load_parses_nothing(ferplus_tree, monkeypatch):
    root = ferplus_tree()
    first = load_ferplus("train", root=root)
    monkeypatch.setattr("fervt_lib.data.ferplus._parse", lambda *_: pytest.fail("parsed again"))
    assert torch.equal(load_ferplus("train", root=root).images, first.images)


def test_a_changed_source_is_parsed_again(ferplus_tree):
    root = ferplus_tree()
    assert load_ferplus("test", root=root).labels.tolist() == [4, 6]
    replace(root / "fer2013new.csv", "0,1,0,0,9,0,0,0,0,0", "9,1,0,0,0,0,0,0,0,0")
    assert load_ferplus("test", root=root).labels.tolist() == [0, 6]


def test_a_replaced_picture_is_read_again(ferplus_tree):
    root = ferplus_tree("pictures")
    load_ferplus("test", root=root)
    Image.fromarray(PIXELS[0]).save(root / "data/FER2013Test/fer0000007.png")
    assert torch.equal(load_ferplus("test", root=root).images[1, 0], torch.tensor(PIXELS[0]))


@pytest.mark.parametrize("left", [0, 5, 3000])
def test_a_cache_cut_short_is_made_again(ferplus_tree, left):
    root = ferplus_tree()
    load_ferplus("test", root=root)
    (file,) = cache_of(root).iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    assert torch.equal(load_ferplus("test", root=root).images[:, 0], torch.tensor(PIXELS[[6, 7]]))
    assert file.read_bytes() == whole


def test_a_full_disk_leaves_no_cache_file(ferplus_tree, monkeypatch):
    root = ferplus_tree()

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(DataError, match=rf"{re.escape(str(cache_of(root)))}.*No space left.*FERVT_CACHE"):
        load_ferplus("train", root=root)
    assert not list(cache_of(root).iterdir())


def test_a_cache_that_is_no_folder_is_named(ferplus_tree):
    root = ferplus_tree()
    cache_of(root).write_text("a file")
    with pytest.raises(DataError, match=r"cache.*cannot be written.*FERVT_CACHE"):
        load_ferplus("train", root=root)


# --- damage ------------------------------------------------------------------------------------------------------


def first_pixels(row: int) -> str:
    return ",".join(("0", " ".join(map(str, PIXELS[row].ravel()[:20]))))


def change_pixel(root: Path, value: str) -> None:
    """Put `value` in the place of the first pixel of row 4, the third face."""
    old = first_pixels(2)
    replace(root / "fer2013.csv", old, f"0,{value}" + old[old.index(" ") :] if value else "0," + old.split(" ", 1)[1])


LAST_FACE = " ".join(map(str, PIXELS[7].ravel())) + ",PrivateTest\n"
TEST = "data/FER2013Test"
FACES, VOTE_FILE, LABELS = r"fer2013\.csv", r"fer2013new\.csv", r"FER2013Test/label\.csv"
BAD = {  # what is wrong: (layout, how it is made, what the message must say)
    "faces cut in the pixels": ("csv", lambda r: cut(r / "fer2013.csv", 1000), FACES + ", row 9: .* pixels"),
    "faces cut after the last pixel": ("csv", lambda r: cut(r / "fer2013.csv", 13), FACES + ", row 9: Usage"),
    "faces cut in Usage": ("csv", lambda r: cut(r / "fer2013.csv", 4), FACES + ", row 9: Usage"),
    "faces cut before the pixels": (
        "csv",
        lambda r: cut(r / "fer2013.csv", len(LAST_FACE) + 1),
        FACES + ", row 9: 0 pixels",
    ),
    "icml cut in the pixels": ("icml", lambda r: cut(r / "icml_face_data.csv", 900), "icml.*row 9: .* pixels"),
    "a face too few": ("csv", lambda r: replace(r / "fer2013.csv", "0," + LAST_FACE, ""), "7 faces.*votes on 8"),
    "gzip cut short": ("gz", lambda r: cut(r / "fer2013.csv.gz", 5000), FACES + r"\.gz: damaged or cut short"),
    "gzip with a wrong byte": ("gz", lambda r: spoil(r / "fer2013.csv.gz"), FACES + r"\.gz"),
    "2,303 pixels": ("csv", lambda r: change_pixel(r, ""), FACES + ", row 4: 2303 pixels"),
    "a pixel of 256": ("csv", lambda r: change_pixel(r, "256"), FACES + ", row 4: a pixel of 256"),
    "a pixel of -1": ("csv", lambda r: change_pixel(r, "-1"), FACES + ", row 4: a pixel of -1"),
    "a pixel of abc": ("csv", lambda r: change_pixel(r, "abc"), FACES + ", row 4: .*not all whole numbers"),
    "a pixel of 1.5": ("csv", lambda r: change_pixel(r, "1.5"), FACES + ", row 4: "),
    "no pixels column": ("csv", lambda r: replace(r / "fer2013.csv", "pixels", "pix"), FACES + ": no column pixels"),
    "no faces": ("csv", lambda r: (r / "fer2013.csv").write_text("emotion,pixels,Usage\n"), FACES + ".*no faces"),
    "no votes": ("csv", lambda r: keep_header(r / "fer2013new.csv"), VOTE_FILE + ".*no faces"),
    "an empty face file": ("csv", lambda r: (r / "fer2013.csv").write_text(""), FACES + ": damaged or cut short"),
    "an empty vote file": ("csv", lambda r: (r / "fer2013new.csv").write_text(""), VOTE_FILE + ": damaged"),
    "a binary face file": ("csv", lambda r: (r / "fer2013.csv").write_bytes(b"\xff\xfe\x00" * 99), FACES),
    "votes cut mid row": ("csv", lambda r: cut(r / "fer2013new.csv", 9), VOTE_FILE + ", row 9: votes"),
    "a vote too few": (
        "csv",
        lambda r: cut(r / "fer2013new.csv", len("PrivateTest,fer0000007.png,0,0,0,0,0,0,10,0,0,0\n")),
        "8 faces.*votes on 7",
    ),
    "votes of 11": ("csv", lambda r: replace(r / "fer2013new.csv", ",8,1,1,", ",11,1,1,"), VOTE_FILE + ", row 2"),
    "11 votes in all": ("csv", lambda r: replace(r / "fer2013new.csv", ",8,1,1,", ",8,2,1,"), VOTE_FILE + ", row 2"),
    "8 votes in all": ("csv", lambda r: replace(r / "fer2013new.csv", ",8,1,1,", ",6,1,1,"), VOTE_FILE + ", row 2"),
    "two rows of votes swapped": ("csv", lambda r: swap_rows(r / "fer2013new.csv"), VOTE_FILE + ", row 3: fer0000000"),
    "another Usage": (
        "csv",
        lambda r: replace(r / "fer2013new.csv", "PublicTest,fer0000004", "PrivateTest,fer0000004"),
        "row 6: Usage differs between .*" + FACES + ".*" + VOTE_FILE,
    ),
    "an unknown Usage": ("csv", lambda r: replace(r / "fer2013.csv", "PublicTest", "Public"), FACES + ", row 6: Usage"),
    "faces without votes": ("csv", lambda r: (r / "fer2013new.csv").unlink(), VOTE_FILE),
    "Kaggle's folders": ("csv", lambda r: make_kaggle_folders(r), FACES + " is needed"),
    "nothing at all": ("csv", lambda r: [file.unlink() for file in r.iterdir()], "no FER"),
    "no label file": ("pictures", lambda r: (r / TEST / "label.csv").unlink(), LABELS + " is missing"),
    "an empty label file": ("pictures", lambda r: (r / TEST / "label.csv").write_text(""), LABELS + " is empty"),
    "a binary label file": ("pictures", lambda r: (r / TEST / "label.csv").write_bytes(b"\xff\xfe\x00"), LABELS),
    "labels cut mid row": ("pictures", lambda r: cut(r / TEST / "label.csv", 9), LABELS + ", row 2"),
    "label votes of 11": (
        "pictures",
        lambda r: replace(r / TEST / "label.csv", "0,1,0,0,9,", "0,0,0,0,11,"),
        LABELS + ", row 1",
    ),
    "a picture outside": (
        "pictures",
        lambda r: replace(r / TEST / "label.csv", "fer0000006.png", "../../x.png"),
        LABELS + ", row 1",
    ),
    "a picture missing": (
        "pictures",
        lambda r: (r / TEST / "fer0000007.png").unlink(),
        LABELS + r", row 2 names fer0000007\.png, which is not in",
    ),
    "a picture named twice": (
        "pictures",
        lambda r: replace(r / TEST / "label.csv", "fer0000007", "fer0000006"),
        LABELS + r", row 2 names fer0000006\.png a second time",
    ),
    "a picture that no row names": (
        "pictures",
        lambda r: Image.fromarray(PIXELS[0]).save(r / TEST / "fer0000009.png"),
        r"fer0000009\.png: no row of .*" + LABELS,
    ),
    "a bad row after a blank one": (
        "pictures",
        lambda r: replace(r / TEST / "label.csv", "\nfer0000007", "\n\nfer"),
        LABELS + ", row 3",
    ),
    "a picture that is none": (
        "pictures",
        lambda r: (r / TEST / "fer0000007.png").write_text("<html>"),
        r"fer0000007\.png: not a readable picture",
    ),
    "a picture cut short": ("pictures", lambda r: cut(r / TEST / "fer0000007.png", 900), r"fer0000007\.png: not"),
    "a picture of 47x48": (
        "pictures",
        lambda r: Image.fromarray(PIXELS[7][:, :47]).save(r / TEST / "fer0000007.png"),
        r"fer0000007\.png: 47×48 pixels",
    ),
}


def spoil(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def swap_rows(file: Path) -> None:
    lines = file.read_text().split("\n")
    file.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]))


def keep_header(file: Path) -> None:
    file.write_text(file.read_text().split("\n")[0] + "\n")


def make_kaggle_folders(root: Path) -> None:
    for file in root.iterdir():
        file.unlink()
    (root / "train" / "angry").mkdir(parents=True)
    Image.fromarray(PIXELS[0]).save(root / "train" / "angry" / "x.jpg")


@pytest.mark.parametrize("wrong", BAD)
def test_damage_is_named_and_nothing_is_cached(ferplus_tree, wrong):
    layout, damage, message = BAD[wrong]
    root = ferplus_tree(layout)
    damage(root)
    with pytest.raises(DataError, match=message):
        load_ferplus("train", root=root)
    assert not cache_of(root).exists() or not list(cache_of(root).iterdir())


def test_the_pictures_are_read_with_the_file_of_faces_beside_them(ferplus_tree):
    root = ferplus_tree("pictures")
    expected = load_ferplus("train", root=root).images
    shutil.copy(ferplus_tree("csv") / "fer2013.csv", root)
    assert torch.equal(load_ferplus("train", root=root).images, expected)


def test_a_clone_of_the_repository_is_told_to_get_the_faces(ferplus_tree):
    root = ferplus_tree("pictures")
    for picture in root.glob("data/*/*.png"):
        picture.unlink()
    (root / "fer2013new.csv").write_text("")
    with pytest.raises(DataError, match="fer2013new.csv is there, but not the faces, fer2013.csv"):
        load_ferplus("train", root=root)


def test_votes_without_faces_are_told_what_they_lack(ferplus_tree):
    root = ferplus_tree("csv")
    (root / "fer2013.csv").unlink()
    with pytest.raises(DataError, match="fer2013new.csv is there, but not the faces, fer2013.csv"):
        load_ferplus("train", root=root)

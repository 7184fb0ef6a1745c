"""FER2013 and FER+ come back the same from every layout, by the protocol's rules, and damage is named, never loaded."""

import gzip
import shutil

import pytest
import torch
from PIL import Image
from trees import EMOTION_CODES, PIXELS, VOTES, copy, cut, remove, replace, state_of, write

from fervt_lib.data import EXPRESSIONS, FER2013_CODES, choose_faces, load

FER2013_ROWS = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}
FERPLUS_ROWS = {
    "majority": {"train": [0, 1, 2], "validation": [4], "test": [6, 7]},
    "argmax": {"train": [0, 1, 2, 3], "validation": [4], "test": [6, 7]},
}


@pytest.mark.parametrize("layout", ["csv", "gz", "icml"])
def test_every_layout_of_fer2013_gives_the_same_faces_with_labels_by_name(tree, layout):
    root = tree("fer2013", layout)
    before = state_of(root)
    for split, rows in FER2013_ROWS.items():
        faces = load("fer2013", split, root=root)
        assert faces.rows.tolist() == rows and faces.protocol == "fer2013"
        assert torch.equal(faces.images, torch.tensor(PIXELS[rows])[:, None])
        assert [EXPRESSIONS[label] for label in faces.labels] == [FER2013_CODES[EMOTION_CODES[row]] for row in rows]
        assert faces.votes.sum(1).tolist() == [10] * len(rows)
    assert state_of(root) == before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("protocol", FERPLUS_ROWS)
@pytest.mark.parametrize("layout", ["csv", "gz", "icml", "pictures"])
def test_every_layout_of_ferplus_gives_the_same_faces_votes_and_splits(ferplus_tree, layout, protocol):
    root = ferplus_tree(layout)
    before = state_of(root)
    for split, rows in FERPLUS_ROWS[protocol].items():
        faces = load("ferplus", split, protocol=protocol, root=root)
        assert faces.rows.tolist() == rows and faces.protocol == protocol
        assert torch.equal(faces.images, torch.tensor(PIXELS[rows])[:, None])
        assert torch.equal(faces.raw_votes, torch.tensor(VOTES, dtype=torch.uint8)[rows])
        assert torch.equal(faces.labels, torch.tensor(VOTES)[rows].argmax(1))
    assert state_of(root) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: ("\ufeff" + text).encode(),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text[:300].encode("utf-16")) + gzip.compress(text[300:].encode("utf-16-le")),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: (text.replace(",", " , ") + "\n\n").encode(),
        lambda text: text.replace("\n", ",more\n").encode(),
    ],
    ids=["UTF-8 with a mark", "UTF-16", "UTF-16 in two gzip members", "CRLF", "stray blanks", "an extra column"],
)
def test_other_ways_to_write_the_tables_are_read(ferplus_tree, change):
    root = ferplus_tree()
    for name in ("fer2013.csv", "fer2013new.csv"):
        (root / name).write_bytes(change((root / name).read_text()))
    faces = load("ferplus", "train", root=root)
    assert torch.equal(faces.images[:, 0], torch.tensor(PIXELS[:3])) and faces.raw_votes.tolist() == VOTES[:3]
    assert load("fer2013", "test", root=root).labels.tolist() == [2, 4]


def test_pictures_are_used_though_one_of_the_tables_lies_beside_them(ferplus_tree):
    root = ferplus_tree("pictures")
    shutil.copy(ferplus_tree("csv") / "fer2013.csv", root)
    assert torch.equal(load("ferplus", "validation", root=root).images[:, 0], torch.tensor(PIXELS[4:5]))


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
    replace("fer2013new.csv", "fer0000001.png", "")(root)
    assert load("ferplus", root=root).rows.tolist() == [0, 2]


def test_both_datasets_may_be_loaded_from_one_folder_in_turn(ferplus_tree):
    root = ferplus_tree()
    for _ in range(2):
        assert load("ferplus", "test", root=root).labels.tolist() == [4, 6]
        assert load("fer2013", "test", root=root).labels.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        ("fer2013", {}, [28_709, 3_589, 3_589]),
        ("ferplus", {"protocol": "majority"}, [25_060, 3_199, 3_153]),
        ("ferplus", {"protocol": "argmax"}, [28_389, 3_553, 3_546]),
    ],
)
def test_the_real_files_give_the_counted_faces(real_ferplus, name, options, counts):
    assert [len(load(name, split, **options)) for split in FER2013_ROWS] == counts


@pytest.mark.parametrize(
    ("name", "wrong"), [("fer2013", {"split": "dev"}), ("ferplus", {"split": "dev"}), ("ferplus", {"protocol": "mode"})]
)
def test_unknown_split_or_protocol_is_refused(tree, name, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))!r}: choose from"):
        load(name, root=tree(name), **wrong)


def first(row: int) -> str:
    """The first pixels of a face as the table has them."""
    return " ".join(map(str, PIXELS[row].ravel()[:9])) + " "


TABLE, VOTES_OF, TEST = "fer2013.csv", "fer2013new.csv", "data/FER2013Test/"
LABELS, PICTURE = TEST + "label.csv", TEST + "fer0000007.png"
LAST = f"0,{' '.join(map(str, PIXELS[7].ravel()))},PrivateTest\n", "PrivateTest,fer0000007.png,0,0,0,0,0,0,10,0,0,0\n"
PIXEL = "0," + first(2).split()[0]  # in row 4
NAMES = "fer0000000.png,8,1,1,0,0,0,0,0,0,0\n", "Training,", "fer0000001.png,0,9,0,0,0,0,0,1,0,0\n"
BAD = [  # dataset, layout, how the damage is made, what must be said
    ("fer2013", "csv", remove(TABLE), r"no FER2013 in .*needs fer2013\.csv from Kaggle"),
    ("fer2013", "csv", write(TABLE, ""), TABLE),
    ("fer2013", "csv", write(TABLE, b"\xff\xfe\x00" * 99), TABLE),
    ("fer2013", "csv", cut(TABLE, 1000), f"{TABLE}, row 9: .* pixels"),
    ("fer2013", "csv", cut(TABLE, 13), f"{TABLE}, row 9: Usage"),
    ("fer2013", "gz", cut(TABLE + ".gz", 5000), TABLE + ".gz"),
    ("fer2013", "csv", replace(TABLE, ",PrivateTest", ",PublicTest", 2), f"{TABLE} has no PrivateTest"),
    ("fer2013", "csv", replace(TABLE, "PublicTest", "Public"), f"{TABLE}, row 6: Usage is 'Public'"),
    ("fer2013", "csv", replace(TABLE, PIXEL + " ", "0,"), f"{TABLE}, row 4: 2303 pixels"),
    ("fer2013", "csv", replace(TABLE, PIXEL, "0,256"), f"{TABLE}, row 4: "),
    ("fer2013", "csv", replace(TABLE, PIXEL, "0,abc"), f"{TABLE}, row 4: "),
    ("fer2013", "csv", replace(TABLE, "6," + first(1), "7," + first(1)), f"{TABLE}, row 3: emotion is '7'"),
    ("fer2013", "icml", replace("icml_face_data.csv", "6,T", "6,,T"), "icml_face_data.csv.* line 3"),
    ("fer2013", "csv", replace(TABLE, "emotion", "label"), f"{TABLE}.*column emotion"),
    ("ferplus", "csv", remove(VOTES_OF), f"{TABLE} is there, but not the votes, {VOTES_OF}"),
    ("ferplus", "csv", replace(VOTES_OF, ",NF", ",nf"), f"{VOTES_OF}.*column NF"),
    ("ferplus", "csv", cut(VOTES_OF, 9), f"{VOTES_OF}, row 9: votes"),
    ("ferplus", "csv", replace(VOTES_OF, ",8,1,1,", ",8,2,1,"), f"{VOTES_OF}, row 2: votes"),
    ("ferplus", "csv", replace(VOTES_OF, ",8,1,1,", ",6,1,1,"), f"{VOTES_OF}, row 2: votes"),
    ("ferplus", "csv", replace(VOTES_OF, ",8,1,1,", ",8,1.5,0.5,"), f"{VOTES_OF}, row 2: votes"),
    ("ferplus", "csv", replace(TABLE, LAST[0], ""), f"{TABLE} has 7 faces, .*{VOTES_OF} votes on 8"),
    ("ferplus", "csv", replace(VOTES_OF, LAST[1], ""), f"8 faces, .*{VOTES_OF} votes on 7"),
    ("ferplus", "csv", replace(VOTES_OF, "".join(NAMES), NAMES[2] + NAMES[1] + NAMES[0]), f"{VOTES_OF}, row 3"),
    ("ferplus", "csv", replace(VOTES_OF, "PublicTest", "PrivateTest"), f"row 6: .*{TABLE}.*{VOTES_OF}"),
    ("ferplus", "pictures", remove(LABELS), LABELS),
    ("ferplus", "pictures", write(LABELS, ""), LABELS),
    ("ferplus", "pictures", replace(LABELS, ",0,0,9,", ",0,0,10,"), f"{LABELS}, row 1"),
    ("ferplus", "pictures", replace(LABELS, "\nfer", "\n\nf"), f"{LABELS}, row 3"),  # after a blank row
    ("ferplus", "pictures", remove(PICTURE), f"{LABELS}, row 2 names fer0000007.png"),
    ("ferplus", "pictures", copy(PICTURE, TEST + "fer0000009.png"), "fer0000009.png: no row of"),
    ("ferplus", "pictures", replace(LABELS, "07.png", "06.png"), f"{LABELS}, row 2 names fer0000006.png"),
    ("ferplus", "pictures", cut(PICTURE, 900), f"{PICTURE}: not a readable picture"),
    ("ferplus", "pictures", write(PICTURE, Image.fromarray(PIXELS[7, :, :47])), f"{PICTURE}: 47×48 pixels"),
]


@pytest.mark.parametrize(("name", "layout", "damage", "message"), BAD)
def test_damage_is_named_and_nothing_is_cached(refused, name, layout, damage, message):
    refused(name, layout, damage, message)

"""FER2013 and FER+ load the same from every layout, by the protocol's rules, and damage is named, never loaded."""

import shutil

import pytest
import torch
from PIL import Image
from trees import EMOTIONS, PIXELS, VOTES, copy, cut, remove, replace, write, write_fer2013

from fervt_lib.data import EXPRESSIONS, DataError, choose_faces, load

ROWS = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layout", ["csv", "gz", "icml", "pictures"])
def test_every_layout_gives_the_same_faces_votes_labels_and_splits(tree, layout):
    torch.set_warn_always(True)  # by default torch warns once, in whichever test runs first
    root = tree("ferplus", layout)
    if layout == "pictures":  # FER2013's table may lie beside them
        write_fer2013(root, "csv")
    for split, rows in ROWS.items():
        faces = load("fer2013", split, root=root)
        assert faces.rows.tolist() == rows and torch.equal(faces.images, torch.tensor(PIXELS[rows])[:, None])
        assert [EXPRESSIONS[label] for label in faces.labels] == [EMOTIONS[row] for row in rows]
        for protocol, dropped in {"majority": [3, 5], "argmax": [5]}.items():
            kept = [row for row in rows if row not in dropped]
            faces = load("ferplus", split, protocol=protocol, root=root)
            assert faces.rows.tolist() == kept and faces.protocol == protocol
            assert torch.equal(faces.images, torch.tensor(PIXELS[kept])[:, None])
            assert faces.raw_votes.tolist() == [VOTES[row] for row in kept]
            assert torch.equal(faces.labels, torch.tensor(VOTES)[kept].argmax(1))


def test_kaggles_folders_hold_fer2013_with_its_own_labels_and_are_refused_as_ferplus(tree):
    root = tree("fer2013", "folders")
    for split, rows in ROWS.items():
        faces = load("fer2013", split, root=root)
        by_name = {EXPRESSIONS[label]: image for label, image in zip(faces.labels, faces.images, strict=True)}
        assert len(faces) == len(by_name) == 7
        assert all(torch.equal(by_name[EMOTIONS[row]], torch.tensor(PIXELS[row])[None]) for row in rows)
    with pytest.raises(DataError, match="have lost the order of the rows"):
        load("ferplus", root=root)


@pytest.mark.parametrize(
    ("protocol", "raw", "votes"),
    [
        ("majority", [6, 2, 1, 1, 0, 0, 0, 0, 0, 0], [6, 2, 0, 0, 0, 0, 0, 0]),  # a count of 1 is noise
        ("majority", [0, 0, 0, 5, 0, 0, 0, 3, 2, 0], None),  # exactly half is no majority
        ("majority", [0, 0, 0, 6, 0, 0, 0, 2, 2, 0], [0, 0, 0, 6, 0, 0, 0, 2]),  # unknown counts, then is dropped
        ("majority", [2, 0, 0, 0, 0, 0, 0, 0, 8, 0], None),
        ("majority", [2, 0, 0, 0, 0, 0, 0, 0, 0, 8], None),
        ("majority", [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
        ("argmax", [0, 0, 0, 5, 0, 0, 0, 3, 1, 1], [0, 0, 0, 5, 0, 0, 0, 3]),
        ("argmax", [2, 1, 1, 1, 1, 1, 1, 1, 1, 0], [2, 1, 1, 1, 1, 1, 1, 1]),
        ("argmax", [4, 0, 0, 0, 0, 0, 0, 0, 5, 1], None),
    ],
)
def test_protocol_rules(protocol, raw, votes):
    raw = torch.tensor([raw, raw], dtype=torch.uint8)
    kept, chosen = choose_faces(raw, torch.tensor([True, False]), protocol)  # the second face has no name
    assert kept.tolist() == [votes is not None, False] and chosen.tolist() == ([votes] if votes else [])


def test_faces_without_a_name_are_dropped(tree):
    replace("fer2013new.csv", "fer0000001.png", "")(root := tree("ferplus", "csv"))
    assert load("ferplus", root=root).rows.tolist() == [0, 2]


def test_the_real_files_give_the_counted_faces(real_ferplus):
    for protocol, counts in {"majority": [25_060, 3_199, 3_153], "argmax": [28_389, 3_553, 3_546]}.items():
        assert [len(load("ferplus", split, protocol=protocol)) for split in ROWS] == counts
    assert [len(load("fer2013", split)) for split in ROWS] == [28_709, 3_589, 3_589]


ANGRY = "test/angry/PrivateTest_7.png"
TABLE, VOTES_OF, TEST = "fer2013.csv", "fer2013new.csv", "data/FER2013Test/"
LABELS, PICTURE = TEST + "label.csv", TEST + "fer0000007.png"
LAST = f"0,{' '.join(map(str, PIXELS[7].ravel()))},PrivateTest\n", "PrivateTest,fer0000007.png,0,0,0,0,0,0,10,0,0,0\n"
PIXEL = f"0,{PIXELS[2, 0, 0]}"  # in row 4
NAMES = "fer0000000.png,8,1,1,0,0,0,0,0,0,0\n", "Training,", "fer0000001.png,0,9,0,0,0,0,0,1,0,0\n"


DAMAGED_FOLDERS = [
    (lambda r: (r / "test/angry").rename(r / "test/Anger"), "test/Anger: test must hold disgust,"),
    (lambda r: shutil.rmtree(r / "train/happy"), "train/happy: train must hold disgust,"),
    (lambda r: (r / ANGRY).rename(r / ANGRY.replace("Private", "im")), "imTest_7.png is not named like PublicTest_1"),
    (copy(ANGRY, ANGRY.replace("test", "train")), "train/angry/PrivateTest_7.png is not named like Training_123"),
    (copy(ANGRY, ANGRY.replace("_7", "_7 (1)")), r"_7 \(1\).png is not named like PublicTest_123"),
    (copy(ANGRY, ANGRY.replace("angry", "fear")), "/PrivateTest_7.png has the name of .*/PrivateTest_7.png"),
    (lambda r: [path.unlink() for path in r.glob("test/*/Pub*")], "no picture of PublicTest"),
]


@pytest.mark.parametrize(
    ("name", "layout", "damage", "message"),
    [
        ("fer2013", "csv", remove(TABLE), r"no FER2013 in .*needs fer2013\.csv from Kaggle"),
        ("fer2013", "csv", write(TABLE, b"\xff\xfe\x00" * 99), TABLE),
        ("fer2013", "csv", cut(TABLE, 1000), f"{TABLE}, row 9: .* pixels"),
        ("fer2013", "csv", cut(TABLE, 13), f"{TABLE}, row 9: Usage"),
        ("fer2013", "gz", cut(TABLE + ".gz", 5000), TABLE + ".gz"),
        ("fer2013", "csv", replace(TABLE, ",PrivateTest", ",PublicTest", 2), f"{TABLE} has no PrivateTest"),
        ("fer2013", "csv", replace(TABLE, PIXEL + " ", "0,"), f"{TABLE}, row 4: 2303 pixels"),
        ("fer2013", "csv", replace(TABLE, PIXEL, "0,256"), f"{TABLE}, row 4: "),
        ("fer2013", "csv", replace(TABLE, PIXEL, "0,1.5"), f"{TABLE}, row 4: "),
        ("fer2013", "csv", replace(TABLE, f"6,{PIXELS[1, 0, 0]} ", "7,0 "), f"{TABLE}, row 3: emotion is '7'"),
        ("fer2013", "icml", replace("icml_face_data.csv", "6,T", "6,,T"), "icml_face_data.csv.* line 3"),
        ("fer2013", "csv", replace(TABLE, "emotion", "label"), f"{TABLE}.*column emotion"),
        *(("fer2013", "folders", damage, message) for damage, message in DAMAGED_FOLDERS),
        ("fer2013", "folders", cut(ANGRY, 400), f"{ANGRY} cannot be read"),
        ("ferplus", "csv", remove(VOTES_OF), f"{TABLE} is there, but not the votes, {VOTES_OF}"),
        ("ferplus", "csv", cut(VOTES_OF, 9), f"{VOTES_OF}, row 9: votes"),
        ("ferplus", "csv", replace(VOTES_OF, ",8,1,1,", ",8,2,1,"), f"{VOTES_OF}, row 2: votes"),
        ("ferplus", "csv", replace(VOTES_OF, ",8,1,1,", ",8,1.5,0.5,"), f"{VOTES_OF}, row 2: votes"),
        ("ferplus", "csv", replace(TABLE, LAST[0], ""), f"{TABLE} has 7 faces, .*{VOTES_OF} votes on 8"),
        ("ferplus", "csv", replace(VOTES_OF, LAST[1], ""), f"8 faces, .*{VOTES_OF} votes on 7"),
        ("ferplus", "csv", replace(VOTES_OF, "".join(NAMES), "".join(NAMES[::-1])), f"{VOTES_OF}, row 3"),
        ("ferplus", "csv", replace(VOTES_OF, "PublicTest", "PrivateTest"), f"row 6: .*{TABLE}.*{VOTES_OF}"),
        ("ferplus", "pictures", remove(LABELS), LABELS),
        ("ferplus", "pictures", replace(LABELS, "\nfer", "\n\nf"), f"{LABELS}, row 3"),  # after a blank row
        ("ferplus", "pictures", remove(PICTURE), f"{LABELS}, row 2 names fer0000007.png"),
        ("ferplus", "pictures", copy(PICTURE, TEST + "fer0000009.png"), "fer0000009.png: no row of"),
        ("ferplus", "pictures", replace(LABELS, "07.png", "06.png"), f"{LABELS}, row 2 names fer0000006.png"),
        ("ferplus", "pictures", write(PICTURE, Image.fromarray(PIXELS[7, :, :47])), f"{PICTURE}: 47×48 pixels"),
    ],
)
def test_damage_is_named_and_nothing_is_cached(refused, name, layout, damage, message):
    refused(name, layout, damage, message)

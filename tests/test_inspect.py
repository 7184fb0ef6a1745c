"""`fervt data` reports what a folder holds, what looks odd and every fault, and changes nothing."""

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from trees import ALIGNED, LABEL_FILE, PIXELS, change, cut, picture, remove, replace, state_of, write

from fervt_lib.cli import main
from fervt_lib.data import find_root

ROOT = Path(__file__).parents[1]
KAGGLE = "DATASET/test/7/test_00002_aligned.jpg"


@pytest.fixture
def look(capsys):
    """A function that runs `fervt data` and returns what it prints; unless `sound`, it must report faults."""

    def run(name: str, root: Path, sound: bool = True) -> str:
        before = state_of(root)
        with pytest.raises(SystemExit) as stop:
            main(["data", name, str(root)])
        text = capsys.readouterr().out
        assert state_of(root) == before and ("fault: " in text) == bool(stop.value.code) == (not sound), text
        return text

    return run


def counts_of(text: str, *names: str) -> list[str]:
    return [" ".join(re.search(f"\n{name} +(.*)", text)[1].split()) for name in names]


def test_counts_stand_beside_those_of_a_complete_copy_and_the_cache_is_filled(look, tree, monkeypatch, tmp_path):
    monkeypatch.setenv("FERVT_DATA", str(tmp_path / "elsewhere"))
    text = look("rafdb", root := tree("rafdb", "kaggle"))
    assert "layout: Kaggle's" in text and "train: 70 faces in all, a complete copy has 12,271" in text
    assert counts_of(text, "all", "contempt", "fear") == ["70 7", "0 0", "10 1"]
    assert f"load('rafdb', root='{root}')" in text and f"look in {tmp_path / 'elsewhere' / 'rafdb'}" in text
    monkeypatch.setenv("FERVT_DATA", str(root.parent))
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("read again"))
    assert "to use it" not in look("rafdb", root)


def test_the_real_ferplus_has_the_counts_of_a_complete_copy(look, real_ferplus):
    text = look("ferplus", find_root("ferplus"))
    assert "a complete copy has" not in text and counts_of(text, "all") == ["25,060 3,199 3,153"]
    assert "identical pictures in two splits" in text  # FER2013 is known for them


@pytest.mark.filterwarnings("error")
def test_ckplus_has_subjects_but_no_splits_and_what_its_loader_warns_of_is_shown(look, ckplus_tree):
    text = look("ckplus", ckplus_tree("official"))
    assert "layout: official" in text and "all: 11 subjects, a complete copy has 118" in text
    assert counts_of(text, "neutral", "all", "subjects") == ["11", "44", "11"]
    assert text.count("warning: CK+ all: no face was found in 44 of 44 pictures") == 1
    text = look("ckplus", ckplus_tree("ck48"))
    assert "layout: CK+48" in text and counts_of(text, "neutral") == ["0"] and "numbers up to" not in text


def test_identical_pictures_are_told_from_those_in_two_splits_and_with_two_labels(look, tree):
    files = sorted((root := tree("rafdb", "kaggle")).glob("DATASET/*/*/*.jpg"))  # 7 test and 70 train pictures
    for number, file in enumerate(files):
        Image.new("RGB", (100, 100), (3 * number, 0, 0)).save(file, quality=100)
    for one, other in ((7, 8), (20, 30), (40, 3)):
        shutil.copy(files[one], files[other])
    text = look("rafdb", root)
    assert "identical pictures: 6 in 3 groups" in text
    assert re.search(r"in two splits: 2 in 1 groups, such as\s+DATASET/train/4/.* = DATASET/test/4/", text)
    assert re.search(r"labels: 2 in 1 groups, such as\s+DATASET/train/2/.* fear\) = DATASET/train/3/.* disgust\)", text)


def test_identical_rows_of_a_table_are_named_by_their_line(look, tree):
    first, second = (" ".join(map(str, face.ravel())) for face in PIXELS[:2])
    replace("fer2013.csv", second, first)(root := tree("fer2013"))
    assert "row 2 (train, happiness) = row 3 (train, neutral)" in look("fer2013", root)


def test_gaps_in_the_numbers_and_links_out_of_the_folder_are_odd(look, tree):
    remove("DATASET/train/2/train_00012_aligned.jpg")(root := tree("rafdb", "kaggle"))
    target = (root / KAGGLE).rename(root.parent / "out.jpg")
    (root / KAGGLE).symlink_to(target)
    text = look("rafdb", root)
    assert f"{KAGGLE} is a link that leads out" in text
    assert "train_*: 1 numbers up to 70 are missing, the first is 12" in text
    remove("cohn-kanade-images/S005/001/S005_001_00000005.png")(root := tree("ckplus", "official"))
    assert "S005_001_*: 1 numbers up to 6 are missing, the first is 5" in look("ckplus", root)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("rafdb/gone", "gone does not exist"),
        ("rafdb/README", "README is a file; name the folder"),
        ("rafdb", "archive.zip is an archive; unpack it"),
        (".", r"is the dataset in .*rafdb\? Then name that folder"),
    ],
)
def test_what_is_there_in_place_of_a_dataset_is_told(look, tmp_path, named, message):
    (folder := tmp_path / "data" / "rafdb").mkdir(parents=True)
    (folder / "README").touch()
    (folder / "archive.zip").touch()
    text = look("rafdb", tmp_path / "data" / named, sound=False)
    assert "layout: not recognized\nfault: no RAF-DB in" in text and re.search(message, text)


ONE, TWO, THREE = (ALIGNED.format(f"test_0000{i}") for i in (1, 2, 3))
BAD = [cut(ONE, 300), write(TWO, picture(1).resize((90, 90))), remove(THREE), lambda r: (r / THREE).symlink_to("none")]
UTF16 = change(LABEL_FILE, lambda data: data.decode().encode("utf-16-le"))


@pytest.mark.parametrize(
    ("name", "layout", "damage", "faults"),
    [
        ("rafdb", "official", BAD, [THREE, f"{ONE} cannot be read", f"{TWO}: 90×90", f"{THREE} is a link to"]),
        ("rafdb", "official", [UTF16], [f"{LABEL_FILE}, row 1", f"{LABEL_FILE}: not a text file"]),
        ("rafdb", "official", [remove(THREE)], ["row 73 names"]),
        ("ckplus", "ck48", [remove("CK+48/anger/S005_001_00000004.png")], ["S005_001"]),
        ("ferplus", "pictures", [replace("data/FER2013Test/label.csv", ",0,0,9,", ",0,0,10,")], ["label.csv, row 1"]),
    ],
)
def test_every_fault_is_told_and_nothing_else(look, tree, name, layout, damage, faults):
    root = tree(name, layout)
    for harm in damage:
        harm(root)
    told = re.findall("^(?:fault|warning): .*", look(name, root, sound=False), re.MULTILINE)
    assert len(told) == len(faults) and all(map(re.search, faults, told)), told


def test_many_faults_are_counted(look, tree):
    for file in (root := tree("rafdb", "kaggle")).glob("DATASET/train/*/*.jpg"):
        file.write_bytes(b"no picture")
    text = look("rafdb", root, sound=False)
    assert text.count("fault: ") == 20 and text.endswith("and 50 more faults\n")


# --- the command on a terminal that shows only ASCII --------------------------------------------------------------


def in_ascii(*arguments: str) -> tuple[str, object]:
    """What a command prints on such a terminal, and its exit code."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(stream), pytest.raises(SystemExit) as end:
        main(list(arguments))
    stream.flush()
    return stream.buffer.getvalue().decode("ascii"), end.value.code


COMMANDS = ("data", "train", "evaluate", "augment", "ablate", "protocol", "spread", "ship", "card")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_through_and_changes_nothing(command):
    before = [state_of(ROOT / path) for path in ("data", "fervt_lib/weights")]
    text, code = in_ascii(command, "--help")
    assert not code and f"usage: fervt {command}" in text
    assert [state_of(ROOT / path) for path in ("data", "fervt_lib/weights")] == before


def test_messages_come_through(tree):
    write(KAGGLE, picture(2).resize((99, 100)))(root := tree("rafdb", "kaggle"))
    assert "99x100 pixels, not 100x100" in in_ascii("data", "rafdb", str(root))[0]

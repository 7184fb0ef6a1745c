"""The doctor says what a folder holds, what is odd and every fault, and changes nothing."""

import re
import shutil
from pathlib import Path

import pytest
from fervt_lib.data.__main__ import main
from PIL import Image
from trees import bomb, cut, picture, state_of

from fervt_lib.data import load

KAGGLE_TEST = Path("DATASET/test")


@pytest.fixture
def look(capsys):
    """A function that runs the doctor and returns what it prints and whether it found no fault."""

    def run(name: str, root: Path) -> tuple[str, bool]:
        before = state_of(root.expanduser())
        with pytest.raises(SystemExit) as stop:
            main([name, str(root)])
        assert state_of(root.expanduser()) == before
        return capsys.readouterr().out, not stop.value.code

    return run


def line_of(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(start))


def test_the_counts_of_every_split_and_expression_are_said_beside_the_known_ones(look, rafdb_tree):
    said, sound = look("rafdb", rafdb_tree("kaggle"))
    assert sound and "layout: Kaggle's, train/1 to test/7" in said
    assert line_of(said, "all") == ["all", "70", "7"] and line_of(said, "contempt") == ["contempt", "0", "0"]
    assert line_of(said, "fear") == ["fear", "10", "1"]
    assert "odd: train: 70 faces in all, 12,271 are known" in said
    assert "odd: test: 1 faces of fear, 74 are known" in said


def test_then_the_dataset_is_in_the_cache(look, rafdb_tree, monkeypatch):
    root = rafdb_tree("official")
    look("rafdb", root)
    monkeypatch.setattr("fervt_lib.data.rafdb.read_picture", lambda *_: pytest.fail("read again"))
    assert len(load("rafdb", "test", root=root)) == 7


def test_the_cache_is_found_again_by_every_name_of_the_folder(look, rafdb_tree, monkeypatch):
    root = rafdb_tree("official")
    link = root.with_name("link")
    link.symlink_to(root)
    look("rafdb", link)
    monkeypatch.chdir(root.parent)
    monkeypatch.setattr("fervt_lib.data.rafdb.read_picture", lambda *_: pytest.fail("read again"))
    for name in (root, root.name, f"../{root.parent.name}/{root.name}", link):
        assert len(load("rafdb", "test", root=name)) == 7


def test_it_is_said_how_to_use_a_folder_that_commands_do_not_look_in(look, rafdb_tree, monkeypatch, tmp_path):
    root = rafdb_tree("official")
    monkeypatch.setenv("FERVT_DATA", str(root.parent))
    said, _ = look("rafdb", root)
    assert "to use it" not in said  # commands look there
    monkeypatch.setenv("FERVT_DATA", str(tmp_path / "elsewhere"))
    said, _ = look("rafdb", root)
    assert f"to use it: load('rafdb', root='{root}')" in said and f"look in {tmp_path / 'elsewhere' / 'rafdb'}" in said


def test_a_folder_below_home_may_be_named_with_a_tilde(look, rafdb_tree, monkeypatch):
    root = rafdb_tree("official")
    monkeypatch.setenv("HOME", str(root.parent))
    _, sound = look("rafdb", Path("~") / root.name)
    assert sound and len(load("rafdb", "test", root=f"~/{root.name}")) == 7


INSTEAD = {  # what is named in place of the dataset's folder: what the message must say
    "no such folder": (lambda root: root / "gone", "gone, which does not exist"),
    "a file": (lambda root: root / "README", "README, which is a file: name the folder."),
    "an archive": (lambda root: root / "archive.zip", "a file: name the folder that it is unpacked in"),
    "a folder with an archive": (lambda root: root, "archive.zip is there, unpack it"),
    "one step too high": (lambda root: root.parent, "is it in .*rafdb. Then name that folder"),
}


@pytest.mark.parametrize("wrong", INSTEAD)
def test_what_is_there_in_place_of_a_dataset_is_said(capsys, tmp_path, wrong):
    root = tmp_path / "data" / "rafdb"
    root.mkdir(parents=True)
    for name in ("README", "archive.zip"):
        (root / name).touch()
    named, message = INSTEAD[wrong]
    with pytest.raises(SystemExit) as stop:
        main(["rafdb", str(named(root))])
    assert stop.value.code and re.search(f"no RAF-DB in .*{message}", capsys.readouterr().out)


def test_a_folder_that_may_not_be_looked_into_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "is_dir", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied", str(path))))
    with pytest.raises(SystemExit, match=f"denied: '{tmp_path}.*give yourself the right"):
        main(["rafdb", str(tmp_path)])


def test_identical_pictures_are_told_from_those_in_two_splits_and_with_two_labels(look, rafdb_tree):
    root = rafdb_tree("kaggle")
    train = {code: sorted((root / "DATASET/train" / code).iterdir()) for code in "1234567"}
    pictures = (path for paths in train.values() for path in paths)
    for number, path in enumerate((*pictures, *sorted((root / "DATASET/test").glob("*/*")))):
        Image.new("RGB", (100, 100), (3 * number, 0, 0)).save(path, quality=100)
    shutil.copy(train["1"][0], train["1"][1])
    shutil.copy(train["2"][0], train["3"][0])
    shutil.copy(train["4"][0], root / KAGGLE_TEST / "4/test_00007_aligned.jpg")
    said, sound = look("rafdb", root)
    assert sound and "odd: identical pictures: 6 in 3 groups" in said
    assert "odd: identical pictures in two splits: 2 in 1 groups, such as\n       DATASET/train/4/" in said
    unlike = train["2"][0].relative_to(root), train["3"][0].relative_to(root)
    assert f"labels: 2 in 1 groups, such as\n       {unlike[0]} (train, fear) = {unlike[1]} (train, disgust)" in said


def test_of_many_copies_one_of_each_split_is_shown(look, rafdb_tree):
    root = rafdb_tree("kaggle")
    for path in root.glob("DATASET/*/1/*"):
        Image.new("RGB", (100, 100)).save(path)
    said, _ = look("rafdb", root)
    shown = re.search("in two splits: 11 in 1 groups, such as\n.*", said)[0]
    assert "(train, surprise)" in shown and "(test, surprise)" in shown and shown.endswith("and 8 more")


def test_every_bad_picture_is_named_not_only_the_first(look, rafdb_tree):
    root = rafdb_tree("kaggle")
    (root / KAGGLE_TEST / "7/test_00002_aligned.jpg").rename(root / KAGGLE_TEST / "7/test_00012_aligned.jpg")
    damaged = [root / KAGGLE_TEST / name for name in ("3/test_00001_aligned.jpg", "1/test_00003_aligned.jpg")]
    cut(damaged[0], 300)
    picture(1).resize((90, 90)).save(damaged[1])
    bomb(bombed := root / KAGGLE_TEST / "4/test_00007_aligned.jpg")
    said, sound = look("rafdb", root)
    assert not sound and "layout: Kaggle's" in said
    faults = [line for line in said.splitlines() if line.startswith("fault: ")]
    assert [any(str(path) in line for line in faults) for path in (*damaged, bombed)] == [True] * 3 and len(faults) == 3
    assert "90×90 pixels, not 100×100" in said
    # a fault hides no oddity
    assert "odd: " in said and "test pictures are not numbered 1 to 12: 5 are missing, the first is 2" in said


def test_many_faults_are_counted(look, rafdb_tree):
    root = rafdb_tree("kaggle")
    for path in root.glob("DATASET/train/*/*"):
        path.write_bytes(b"no picture")
    said, _ = look("rafdb", root)
    assert said.count("fault: ") == 20 and said.endswith("and 50 faults more\n")


def test_a_folder_without_the_dataset_or_with_a_part_missing_is_a_fault(look, rafdb_tree, tmp_path):
    (tmp_path / "empty").mkdir()
    said, sound = look("rafdb", tmp_path / "empty")
    assert not sound and "layout: not found" in said and "given out by its authors on request" in said
    root = rafdb_tree("kaggle")
    shutil.rmtree(root / KAGGLE_TEST / "5")
    said, sound = look("rafdb", root)
    (bad := root / KAGGLE_TEST / "4/test_00004_aligned.jpg").write_bytes(b"no picture")
    said, sound = look("rafdb", root)
    assert not sound and "layout: found, but with a fault" in said and f"{root / KAGGLE_TEST} has no folder 5" in said
    assert said.count("fault: ") == 2 and f"fault: {bad}: not a readable picture" in said


@pytest.mark.filterwarnings("ignore:CK")
def test_ckplus_has_no_splits_and_says_what_its_loader_warns_of(look, ckplus_tree):
    said, sound = look("ckplus", ckplus_tree("official"))
    assert sound and "layout: official, cohn-kanade-images with Emotion" in said
    assert line_of(said, "neutral") == ["neutral", "11"] and "all: 11 faces of neutral, 327 are known" in said
    assert line_of(said, "subjects") == ["subjects", "11"] and "all: 11 subjects, 118 are known" in said
    assert "odd: CK+ all: no face was found in 44 of 44 pictures" in said
    said, sound = look("ckplus", ckplus_tree("ck48"))
    assert sound and "layout: CK+48" in said and line_of(said, "neutral") == ["neutral", "0"]


@pytest.mark.filterwarnings("error")
def test_what_a_loader_warns_of_is_said_once_and_as_an_oddity(look, ckplus_tree):
    root = ckplus_tree("official")
    next(root.glob("cohn-kanade-images/S010/001/*2.png")).unlink()
    said, sound = look("ckplus", root)
    assert sound and said.count("its frames do not run from 1 to its peak") == 1


def test_a_picture_that_is_missing_is_named_by_the_row_that_asks_for_it(look, ferplus_tree):
    root = ferplus_tree("pictures")
    (root / "data/FER2013Train/fer0000001.png").unlink()
    said, sound = look("ferplus", root)
    assert not sound and "row 2 names fer0000001.png" in said and said.count("fault: ") == 1


@pytest.mark.parametrize(
    ("layout", "name"),
    [("csv", "a pair of tables, fer2013.csv and fer2013new.csv"), ("pictures", "pictures with label.csv")],
)
def test_ferplus_names_its_layout(look, ferplus_tree, layout, name):
    said, sound = look("ferplus", ferplus_tree(layout))
    assert sound and f"layout: {name}" in said and line_of(said, "all") == ["all", "3", "1", "2"]
    assert "faces (majority):" in said


def test_rows_of_a_table_are_named_by_their_line(look, ferplus_tree):
    root = ferplus_tree("csv")
    file = root / "fer2013.csv"
    lines = file.read_text().splitlines()
    lines[2] = lines[2].split(",")[0] + "," + lines[1].split(",")[1] + ",Training"  # face 1 gets the pixels of face 0
    file.write_text("\n".join(lines))
    said, sound = look("fer2013", root)
    assert (
        sound
        and "identical pictures: 2 in 1 groups, such as\n       row 2 (train, happiness) = row 3 (train, neutral)"
        in said
    )
    assert "identical pictures with different labels: 2 in 1 groups" in said


def test_the_real_ferplus_has_the_counts_that_are_known(look, real_ferplus):
    from fervt_lib.data import find_root

    said, sound = look("ferplus", find_root("ferplus"))
    assert sound and "are known" not in said
    assert line_of(said, "all") == ["all", "25,060", "3,199", "3,153"]

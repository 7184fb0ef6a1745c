"""An augmented set on disk: every face, the rare ones more often, upright, and nothing half-written."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fervt_lib.data import EXPRESSIONS, Augment, DataError, load_drawn, load_ferplus
from fervt_lib.data.augmented import main, write_augmented

NOTHING = Augment(**dict.fromkeys(("flip", "degrees", "shift", "zoom", "brightness", "contrast", "erase"), 0.0))


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_each_picture_lies_with_its_expression_and_the_table_says_whose_it_is(ferplus_tree, tmp_path):
    faces = load_ferplus("train", root=ferplus_tree())
    table = write_augmented(faces, tmp_path / "out", copies=3, rare_share=0, augment=NOTHING)
    assert len(table) == 9 and sorted(table["row"].unique()) == faces.rows.tolist()
    for entry in pd.read_csv(tmp_path / "out" / "faces.csv").to_dict("records"):
        i = faces.rows.tolist().index(entry["row"])
        assert entry["file"].startswith(f"{entry['label']}/{entry['row']:07}-")
        assert abs(pixels(tmp_path / "out" / entry["file"]) - faces.images[i, 0].numpy().astype(int)).max() <= 1
        assert [entry[name] for name in EXPRESSIONS] == faces.votes[i].tolist()


def test_no_face_is_upside_down_unless_asked_for(tmp_path):
    faces = load_drawn("train", count=16)
    write_augmented(faces, tmp_path / "upright", copies=1, augment=NOTHING, rare_share=0)
    write_augmented(faces, tmp_path / "turned", copies=1, augment=NOTHING, rare_share=0, vertical_flips=1.0)
    for path in (tmp_path / "upright").glob("*/*.png"):
        upright = faces.images[int(path.name[:7]), 0].numpy().astype(int)
        assert abs(pixels(path) - upright).max() <= 1
        assert abs(pixels(tmp_path / "turned" / path.parent.name / path.name) - upright[::-1]).max() <= 1


def test_rare_expressions_get_more_copies_and_the_same_seed_the_same_files(tmp_path):
    faces = load_drawn("train", count=16)
    few = write_augmented(faces, tmp_path / "few", copies=1, rare_share=0.5)  # each is 1/8: twice
    again = write_augmented(faces, tmp_path / "again", copies=1, rare_share=0.5)
    assert len(few) == 32 and few.equals(again)
    for file in few["file"]:
        assert (tmp_path / "few" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_a_folder_that_is_there_is_left_alone_and_a_failure_leaves_none(tmp_path, monkeypatch):
    faces = load_drawn("train", count=8)
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="mine is there already"):
        write_augmented(faces, tmp_path / "mine")
    monkeypatch.setattr("PIL.Image.Image.save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(DataError, match="out cannot be written: disk full"):
        write_augmented(faces, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"rare_share": float("inf")}, {"vertical_flips": float("nan")}])
def test_a_number_out_of_its_range_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_augmented(load_drawn("train", count=8), tmp_path / "out", **wrong)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_the_fold_asked_for_and_says_which(ckplus_tree, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("ck48").parent))
    for fold in ("2", "3"):
        main(["ckplus", str(tmp_path / fold), "--fold", fold, "--copies", "1", "--rare-share", "0"])
    said = capsys.readouterr().out
    assert "(fold 2 of 10, 7 classes)" in said and "(fold 3 of 10, 7 classes)" in said
    rows = [set(pd.read_csv(tmp_path / fold / "faces.csv")["row"]) for fold in ("2", "3")]
    assert rows[0] != rows[1]


def test_a_folder_beside_is_never_touched(tmp_path):
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "mine.txt").write_text("mine")
    write_augmented(load_drawn("train", count=8), tmp_path / "out", copies=1)
    assert (tmp_path / "out.part" / "mine.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"vertical_flips": 1.5}, {"rare_share": -1}])
def test_a_number_out_of_its_range_is_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(ValueError, match="at least"):
        write_augmented(load_drawn("train", count=8), tmp_path / "out", **wrong)
    assert not list(tmp_path.iterdir())


def test_the_command_says_how_many_of_each_it_wrote(ferplus_tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FERVT_DATA", str(ferplus_tree().parent))
    main(["ferplus", str(tmp_path / "out"), "--copies", "2", "--rare-share", "0"])
    said = capsys.readouterr().out
    assert "out: 6 pictures" in said and "happiness    2" in said and "contempt     0" in said
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 6

"""Augmentation in memory and on disk: each face changes on its own, within bounds, by seed; rare ones get more."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from trees import fail

from fervt_lib.cli import main
from fervt_lib.data import EXPRESSIONS, Augment, Faces, load, load_drawn, repeat_rare, write_augmented

NOTHING = dict.fromkeys(("flip", "degrees", "shift", "zoom", "brightness", "contrast", "erase"), 0.0)
IMAGES = torch.randint(0, 256, (64, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def changed(images: torch.Tensor = IMAGES, seed: int = 0, **strengths: float) -> torch.Tensor:
    return Augment(**NOTHING | strengths)(images, torch.Generator().manual_seed(seed))


def test_a_sure_flip_mirrors_half_a_one_mirrors_half_and_no_strength_changes_nothing():
    torch.testing.assert_close(changed(), IMAGES / 255, atol=1 / 255, rtol=0)
    torch.testing.assert_close(changed(flip=1), IMAGES.flip(-1) / 255, atol=1 / 255, rtol=0)
    mirrored = ((changed(flip=0.5) - IMAGES.flip(-1) / 255).abs() < 1 / 255).flatten(1).all(1)
    assert 20 <= mirrored.sum() <= 44


def test_output_is_float32_between_0_and_1_and_the_seed_decides():
    images = torch.randint(0, 2, (32, 3, 48, 40), dtype=torch.uint8) * 255  # black and white: the extremes
    strengths = vars(Augment(brightness=0.9, contrast=0.9))
    first, again, other = (changed(images, seed, **strengths) for seed in (1, 1, 2))
    assert first.shape == images.shape and first.dtype == torch.float32 and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("change", ["degrees", "shift", "zoom", "brightness", "contrast", "erase", "equalize"])
def test_each_face_of_a_batch_gets_its_own_change(change):
    strength = 1 if change in ("erase", "equalize") else getattr(Augment(), change)
    different = len(changed(IMAGES[:1].expand(16, -1, -1, -1), **{change: strength}).unique(dim=0))
    assert 5 <= different <= 13 if change == "equalize" else different == 16  # half of them are fully equalized


def test_erasing_paints_one_rectangle_of_at_most_a_fifth():
    for painted in (changed(erase=1) - IMAGES / 255).abs()[:, 0] > 1e-5:
        area = painted.any(1).sum() * painted.any(0).sum()
        assert 0.01 < area / 48**2 < 0.22  # 2-20 %, in whole pixels
        assert painted.sum() >= 0.9 * area  # a pixel that already has the mean gray does not show


def test_brightness_and_contrast_stay_within_their_bounds():
    images = torch.randint(90, 110, (64, 1, 48, 48), dtype=torch.uint8)
    for change, measure in {"brightness": torch.mean, "contrast": torch.std}.items():
        ratio = measure(changed(images, **{change: 0.25}), (1, 2, 3)) / measure(images / 255, (1, 2, 3))
        assert 0.74 <= ratio.min() < 0.85 and 1.15 < ratio.max() <= 1.26


def test_equalizing_blends_a_face_with_one_whose_grays_are_equally_frequent_and_knows_no_exposure():
    dark = load_drawn("test", count=16).images // 4
    draws = Augment().draw(16, torch.Generator().manual_seed(0))
    draws[:, 9] = 0.5  # from 0.5 on, nothing of the original face remains
    equal = Augment(**NOTHING | {"equalize": 1})
    found, brighter = equal(dark, draws), equal(3 * dark, draws)
    assert dark.max() < 64 and found.max() == 1
    assert (found - brighter).abs().mean() < 0.002  # rounding may separate equal grays
    spread = found.flatten(1).quantile(torch.tensor([0.25, 0.5, 0.75]), dim=1)
    assert (spread - torch.tensor([[0.25], [0.5], [0.75]])).abs().max() < 0.12
    chosen = (changed(equalize=0.3) - changed()).abs().amax(dim=(1, 2, 3)) > 0.01
    assert 8 <= chosen.sum() <= 32


def repeated(labels: torch.Tensor, share: float, seed: int = 0) -> torch.Tensor:
    votes = torch.eye(10, dtype=torch.uint8)[labels]
    faces = Faces(labels[:, None, None, None].byte(), votes[:, :8], votes, torch.arange(len(labels)), "made")
    return repeat_rare(faces, share, torch.Generator().manual_seed(seed))


def test_rare_expressions_are_repeated_common_ones_are_not_and_no_face_is_left_out():
    labels = torch.tensor([0] * 9_000 + [1] * 900 + [7] * 100)  # contempt 1 %
    more = repeated(labels, 0.04)
    assert labels[more].bincount().tolist() == [9_000, 900, 0, 0, 0, 0, 0, 200]  # √(0.04 / 0.01) = 2
    assert set(more.tolist()) == set(range(10_000)) and len(repeated(labels, 0.0)) == 10_000
    more, other = (repeated(torch.arange(800) % 8, 0.25, seed) for seed in (0, 1))  # √2 times each on average
    assert 1_080 < len(more) < 1_180 and not torch.equal(more, other)


@pytest.mark.parametrize("vertical_flips", [0.0, 1.0])
def test_each_picture_lies_with_its_expression_and_the_table_tells_whose(ferplus_tree, tmp_path, vertical_flips):
    faces, out = load("ferplus", root=ferplus_tree()), tmp_path / "out"
    table = write_augmented(faces, out, Augment(**NOTHING), copies=3, rare_share=0, vertical_flips=vertical_flips)
    assert len(table) == len(list(out.glob("*/*.png"))) == 9
    for entry in pd.read_csv(out / "faces.csv").to_dict("records"):
        i = faces.rows.tolist().index(entry["row"])
        assert entry["file"].startswith(f"{entry['label']}/{entry['row']:07}-")
        expected = faces.images[i, 0].numpy()[:: -1 if vertical_flips else 1]
        assert abs(np.asarray(Image.open(out / entry["file"])).astype(int) - expected).max() <= 1
        assert [entry[name] for name in EXPRESSIONS] == faces.votes[i].tolist()


def test_rare_expressions_get_more_copies_and_the_same_seed_the_same_files(tmp_path):
    faces = load_drawn("train", count=16)
    few, again = (write_augmented(faces, tmp_path / name, copies=1, rare_share=0.5) for name in ("few", "again"))
    assert len(few) == 32 and few.equals(again)  # each expression is 1/8: two copies
    assert all((tmp_path / "few" / x).read_bytes() == (tmp_path / "again" / x).read_bytes() for x in few["file"])


def test_a_folder_that_is_there_is_left_alone_and_a_failure_leaves_none(tmp_path, monkeypatch):
    faces = load_drawn("train", count=8)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="mine exists already"):
        write_augmented(faces, tmp_path / "mine")
    monkeypatch.setattr("PIL.Image.Image.save", fail(OSError("disk full")))
    with pytest.raises(ValueError, match="out cannot be written .*disk full"):
        write_augmented(faces, tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"vertical_flips": 1.5}, {"rare_share": -1}, {"flip": -0.1}])
def test_a_number_out_of_its_range_is_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(ValueError, match=" ".join(map(str, *wrong.items()))):
        Augment(**wrong) if "flip" in wrong else write_augmented(load_drawn(count=8), tmp_path / "out", **wrong)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_the_fold_asked_for_and_tells_which_and_how_many(ckplus_tree, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FERVT_DATA", str(ckplus_tree("ck48").parent))
    for fold in ("2", "3"):
        main(["augment", "ckplus", str(tmp_path / fold), "--fold", fold, "--copies", "1", "--rare-share", "0"])
        text = capsys.readouterr().out
        assert f"{fold}: 27 pictures of 27 training faces (fold {fold} of 10, 7 classes)" in text
        assert "anger        6" in text and "neutral      0" in text
    rows = [set(pd.read_csv(tmp_path / fold / "faces.csv")["row"]) for fold in ("2", "3")]
    assert rows[0] != rows[1]

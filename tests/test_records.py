"""Records of any age can be read, and their runs are compared seed by seed."""

import pandas as pd
import pytest
import torch

from fervt_course.ablation import BASELINES
from fervt_course.records import RESULTS, compare, paired, paired_variants, read_record, read_runs, seed_deviation
from fervt_lib.disk import CheckpointError, FervtError, write_json
from fervt_lib.training import Recipe

SCORES = {"accuracy": 0.5, "macro_f1": 0.25}
OLD = {
    "variant": "bare_cnn",
    "recipe": {"dataset": "drawn", "protocol": "drawn", "preset": "tiny-bare_cnn", "average_decay": 0.9, "epochs": 3},
    "history": [{"validation": SCORES}, {"validation": SCORES | {"accuracy": 0.75}}],
    "test": {"majority": SCORES, "argmax": SCORES | {"accuracy": 0.1}},
    "seconds": 0,  # rounded: a run can be that short
}


def runs_of(scores: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(variant, seed, float(x)) for variant, by_seed in scores.items() for seed, x in enumerate(by_seed)]
    return pd.DataFrame(rows, columns=["variant", "seed", "test"])


def test_every_file_of_the_repository_reads():
    records = {path.stem: read_record(path) for path in RESULTS.glob("*.json")}
    runs = {name: facts for name, facts in records.items() if "variant" in facts}
    assert len(records) >= 63 and len(read_runs()) == len(runs)
    for name, facts in runs.items():
        recipe = facts["recipe"]
        assert name == f"{recipe['preset']}-{facts['variant']}-{recipe['epochs']}-{recipe['seed']}"
        assert recipe.keys() >= vars(Recipe()).keys() and recipe["variant"] in ("", facts["variant"])


def test_an_old_record_is_read_in_todays_names(tmp_path):
    for name, facts in {"tiny-bare_cnn-3-0": OLD, "protocol-epochs": {"history": []}, "published": []}.items():
        write_json(tmp_path / f"{name}.json", facts)
    recipe = read_record(tmp_path / "tiny-bare_cnn-3-0.json")["recipe"]
    today = Recipe(dataset="drawn", preset="tiny", variant="bare_cnn", ema_decay=0.9, epochs=3)
    assert recipe == vars(today) | {"teachers": []}
    (row,) = read_runs(tmp_path).to_dict("records")
    named = {"variant": "bare_cnn", "preset": "tiny", "epochs": 3, "seed": 0}
    assert row == named | {"validation": 75, "test": 50, "macro_f1": 0.25, "minutes": 0, "answers": None}


@pytest.mark.parametrize("text", ["{", "", '{"variant": "reference", "recipe": {}}', "\udcff"])
def test_a_damaged_record_is_named_with_the_way_out(tmp_path, text):
    with pytest.raises(CheckpointError, match="no run in .*`fervt ablate`"):
        read_runs(tmp_path)
    (tmp_path / "tiny-reference-1-0.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"tiny-reference-1-0\.json: .*make it again"):
        read_runs(tmp_path)


def test_variants_are_compared_seed_by_seed_with_their_own_baseline():
    runs = {"shared_levels": [69, 73, 50], "level_tokens": [70, 71], "reference": [80, 82, 84], "wiped": [9]}
    table = compare(runs_of(runs), BASELINES, "test")
    assert list(table.index) == ["reference", "level_tokens", "shared_levels", "wiped"]  # the order of VARIANTS
    columns = ["against", "test", "seeds", "mean", "low", "high"]
    assert table.loc["level_tokens", columns].tolist() == ["reference", 70.5, 2, -10.5, -11, -10]
    assert table.loc["shared_levels", columns].tolist() == ["level_tokens", 64, 2, 0.5, -1, 2]
    assert table.loc["wiped", "seeds"] == 0 and pd.isna(table.loc["wiped", "mean"])  # its baseline was not run


def test_seeds_of_all_variants_tell_how_far_seeds_lie_apart():
    runs = runs_of({"reference": [70, 72], "bare_cnn": [80, 81, 82], "hard_labels": [50]})
    # around their own means: 1 + 1 and 1 + 0 + 1 squared points, over 1 + 2 degrees of freedom; one seed tells nothing
    assert seed_deviation(runs, "test") == pytest.approx((4 / 3) ** 0.5)


def test_two_models_are_compared_face_by_face_and_seed_by_seed():
    labels = torch.arange(1000) % 8
    right = "".join(map(str, labels.tolist()))
    one_in_ten = "".join("9" if i % 10 == 0 else digit for i, digit in enumerate(right))
    apart = paired([right, right], [one_in_ten, one_in_ten], labels)
    assert apart["points"] == pytest.approx(10) and 7.5 < apart["low"] < 10 < apart["high"] < 12.5
    assert apart["only"] == [(100, 0)] * 2 and apart["mcnemar"] == [2 / 2**100] * 2
    same = paired([right], [right], labels)
    assert (same["points"], same["low"], same["high"], same["mcnemar"]) == (0, 0, 0, [1.0])
    back = paired([one_in_ten], [right], labels)
    assert back["points"] == pytest.approx(-10) and back["high"] < 0


def test_only_seeds_that_both_variants_have_are_compared():
    rows = [("reference", 0, "01"), ("reference", 1, "00"), ("reference", 2, "00"), ("bare_cnn", 1, "01")]
    rows += [("bare_cnn", 2, None), ("no_low_level", 0, "00")]  # no answers were recorded
    runs = pd.DataFrame(rows, columns=["variant", "seed", "answers"])
    apart = paired_variants(runs, "reference", "bare_cnn", torch.tensor([0, 1]))
    assert apart["seeds"] == [1] and apart["only"] == [(0, 1)] and apart["points"] == -50
    with pytest.raises(CheckpointError, match="no seed in common"):
        paired_variants(runs, "bare_cnn", "no_low_level", torch.tensor([0, 1]))


def test_mcnemar_is_the_binomial_test():
    nine_to_one = "9" * 9 + "1" + "1" * 90, "1" * 9 + "9" + "1" * 90
    assert paired(*([run] for run in nine_to_one), torch.ones(100))["mcnemar"] == [pytest.approx(22 / 1024)]


def test_models_with_unequal_numbers_of_seeds_are_no_pairs():
    with pytest.raises(FervtError, match="1 and 2 runs: give one of each model for every seed"):
        paired(["01"], ["01", "10"], torch.tensor([0, 1]))

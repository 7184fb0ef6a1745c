"""What every loader returns, and what is known about every dataset."""

import inspect
import pickle

import pytest
import torch

from drawn_faces import draw_faces
from fervt_lib.data import DATASETS, EXPRESSIONS, load
from fervt_lib.disk import FervtError

OTHERS = [("ferplus", {"protocol": "mode"}), ("ckplus", {"fold": 10}), ("ckplus", {"classes": 6}), ("fer", {})]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_a_dataset_is_described_as_it_is_loaded(dataset):
    takes = inspect.signature(dataset.load).parameters
    assert {name: takes[name].default for name in dataset.options} == dataset.options
    assert all(set(options) <= set(dataset.options) for options in dataset.scored)
    assert {"train", "validation", "test", *sum(dataset.parts.values(), ())} <= set(dataset.splits)


@pytest.mark.parametrize(("name", "wrong"), [*OTHERS, *((name, {"split": "dev"}) for name in DATASETS)])
def test_another_name_or_option_is_refused_before_any_file_is_read(monkeypatch, tmp_path, name, wrong):
    monkeypatch.setenv("FERVT_DATA", str(tmp_path))
    with pytest.raises(FervtError, match=str(*wrong.values()) or "'fer': choose from .*ferplus"):
        load(name, **wrong)


def test_drawn_faces_come_with_the_truth_they_were_drawn_by():
    faces, drawn = load("drawn", "test", count=16, color=True), draw_faces("test", count=16, color=True)
    assert torch.equal(faces.images, torch.tensor(drawn.images).permute(0, 3, 1, 2))
    pairs = {"labels": drawn.labels, "units": drawn.units, "masks": drawn.masks, "subjects": drawn.people}
    assert all(torch.equal(getattr(faces, name), torch.tensor(truth)) for name, truth in pairs.items())
    assert faces.rows.tolist() == list(range(16)) and faces.votes.sum(1).tolist() == [10] * 16


def test_faces_are_read_one_batch_at_a_time_also_by_another_process(tree):
    faces = load("rafdb", root=tree("rafdb", "kaggle"))
    images, votes = faces.__getitems__([5, 2])
    assert torch.equal(images, faces.images[[5, 2]]) and torch.equal(votes, faces.votes[[5, 2]])
    sent = pickle.dumps(load("rafdb", root=tree("rafdb", "official")))
    assert len(sent) < faces.images.numel() / 20 and torch.equal(pickle.loads(sent).images, faces.images)


def test_chosen_faces_keep_all_that_is_known_of_them(ckplus_tree):
    faces = load("ckplus", fold=3, root=ckplus_tree("ck48"))
    some = faces.take(chosen := faces.labels == EXPRESSIONS.index("anger"))
    for name in ("images", "votes", "raw_votes", "rows", "subjects", "labels"):
        assert torch.equal(getattr(some, name), getattr(faces, name)[chosen])
    assert (some.protocol, some.dataset, some.fold, some.absent) == ("7 classes", "ckplus", 3, [0])
    assert torch.equal(some.distribution, torch.eye(8)[some.labels])

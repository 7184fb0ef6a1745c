"""What every loader returns, and what is known about every dataset."""

import inspect
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, WeightedRandomSampler, random_split

from drawn_faces import draw_faces
from fervt_lib.data import DATASETS, EXPRESSIONS, Faces, load
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
    sent = pickle.dumps(load("rafdb", root=tree("rafdb", "official")))
    assert len(sent) < faces.images.numel() / 20 and torch.equal(pickle.loads(sent).images, faces.images)


def test_chosen_faces_keep_all_that_is_known_of_them(ckplus_tree):
    faces = load("ckplus", fold=3, root=ckplus_tree("ck48"))
    some = faces.take(chosen := faces.labels == EXPRESSIONS.index("anger"))
    for name in ("images", "votes", "raw_votes", "rows", "subjects", "labels"):
        assert torch.equal(getattr(some, name), getattr(faces, name)[chosen])
    assert (some.protocol, some.dataset, some.fold, some.absent) == ("7 classes", "ckplus", 3, [0])


# --- what torch needs in a dataset -------------------------------------------------------------------------------

SETS = {
    "all": lambda faces: faces,
    "Subset": lambda faces: Subset(faces, [5, 2, 9]),
    "random_split": lambda faces: random_split(faces, [20, len(faces) - 20])[0],
    "of a Subset": lambda faces: Subset(Subset(faces, range(20)), [3, 1]),
    "ConcatDataset": lambda faces: ConcatDataset([faces, Subset(faces, [1])]),
    "taken": lambda faces: faces.take(faces.labels == 1),
    "none": lambda faces: faces.take(torch.tensor([], dtype=torch.int64)),
}


@pytest.mark.parametrize("pick", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", ["rafdb", "drawn"])
def test_torchs_loader_reads_any_part_of_the_faces_in_batches(tree, name, pick):
    faces = load("drawn", count=40) if name == "drawn" else load("rafdb", root=tree("rafdb", "kaggle"))
    chosen = pick(faces)
    batches = list(DataLoader(chosen, batch_size=4))
    assert [len(votes) for _, votes in batches] == [
        len(some) for some in torch.arange(len(chosen)).split(4) if len(some)
    ]
    read = [pair for images, votes in batches for pair in zip(images, votes, strict=True)]
    assert all(
        torch.equal(a, b) for pair, face in zip(read, chosen, strict=True) for a, b in zip(pair, face, strict=True)
    )


def test_samplers_and_spawned_workers_read_the_same_faces(tree):
    faces = load("rafdb", root=tree("rafdb", "kaggle"))
    again = WeightedRandomSampler(torch.ones(len(faces)), 30, generator=torch.Generator().manual_seed(0))
    assert sum(len(images) for images, _ in DataLoader(faces, 8, sampler=again)) == 30
    spawned = DataLoader(Subset(faces, [4, 2]), num_workers=1, multiprocessing_context="spawn")
    assert torch.equal(torch.cat([images for images, _ in spawned]), faces.images[[4, 2]])


@pytest.mark.parametrize("name", ["rafdb", "drawn"])
def test_other_processes_get_no_pictures_and_no_shared_memory(tree, name):
    """A worker started by spawn gets its faces from ForkingPickler, which shares tensors by file descriptors."""
    faces = load("drawn", count=40) if name == "drawn" else load("rafdb", root=tree("rafdb", "kaggle"))
    faces.images.sum()  # now they are in memory
    sent = ForkingPickler.dumps(Subset(faces, [0, 1, 2]))
    assert b"torch.multiprocessing" not in bytes(sent)
    assert name == "drawn" or len(sent) < faces.images.numel() / 20


def test_faces_that_do_not_belong_together_are_refused_when_they_are_put_together():
    faces = load("drawn", count=40)
    given = {name: getattr(faces, name) for name in ("pictures", "votes", "raw_votes", "rows", "protocol")}
    wrong = {
        "pictures": faces.images / 255,
        "votes": faces.votes[:, :7],
        "raw_votes": faces.votes,
        "rows": faces.rows[1:],
    }
    for name, value in (wrong | {"images": 0}).items():
        with pytest.raises((FervtError, TypeError)):
            Faces(**given | {name: value})
    wrong = [{"pictures": p} for p in (faces.images[1:], faces.images[:, 0], faces.images.expand(-1, 2, -1, -1))]
    wrong += [{"votes": faces.votes * 0}, {"votes": faces.votes.int() - 1}, {"votes": faces.votes.numpy()}]
    for change in wrong:
        with pytest.raises(FervtError, match="picture|vote"):
            Faces(**given | change)

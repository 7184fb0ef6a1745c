"""Rare expressions come more often, no face is left out."""

import torch

from fervt_lib.data import Faces, repeat_rare


def labelled(labels: torch.Tensor) -> Faces:
    """Faces of one pixel, whose gray is the label."""
    votes = torch.nn.functional.one_hot(labels, 8).to(torch.uint8)
    raw_votes = torch.nn.functional.pad(votes, (0, 2))
    return Faces(labels[:, None, None, None].to(torch.uint8), votes, raw_votes, torch.arange(len(labels)), "made")


def test_rare_expressions_are_repeated_and_common_ones_are_not():
    faces = labelled(torch.tensor([0] * 9_000 + [1] * 900 + [7] * 100))  # contempt 1 %
    more = repeat_rare(faces, 0.04, torch.Generator().manual_seed(0))
    images, votes = more[list(range(len(more)))]
    assert votes.sum(dim=0).tolist() == [9_000, 900, 0, 0, 0, 0, 0, 200]  # √(0.04 / 0.01) = 2
    assert torch.equal(images.flatten().long(), votes.argmax(dim=1))  # picture and votes stay together
    assert set(more.indices) == set(range(len(faces)))  # no face is left out
    assert len(repeat_rare(faces, 0.0, torch.Generator())) == len(faces)


def test_a_share_of_a_copy_is_drawn_by_chance():
    faces = labelled(torch.arange(800) % 8)
    more, other = (repeat_rare(faces, 0.25, torch.Generator().manual_seed(seed)) for seed in (0, 1))  # √2 times each
    assert 1_080 < len(more) < 1_180
    assert more.indices != other.indices

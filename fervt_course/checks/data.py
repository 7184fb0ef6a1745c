"""Checks of notebook 01: label order, protocols, folds."""

from collections.abc import Callable

import torch
from torch import Tensor

from fervt_lib.data import EXPRESSIONS, FER2013_CODES, RAFDB_CODES

from .verdict import UNWRITTEN, no, verdict

MAJORITY_FACES, ARGMAX_FACES = 3153, 3546  # FER+ test split, CSV pair


def rafdb_labels(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 01, exercise 1. answer: RAF-DB's codes `(n,)` int64, 1 to 7, to our labels `(n,)`."""
    codes = torch.tensor([7, 1, 2, 3, 4, 5, 6, 1])
    ours = torch.tensor([EXPRESSIONS.index(name) for name in RAFDB_CODES])
    fer2013 = torch.tensor([EXPRESSIONS.index(name) for name in FER2013_CODES])
    try:
        found = answer(codes)
    except IndexError:
        return no("code 7 is past the end of your table: the codes count from 1, positions from 0")
    mistakes = {
        "these are the codes as they came; map them by name": codes,
        "these are RAF-DB's own numbers from 0; map them by name": codes - 1,
        "every face got the name of the next code: the codes count from 1, positions from 0": ours[codes % 7],
        "that is FER2013's order of the codes; RAF-DB has another": fer2013[codes - 1],
    }
    return verdict(found, ours[codes - 1], mistakes, "some code got another name's label: compare name by name")


def accuracy_between(answer: Callable[[float, float], float]) -> str:
    """Notebook 01, exercise 2. answer: accuracy on majority and on argmax faces, shares 0 to 1, to that in between."""
    m, a = 0.86, 0.83
    right = a * ARGMAX_FACES - m * MAJORITY_FACES
    mistakes = {
        "that is the accuracy on all argmax faces; the ones in between are only a part of them": a,
        "that is the mean of the two, but the faces in between are harder than either set": (m + a) / 2,
        "do the two sets in question have the same size? Count right answers, not percentages": 2 * a - m,
        "that is how many faces are right; divide by how many there are": right,
        "that is in percent; give a share, 0 to 1": 100 * right / (ARGMAX_FACES - MAJORITY_FACES),
        "the sign is reversed: the argmax faces are the larger set": -right / (ARGMAX_FACES - MAJORITY_FACES),
    }
    truth = right / (ARGMAX_FACES - MAJORITY_FACES)
    return verdict(answer(m, a), truth, mistakes, "divide the right answers in between by the faces in between")


def folds(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 01, exercise 3. answer: identities `(n,)` int64 to folds `(n,)`, 0 to 9."""
    identities = torch.tensor([5, 5, 130, 10, 10, 11, 20, 35, 50, 70, 90, 100, 5, 110, 120])
    found = answer(identities)
    if found is None:
        return UNWRITTEN
    found = torch.as_tensor(found)
    if found.shape != identities.shape:
        return no(f"the shape is {tuple(found.shape)}; give one fold for each image, {tuple(identities.shape)}")
    if any(len(found[identities == who].unique()) > 1 for who in identities):
        return no("a person is in two folds. Deal subjects, not images")
    if len(found.unique()) < 10:
        return no("a fold is empty. Use the subject's place in the order, not its number")
    if found.max() > 9:
        return no("there are more than ten folds: after the tenth subject deal to fold 0 again")
    order = torch.unique(identities, return_inverse=True)[1]  # of the subject, in ascending order
    mistakes = {
        "the lowest number goes to fold 0: you count from 1": (order + 1) % 10,
        "the subjects are to be dealt in ascending order, not in descending": (order.max() - order) % 10,
        "these are blocks of neighbours; deal like cards: first subject to fold 0, second to fold 1": order
        * 10
        // (order.max() + 1),
    }
    return verdict(found, order % 10, mistakes, "the lowest number goes to fold 0, the next to fold 1, and so on")

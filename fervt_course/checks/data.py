"""Checks of notebooks 01 and A1: protocols, balanced accuracy, folds, label order."""

from collections.abc import Callable

import torch
from torch import Tensor

from fervt_lib.data import EXPRESSIONS, FER2013_CODES, RAFDB_CODES

from .verdict import RIGHT, UNWRITTEN, no, verdict

MAJORITY_FACES, ARGMAX_FACES = 3153, 3546  # FER+ test split, CSV pair


def rafdb_labels(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook A1, exercise 1. answer takes RAF-DB's codes `(n,)` int64, 1 to 7, and returns our labels `(n,)`."""
    codes = torch.tensor([7, 1, 2, 3, 4, 5, 6, 1])
    ours = torch.tensor([EXPRESSIONS.index(name) for name in RAFDB_CODES])
    fer2013 = torch.tensor([EXPRESSIONS.index(name) for name in FER2013_CODES])
    alphabetical = torch.tensor([EXPRESSIONS.index(name) for name in sorted(RAFDB_CODES)])
    try:
        found = answer(codes)
    except IndexError:
        return no("code 7 is past the end of your table: the codes count from 1, positions from 0")
    mistakes = {
        "these are the codes as they came; map them by name": codes,
        "these are RAF-DB's own numbers, counted from 0; map them by name": codes - 1,
        "every face got the name of the next code: the codes count from 1, positions from 0": ours[codes % 7],
        "that is FER2013's order of the codes; RAF-DB's is different": fer2013[codes - 1],
        "the map is reversed: you look up our labels among their codes": ours.argsort()[codes - 1],
        "that is the alphabetical order of the names; RAF-DB has its own": alphabetical[codes - 1],
    }
    if isinstance(found, list | tuple) and any(isinstance(each, str) for each in found):
        return no("these are names; return our labels, which are numbers")
    return verdict(found, ours[codes - 1], mistakes, "some code got the label of another name: compare name by name")


def accuracy_between(answer: Callable[[float, float], float]) -> str:
    """Notebook 01, exercise 1. answer takes accuracy on majority and argmax faces, 0 to 1; returns that in between."""
    for m, a in ((0.86, 0.83), (0.9, 0.88)):
        right, between = a * ARGMAX_FACES - m * MAJORITY_FACES, ARGMAX_FACES - MAJORITY_FACES
        mistakes = {
            "that is the accuracy on all argmax faces; the ones in between are only a part of them": a,
            "that is the accuracy on the majority faces; the ones in between are missing from it": m,
            "that is the mean of the two, but the faces in between are harder than either set": (m + a) / 2,
            "do the two sets have the same size? Count right answers, not percentages": 2 * a - m,
            "that is the difference of the two accuracies, not an accuracy": m - a,
            "that is how many answers are right; divide by how many faces there are": right,
            "you divided by all argmax faces; divide by those in between": right / ARGMAX_FACES,
            "that is the share of wrong answers; give the right ones": 1 - right / between,
            "that is in percent; give a share, 0 to 1": 100 * right / between,
            "the sign is reversed: the argmax faces are the larger set": -right / between,
        }
        found, other = answer(m, a), "divide the right answers in between by the faces in between"
        if found is not None and abs(float(found) - right / between) < 1e-3:  # rounded to three digits is fine
            found = right / between
        says = verdict(found, right / between, mistakes, other)
        if says != RIGHT:
            return says
    return RIGHT


def balanced_accuracy(answer: Callable[[Tensor, Tensor], float]) -> str:
    """Notebook 01, exercise 2. answer takes labels and answers, `(n,)` int64; returns the mean recall of the labels."""
    says = UNWRITTEN
    for seed, absent in enumerate(([7], [0, 4])):
        labels, answers = _labels_and_answers(seed, absent)
        found = answer(labels.clone(), answers.clone())
        if found is None:
            return UNWRITTEN
        found = torch.as_tensor(found, dtype=torch.float64)
        if found.numel() != 1:
            return no(f"the shape is {tuple(found.shape)}; return one number, the mean of the recalls")
        if found.isnan():
            return no("it is NaN: a class without a face gives 0 / 0; leave it out")
        says = _about_recalls(found.reshape(()), labels, answers)
        if says != RIGHT:
            return says
    return says


def _labels_and_answers(seed: int, absent: list[int]) -> tuple[Tensor, Tensor]:
    """Classes of different sizes, some without a face; every class occurs among the answers, and one is never found."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor([k for k in range(8) if k not in absent])
    more = present[(torch.rand(80, generator=generator).square() * len(present)).long()]
    labels = torch.cat([present, more])
    guesses = torch.cat([torch.arange(8), torch.randint(8, (len(labels) - 8,), generator=generator)])
    answers = torch.where(torch.rand(len(labels), generator=generator) < 0.5, labels, guesses)
    answers[labels == present[-1]] = present[0]
    order = torch.randperm(len(labels), generator=generator)
    return labels[order], answers[order]


def _about_recalls(found: Tensor, labels: Tensor, answers: Tensor) -> str:
    faces, answered, right = (
        which.bincount(minlength=8).double() for which in (labels, answers, labels[labels == answers])
    )
    here = faces > 0
    recall, precision = right / faces.clamp(min=1), right / answered.clamp(min=1)
    f1 = 2 * right / (faces + answered).clamp(min=1)
    plain, yes_or_no = right.sum() / len(labels), 1 - (faces + answered - 2 * right) / len(labels)
    mistakes = {
        "that is the plain accuracy, in which a large class counts more; compute each recall first": plain,
        "a class without a face has no recall: leave it out; do not divide by all eight or count a 0": recall.mean(),
        "that is precision; divide by the faces with the label, not those with the answer": precision[here].mean(),
        "labels and answers are exchanged; look at the faces with the label": precision[answered > 0].mean(),
        "a class the answers never find has a recall of 0, and that counts": recall[recall > 0].mean(),
        "that is macro-F1; here false alarms do not count": f1[here].mean(),
        "that is the mean of yes-or-no accuracies; look only at the faces with the label": yes_or_no[here].mean(),
        "that is the sum of the recalls; divide by the number of classes that occur": recall.sum(),
        "that is the share of missed faces; recall is the share of those found": 1 - recall[here].mean(),
        "that is in percent; give a share, 0 to 1": 100 * recall[here].mean(),
    }
    return verdict(
        found, recall[here].mean(), mistakes, "for each class among the labels, divide its right answers by its faces"
    )


def folds(answer: Callable[[Tensor], Tensor]) -> str:
    """Notebook 01, exercise 3. answer takes identities `(n,)` int64 and returns folds `(n,)`, 0 to 9."""
    identities = torch.tensor([5, 5, 130, 10, 10, 11, 20, 35, 50, 70, 90, 100, 5, 110, 120])
    found = answer(identities)
    if found is None:
        return UNWRITTEN
    found = torch.as_tensor(found)
    if found.shape != identities.shape:
        return no(f"the shape is {tuple(found.shape)}; return one fold for each image, {tuple(identities.shape)}")
    if any(len(found[identities == who].unique()) > 1 for who in identities):
        return no("one person is in two folds. Deal subjects, not images")
    if len(found.unique()) < 10:
        return no("a fold is empty. Use the subject's place in the sorted order, not its number")
    if found.max() > 9:
        return no("there are more than ten folds: after the tenth subject, start at fold 0 again")
    order = torch.unique(identities, return_inverse=True)[1]  # of the subject, in ascending order
    mistakes = {
        "the lowest number goes to fold 0: you count from 1": (order + 1) % 10,
        "deal the subjects in ascending order, not in descending order": (order.max() - order) % 10,
        "these are blocks of neighbors; deal like cards: first subject to fold 0, second to fold 1": order
        * 10
        // (order.max() + 1),
    }
    return verdict(found, order % 10, mistakes, "the lowest number goes to fold 0, the next to fold 1, and so on")

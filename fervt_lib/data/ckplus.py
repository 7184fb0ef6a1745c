"""CK+ (Lucey et al. 2010): sequences of people who go from a neutral face to a posed expression.

Two layouts are read:

* official: `cohn-kanade-images/S005/001/S005_001_00000011.png` and
  `Emotion/S005/001/S005_001_00000011_emotion.txt`: whole pictures of about 640×490, gray or colour;
* CK+48 (Kaggle): `CK+48/anger/S010_004_00000017.png`: the last three frames, cropped to 48×48. The dataset's folder may
  be `CK+48` itself.
"""

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .cache import Write, cached
from .crop import crop_face
from .faces import DataError, Faces, Pictures, unanimous
from .files import (
    LEFT_OVER,
    Layout,
    find_root,
    fingerprint,
    list_folder,
    list_pictures,
    not_found,
    read_picture,
    read_text,
)
from .labels import CK48_FOLDERS, CKPLUS_CODES, EXPRESSIONS

SIDE = 48
SPLITS = ("test", "validation", "train")  # the fold itself, the next one, the other eight
ALL = "all"
FOLDS = 10
NEUTRAL = EXPRESSIONS.index("neutral")
FRAME = re.compile(r"S(\d{3})_(\d{3})_(\d{8})\.png")
LAST = 3  # frames of a sequence that show its expression
HOW_TO_GET = (
    "CK+ is given out by its authors on request; it goes to data/ckplus or $FERVT_DATA/ckplus, as cohn-kanade-images "
    "with Emotion, or as the folder CK+48; see data/README.md."
)


@dataclass(frozen=True)
class CKPlusFaces(Faces):
    """Frames of CK+ with who and what they were taken from.

    Attributes:
        subjects: `(n,)` int64, the number of the person: 5 for S005. No person is in two splits of one fold.
        sequences: `(n,)` int64, 1000 × subject + number of the sequence: 5001 for S005/001.
    """

    subjects: Tensor
    sequences: Tensor


class Frame(NamedTuple):
    path: Path
    subject: int
    sequence: int  # as in CKPlusFaces
    number: int  # in its sequence, from 1
    label: int


def load_ckplus(
    split: str = "train", *, fold: int = 0, classes: int = 7, root: str | Path | None = None
) -> CKPlusFaces:
    """Load one split of CK+, subject-independent in ten folds.

    The subjects in ascending order are dealt to the folds like cards: the first to fold 0, the second to fold 1.
    Test is the fold asked for, validation the next one (after 9 comes 0), train the other eight. The split "all" is
    the whole set, to test a model on that was trained elsewhere.

    Of each labelled sequence come the last three frames up to the one that its label is named after (the peak, the
    last one in CK+), 981 in all, and with 8 classes the first frame as neutral. Sequences without an emotion file have
    no label and are not used: 327 of 593 have one.

    Args:
        split: "train", "validation", "test" or "all".
        fold: 0 to 9; "all" has none.
        classes: 7 (without neutral), or 8 (official layout only: CK+48 has no first frames).
        root: the dataset's folder; None means `$FERVT_DATA/ckplus`, else `data/ckplus`.

    Returns:
        Faces of 48×48 gray pixels, `(n, 1, 48, 48)` uint8, each with ten votes for its one label. Official pictures
        are cropped to the face. `rows` counts the frames by subject, sequence and frame.

    Raises:
        DataError: a file is missing, damaged or left over, there are fewer than ten subjects, or classes=8 with CK+48;
            the message names the file and the way out.
        ValueError: no such split, fold or number of classes.

    Warns:
        UserWarning: how many pictures of the split show the centre square, because no face was found in them; a
            sequence whose frames do not run from 1 to its peak.
    """
    _check(split, fold, classes)
    root = find_root("ckplus", root)
    frames, whole = _find(root, classes)
    subjects, sequences, labels = torch.tensor([(f.subject, f.sequence, f.label) for f in frames]).unbind(1)
    rows = _rows(subjects, fold, split)
    if classes == 7:
        rows = rows[labels[rows] != NEUTRAL]
    key = fingerprint((frame.path for frame in frames), root)
    table = cached("ckplus", root, key, (1, SIDE, SIDE), lambda write: _parse(frames, root, whole, write))
    _warn_of_squares(split, table["found"][rows])
    return CKPlusFaces(
        pictures=Pictures(table["images"], rows),
        **unanimous(labels[rows]),
        rows=rows,
        protocol=f"{'all subjects' if split == ALL else f'fold {fold} of {FOLDS}'}, {classes} classes",
        subjects=subjects[rows],
        sequences=sequences[rows],
    )


def ckplus_layout(root: Path) -> Layout:
    """Which of the two layouts is there. Raises DataError where neither is, or a part of it is missing or left over."""
    frames, whole = _find(root, 7)
    paths = [frame.path for frame in frames]
    if whole:
        return Layout("official, cohn-kanade-images with Emotion", paths)
    return Layout("CK+48", paths, size=(SIDE, SIDE))


def _check(split: str, fold: int, classes: int) -> None:
    if split not in (*SPLITS, ALL):
        raise ValueError(f"split {split!r}: CK+ has {', '.join(SPLITS)}, {ALL}")
    if fold not in range(FOLDS):
        raise ValueError(f"fold {fold}: there are 0 to {FOLDS - 1}")
    if classes not in (7, 8):
        raise ValueError(f"classes {classes}: 7, or 8 with neutral")


def _rows(subjects: Tensor, fold: int, split: str) -> Tensor:
    """The frames of a split, ascending."""
    if split == ALL:
        return torch.arange(len(subjects))
    people, place = subjects.unique(return_inverse=True)
    if len(people) < FOLDS:
        raise DataError(f"CK+ of {len(people)} subjects, too few for {FOLDS} folds: it is not whole. {HOW_TO_GET}")
    distance = (place - fold) % FOLDS
    return (distance.clamp(max=2) == SPLITS.index(split)).nonzero().squeeze(1)


def _warn_of_squares(split: str, found: Tensor) -> None:
    if squares := int((~found).sum()):
        text = f"CK+ {split}: no face was found in {squares} of {len(found)} pictures; they show the centre square"
        warnings.warn(text, stacklevel=2)


def _parse(frames: list[Frame], root: Path, whole: bool, write: Write) -> dict[str, np.ndarray]:
    """whole: the pictures are to be cropped. Returns `found`, `(n,)` bool: False where the centre stands in."""
    found = np.ones(len(frames), bool)
    for i, frame in enumerate(tqdm(frames, desc="CK+", leave=False)):
        picture = read_picture(frame.path, root, "L", None if whole else (SIDE, SIDE))
        if whole:
            picture, found[i] = crop_face(picture, SIDE)
        write(picture)
    return {"found": found}


def _find(root: Path, classes: int) -> tuple[list[Frame], bool]:
    """The frames in order, and whether they are whole pictures."""
    if (root / "cohn-kanade-images").is_dir() or (root / "Emotion").is_dir():
        return _official(root), True
    for folder in (root, root / "CK+48"):
        if any((folder / name).is_dir() for name in CK48_FOLDERS):
            if classes == 8:
                raise DataError(
                    f"{folder} is CK+48, which has no neutral faces: 8 classes need the official layout, "
                    f"cohn-kanade-images with Emotion, whose first frames are neutral. {HOW_TO_GET}"
                )
            return _ck48(folder), False
    raise not_found("CK+", root, HOW_TO_GET)


def _frame(path: Path, label: int) -> Frame:
    match = FRAME.fullmatch(path.name)
    if not match:
        raise DataError(f"{path}: not named like S005_001_00000011.png; {LEFT_OVER}")
    subject, sequence, number = map(int, match.groups())
    return Frame(path, subject, 1000 * subject + sequence, number, label)


# --- layout 1: official ------------------------------------------------------------------------------------------


def _official(root: Path) -> list[Frame]:
    frames = []
    for folder in (sequence for subject in list_folder(root / "Emotion") for sequence in list_folder(subject)):
        files = list_folder(folder)
        if len(files) > 1:
            raise DataError(f"{folder}: two labels of one sequence, {files[0].name} and {files[1].name}; keep one")
        frames += [frame for file in files for frame in _sequence(file, root)]
    if not frames:
        raise DataError(f"{root / 'Emotion'} holds no labels; fetch it again")
    return frames


def _sequence(file: Path, root: Path) -> list[Frame]:
    """The first frame of a labelled sequence, neutral, and the last three. file: its label."""
    label = _label(file, root)
    subject, sequence = file.parts[-3:-1]
    folder = root / "cohn-kanade-images" / subject / sequence
    frames = [_frame(path, label) for path in list_pictures(folder)]
    for path in (file, *(frame.path for frame in frames)):
        if not path.name.startswith(f"{subject}_{sequence}_"):
            raise DataError(f"{path} is of another sequence than its folder; {LEFT_OVER}")
    peak = file.name.replace("_emotion.txt", ".png")
    upto = [frame for frame in frames if frame.path.name <= peak]
    if not upto or upto[-1].path.name != peak:
        raise DataError(f"{file} is named after the frame {folder / peak}, which is not there; fetch both again")
    if len(upto) <= LAST:
        raise DataError(f"{folder}: {len(upto)} frames up to the peak, {LAST + 1} are needed; fetch it again")
    if [frame.number for frame in frames] != list(range(1, upto[-1].number + 1)):
        warnings.warn(f"{folder}: its frames do not run from 1 to its peak, {peak}; is it whole?", stacklevel=2)
    return [upto[0]._replace(label=NEUTRAL), *upto[-LAST:]]


def _label(file: Path, root: Path) -> int:
    """An emotion file holds one number, such as `   3.0000000e+00`."""
    text = read_text(file, root).strip()
    try:
        code = float(text) if text.isascii() else None  # float reads the digits of every script
    except ValueError:
        code = None
    if code not in range(1, len(CKPLUS_CODES)):
        raise DataError(f"{file}: {text!r} is not one of CK+'s codes 1 to 7; fetch the file again")
    return EXPRESSIONS.index(CKPLUS_CODES[int(code)])


# --- layout 2: CK+48 ---------------------------------------------------------------------------------------------


def _ck48(folder: Path) -> list[Frame]:
    frames = []
    for place in list_folder(folder):
        if place.name not in CK48_FOLDERS:
            raise DataError(f"{place}: CK+48 has {', '.join(CK48_FOLDERS)}; {LEFT_OVER}")
        label = EXPRESSIONS.index(CK48_FOLDERS[place.name])
        frames += [_frame(path, label) for path in list_pictures(place)]
    if absent := CK48_FOLDERS.keys() - {frame.path.parent.name for frame in frames}:
        raise DataError(f"{folder / min(absent)} is missing; the dataset is not whole: fetch it again")
    _check_threes(frames)
    return sorted(frames, key=lambda frame: frame.path.name)


def _check_threes(frames: list[Frame]) -> None:
    """CK+48 has three pictures of every sequence, in one folder."""
    everywhere = Counter(frame.sequence for frame in frames)
    here = Counter((frame.sequence, frame.label) for frame in frames)
    for frame in frames:
        counts = here[frame.sequence, frame.label], everywhere[frame.sequence]
        if counts != (LAST, LAST):
            raise DataError(
                f"{frame.path}: of its sequence there are {counts[0]} pictures in this folder, {counts[1]} in all, "
                f"not {LAST} in one: some are missing or copied; fetch the dataset again"
            )

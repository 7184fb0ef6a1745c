"""CK+ (Lucey et al. 2010): sequences of people who go from a neutral face to a posed expression.

We read two layouts. The dataset's folder may also be `CK+48` itself:

* official: `cohn-kanade-images/S005/001/S005_001_00000011.png` and
  `Emotion/S005/001/S005_001_00000011_emotion.txt`: whole pictures of about 640×490, gray or color; both may stay
  in the folders that their archives unpack to;
* CK+48 (Kaggle): `CK+48/anger/S010_004_00000017.png`: the last three frames, cropped to 48×48.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..disk import DataError, check_choice
from .crop import centre, cut, find_faces
from .faces import ALL, SPLITS, SUBJECTS, Dataset, Faces, Layout, NotFoundError, Pictures, known_counts, unanimous
from .files import find_root, list_folder, list_pictures, read_picture, read_text, warn_of_gaps
from .labels import CK48_FOLDERS, CKPLUS_CODES, EXPRESSIONS
from .store import cached, open_table

SIDE = 48
FOLDS = 10
LAST = 3  # how many frames at the end of a sequence show its expression
OFFICIAL_FOLDERS = (
    ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images"),
    ("Emotion", "Emotion_labels/Emotion"),
)
NEUTRAL = EXPRESSIONS.index("neutral")
FRAME = re.compile(r"S(\d{3})_(\d{3})_(\d{8})\.png")


@dataclass(frozen=True, kw_only=True)
class CKPlusFaces(Faces):
    """Frames of CK+. `subjects` holds each person's number: 5 for S005. No person is in two splits of the same fold."""

    sequences: Tensor
    """`(n,)` int64, 1000 × subject + sequence number: 5001 for S005/001"""


class Frame(NamedTuple):
    path: Path
    subject: int
    sequence: int  # as in CKPlusFaces
    label: int


def load_ckplus(
    split: str = "train", *, fold: int = 0, classes: int = 7, root: str | Path | None = None
) -> CKPlusFaces:
    """Load one split of CK+, which we divide into ten subject-independent folds.

    We deal the subjects, in ascending order, to the folds like cards: the first to fold 0, the second to fold 1.
    Each label file is named after one frame of its sequence, the peak. We use the last three frames up to the peak,
    981 in all. With 8 classes, we also use the first frame, as neutral. We skip sequences without an emotion file,
    since they have no label: 327 of 593 have one.

    Args:
        split: "test" (the fold), "validation" (the next one; after 9 comes 0), "train" (the other eight) or "all".
        fold: 0 to 9; "all" ignores it.
        classes: 7 (without neutral), or 8 (official layout only: CK+48 has no first frames).
        root: the dataset's folder; None means `$FERVT_DATA/ckplus`, else `data/ckplus`.

    Returns:
        Faces of 48×48 gray pixels, `(n, 1, 48, 48)` uint8, each with ten votes for its one label. Official pictures
        are cropped to the face; if no face is found, you get the center square, and a warning counts these pictures.
        `rows` numbers the frames by subject, sequence and frame.

    Raises:
        DataError: a file is missing, damaged or does not belong there, there are fewer than ten subjects, or classes=8
            with CK+48; the message names the file and how to fix it.
    """
    check_choice("split", split, CKPLUS.splits)
    check_choice("fold", fold, range(FOLDS))
    check_choice("classes", classes, (7, 8))
    root = find_root(CKPLUS.folder, root)
    frames, is_official = _find(root)
    if classes == 8 and not is_official:
        needed = "8 classes need the official layout, cohn-kanade-images with Emotion, whose first frames are neutral"
        raise DataError(f"{root} is CK+48, which has no neutral faces: {needed}. {CKPLUS.how_to_get}")
    subjects, sequences, labels = torch.tensor([frame[1:] for frame in frames]).unbind(1)
    rows = _rows_of(split, subjects, fold, root)
    if classes == 7:
        rows = rows[labels[rows] != NEUTRAL]
    columns = [("picture", "u1", (1, SIDE, SIDE)), ("found", "?")]
    path = cached("ckplus", root, [frame.path for frame in frames], columns, lambda: _read(frames, is_official))
    found = open_table(path)["found"][rows.numpy()]
    if squares := int((~found).sum()):
        text = f"CK+ {split}: no face was found in {squares} of {len(found)} pictures; they show the centre square"
        warnings.warn(text, stacklevel=2)
    return CKPlusFaces(
        pictures=Pictures(path, rows),
        **unanimous(labels[rows]),
        rows=rows,
        protocol=f"{'all subjects, ' if split == ALL else ''}{classes} classes",
        dataset="ckplus",
        expressions=CKPLUS_CODES if classes == 8 else CKPLUS_CODES[1:],
        subjects=subjects[rows],
        fold=None if split == ALL else fold,
        sequences=sequences[rows],
    )


def ckplus_layout(root: Path) -> Layout:
    frames, is_official = _find(root)
    paths = [frame.path for frame in frames]
    if is_official:
        name = "official, cohn-kanade-images with Emotion"
        return Layout(name, OFFICIAL_COUNTS, paths, all_classes=True)
    return Layout("CK+48", CK48_COUNTS, paths, size=(SIDE, SIDE))


def _rows_of(split: str, subjects: Tensor, fold: int, root: Path) -> Tensor:
    """The row numbers of a split's frames, in ascending order."""
    people, order = subjects.unique(return_inverse=True)
    if split != ALL and len(people) < FOLDS:
        raise DataError(f"{root} is incomplete: {len(people)} subjects, too few for {FOLDS} folds. {CKPLUS.how_to_get}")
    distance = (order - fold) % FOLDS
    chosen = {"test": distance == 0, "validation": distance == 1, "train": distance > 1, ALL: distance >= 0}[split]
    return chosen.nonzero().squeeze(1)


def _read(frames: list[Frame], is_official: bool) -> Iterator[tuple[np.ndarray, bool]]:
    """Each frame's picture, and whether we found a face in it (always True for CK+48, which is already cropped)."""
    for frame in tqdm(frames, desc="CK+", leave=False):
        picture, found = read_picture(frame.path, "L", None if is_official else (SIDE, SIDE)), True
        if is_official:
            faces = find_faces(picture)
            picture, found = cut(picture, faces[0] if faces else centre(picture), SIDE), bool(faces)
        yield picture[None], found


def _find(root: Path) -> tuple[list[Frame], bool]:
    """The frames in order, and whether the layout is the official one."""
    found = [[root / place for place in places if (root / place).is_dir()] for places in OFFICIAL_FOLDERS]
    if twice := [folders for folders in found if len(folders) > 1]:
        raise DataError(f"{' and '.join(map(str, twice[0]))} are both there; keep one")
    if any(found):
        images, emotions = (f[0] if f else root / p[0] for f, p in zip(found, OFFICIAL_FOLDERS, strict=True))
        return _official(images, emotions), True
    for folder in filter(Path.is_dir, (root, root / "CK+48")):
        if any(path.name.lower() in CK48_FOLDERS for path in list_folder(folder)):
            return _ck48(folder), False
    raise NotFoundError(CKPLUS, root)


def _frame(path: Path, label: int) -> Frame:
    match = FRAME.fullmatch(path.name)
    if not match:
        raise DataError(f"{path} is not named like S005_001_00000011.png; move it out of the dataset")
    subject, sequence, _ = map(int, match.groups())
    return Frame(path, subject, 1000 * subject + sequence, label)


def _official(images: Path, emotions: Path) -> list[Frame]:
    """From each labeled sequence, the first frame (neutral) and the last three up to its peak."""
    frames, of_label = [], {}
    for file in (f for subject in list_folder(emotions) for s in list_folder(subject) for f in list_folder(s)):
        if (other := of_label.setdefault(file.parent, file)) != file:
            raise DataError(f"{file}: {other.name} labels the same sequence; keep one")
        folder = images / file.parent.relative_to(emotions)
        peak, start = file.name.replace("_emotion.txt", ".png"), "_".join(folder.parts[-2:])
        sequence = [_frame(path, _label(file)) for path in list_pictures(folder)]
        if others := [path for path in (file, *(f.path for f in sequence)) if not path.name.startswith(f"{start}_")]:
            raise DataError(f"{others[0]} belongs to another sequence; move it to its own folder")
        sequence = [frame for frame in sequence if frame.path.name <= peak]
        warn_of_gaps(folder / f"{start}_*", [int(frame.path.stem[-8:]) for frame in sequence])
        if len(sequence) <= LAST or sequence[-1].path.name != peak:
            found = f"{len(sequence)} frames up to {peak}, which the label is named after"
            raise DataError(f"{file}: {folder} has {found}; it needs at least {LAST + 1}, the last one with that name")
        frames += [sequence[0]._replace(label=NEUTRAL), *sequence[-LAST:]]
    if not frames:
        raise DataError(f"{emotions} holds no labels; download it again")
    return frames


def _label(file: Path) -> int:
    """An emotion file holds one number, such as `   3.0000000e+00`."""
    text = read_text(file).strip()
    match = re.fullmatch(r"\+?([1-7])(\.0*)?(e\+?0+)?", text, re.ASCII | re.IGNORECASE)
    if not match:
        raise DataError(f"{file}: {text!r} is not one of CK+'s codes 1 to 7; download the file again")
    return EXPRESSIONS.index(CKPLUS_CODES[int(match[1])])


def _ck48(folder: Path) -> list[Frame]:
    held = list_folder(folder)
    folders = {path.name.lower(): path for path in held}  # some copies capitalize them: Anger
    if len(folders) < len(held):
        raise DataError(f"{folder} holds {', '.join(path.name for path in held)}, one of them twice; keep one")
    labels = {name: EXPRESSIONS.index(expression) for name, expression in CK48_FOLDERS.items()}
    every = {folders.get(name, folder / name): label for name, label in labels.items()}
    frames = [_frame(path, label) for of_label, label in every.items() for path in list_pictures(of_label)]
    if others := [path for name, path in folders.items() if name not in CK48_FOLDERS]:
        raise DataError(f"{others[0]} is not one of CK+48's folders ({', '.join(CK48_FOLDERS)}); move it elsewhere")
    in_all, in_folder = Counter(f.sequence for f in frames), Counter((f.sequence, f.label) for f in frames)
    for frame in frames:
        counts = in_folder[frame.sequence, frame.label], in_all[frame.sequence]
        if counts != (LAST, LAST):
            found = f"its sequence has {counts[0]} pictures in this folder and {counts[1]} in all, not {LAST} in one"
            raise DataError(f"{frame.path}: {found}; some are missing or copied: download the dataset again")
    return sorted(frames, key=lambda frame: frame.path.name)


# --- known facts (the counts as quoted by others) -----------------------------------------------------------------

CK48_COUNTS = known_counts(ALL, "0 207 249 84 135 177 75 54", **{SUBJECTS: 118})
OFFICIAL_COUNTS = known_counts(ALL, "327 207 249 84 135 177 75 54", **{SUBJECTS: 118})
CKPLUS = Dataset(
    "ckplus",
    "CK+",
    load_ckplus,
    ckplus_layout,
    "ckplus",
    "The authors of CK+ share it on request; put it into data/ckplus or $FERVT_DATA/ckplus, as cohn-kanade-images "
    "with Emotion, or as the folder CK+48; see data/README.md.",
    options={"fold": 0, "classes": 7},
    splits=(*SPLITS, ALL),
    parts={ALL: (ALL,)},
)

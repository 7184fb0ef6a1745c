"""FER+ (Barsoum et al. 2016): the faces of FER2013 with the votes of ten raters.

Two layouts are read, and either may be offered as a folder:

* the CSV pair: `fer2013.csv` (or Kaggle's `icml_face_data.csv`; plain or gzipped) and `fer2013new.csv`;
* pictures: `data/FER2013{Train,Valid,Test}/` with PNG files and `label.csv`.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from .cache import Write, cached
from .faces import DataError, Faces, Pictures
from .fer2013 import SIDE, SPLIT_CODES, SPLITS, chunks, find_face_file, look_up, parse_faces, require_columns
from .files import Layout, find_root, fingerprint, list_folder, match_rows, not_found, read_picture, read_text
from .labels import EXPRESSIONS, VOTE_COLUMNS

VOTE_FILES = ("fer2013new.csv", "fer2013new.csv.gz")
PICTURE_FOLDERS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
HOW_TO_GET = (
    "FER+ needs FER2013's faces (fer2013.csv from Kaggle) and Microsoft's votes (fer2013new.csv) in one folder, "
    "data/ferplus or $FERVT_DATA/ferplus; data/README.md says where each comes from."
)


def load_ferplus(split: str = "train", protocol: str = "majority", root: str | Path | None = None) -> Faces:
    """Load one split of FER+.

    Args:
        split: "train", "validation" (PublicTest) or "test" (PrivateTest).
        protocol: "majority" (Microsoft's rules) or "argmax" (most votes over the ten columns), see `choose_faces`.
        root: the dataset's folder; None means `$FERVT_DATA/ferplus`, else `data/ferplus`.

    Returns:
        Faces of 48×48 gray pixels. Counted on the CSV pair, majority keeps 25,060 / 3,199 / 3,153 faces and
        argmax 28,389 / 3,553 / 3,546.

    Raises:
        DataError: a file is missing or damaged; the message names file, row and the way out.
        ValueError: no such split or protocol.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: FER+ has {', '.join(SPLITS)}")
    root = find_root("ferplus", root)
    table = cached(
        "ferplus", root, fingerprint(_sources(root), root), (1, SIDE, SIDE), lambda write: _parse(root, write)
    )
    rows = (table["split"] == SPLITS.index(split)).nonzero().squeeze(1)
    raw_votes = table["votes"][rows]
    kept, votes = choose_faces(raw_votes, table["named"][rows], protocol)
    rows = rows[kept]
    return Faces(Pictures(table["images"], rows), votes, raw_votes[kept], rows, protocol)


def choose_faces(raw_votes: torch.Tensor, named: torch.Tensor, protocol: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply a FER+ protocol to raw votes.

    *majority* (Microsoft's FERPlus reader, mode "majority"): counts of 1 become 0, in all ten columns; the largest
    count must exceed half of what is left; faces won by *unknown* or *NF* go. *argmax*: the column with most votes
    wins, faces won by *unknown* or *NF* go, no vote is changed.

    Args:
        raw_votes: `(n, 10)` uint8. named: `(n,)` bool, False where FER+ dropped the face (empty image name).

    Returns:
        `kept`: `(n,)` bool; `votes`: `(kept.sum(), 8)` uint8, at least one vote in every row.
    """
    if protocol not in ("majority", "argmax"):
        raise ValueError(f"protocol {protocol!r}: FER+ has 'majority' and 'argmax'")
    votes = torch.where(raw_votes > 1, raw_votes, 0) if protocol == "majority" else raw_votes
    most, winner = votes.max(dim=1)
    kept = named & (winner < len(EXPRESSIONS)) & (most > 0)
    if protocol == "majority":
        kept &= 2 * most > votes.sum(dim=1)
    return kept, votes[kept, : len(EXPRESSIONS)]


# --- which layout is there ---------------------------------------------------------------------------------------


def _csv_pair(root: Path) -> tuple[Path, Path] | None:
    faces = find_face_file(root)
    votes = [root / name for name in VOTE_FILES if (root / name).is_file()]
    if faces and votes:
        return faces, votes[0]
    if (faces or votes) and not _has_pictures(root):
        found, absent = (faces, "votes, fer2013new.csv") if faces else (votes[0], "faces, fer2013.csv")
        raise DataError(f"{root}: {found.name} is there, but not the {absent}. {HOW_TO_GET}")
    return None


def _picture_folder(root: Path) -> Path | None:
    for folder in (root, root / "data"):
        if any((folder / name).is_dir() for name in PICTURE_FOLDERS.values()):
            return folder
    return None


def _has_pictures(root: Path) -> bool:
    """The repository of FER+ has the folders and their label.csv, but no picture."""
    folder = _picture_folder(root)
    return bool(folder) and any(next((folder / name).glob("*.png"), None) for name in PICTURE_FOLDERS.values())


def _missing(root: Path) -> DataError:
    if (root / "train").is_dir():
        return DataError(
            f"{root} holds folders of pictures (train/angry/…), Kaggle's folder variant of FER2013. It has no row "
            f"order, so FER+ votes cannot be joined to it: the file fer2013.csv is needed instead. {HOW_TO_GET}"
        )
    return not_found("FER+", root, HOW_TO_GET)


def ferplus_layout(root: Path) -> Layout:
    """Which of the two layouts is there. Raises DataError where neither is, or a part of it is missing."""
    if pair := _csv_pair(root):
        return Layout(f"a pair of tables, {pair[0].name} and {pair[1].name}", [])
    if folder := _picture_folder(root):
        parts = [folder / name for name in PICTURE_FOLDERS.values()]
        pictures = [part / name for part in parts for name in _parse_label_file(part / "label.csv", folder)[0].values()]
        return Layout("pictures with label.csv", pictures, size=(SIDE, SIDE))
    raise _missing(root)


def _sources(root: Path) -> list[Path]:
    if pair := _csv_pair(root):
        return list(pair)
    if folder := _picture_folder(root):
        there = (folder / name for name in PICTURE_FOLDERS.values() if (folder / name).is_dir())
        return [path for part in there for path in list_folder(part)]
    raise _missing(root)


def _parse(root: Path, write: Write) -> dict[str, np.ndarray]:
    if pair := _csv_pair(root):
        return _parse_csv_pair(*pair, write)
    return _parse_pictures(_picture_folder(root), write)


# --- layout 1: the CSV pair --------------------------------------------------------------------------------------


def _parse_votes(path: Path) -> tuple[pd.Series, np.ndarray, np.ndarray]:
    """Image names, `(n, 10)` votes and `(n,)` split codes of fer2013new.csv."""
    table = pd.concat(chunks(path, 100_000))
    require_columns(path, table, ("Usage", "Image name", *VOTE_COLUMNS))
    return (
        table["Image name"].str.strip(),
        _votes(path, table[list(VOTE_COLUMNS)].set_axis(table.index + 2), range(9, 11)),
        look_up(path, table["Usage"], SPLIT_CODES),
    )


def _votes(path: Path, columns: pd.DataFrame, sums: range) -> np.ndarray:
    """`(n, 10)` uint8. columns: as text, indexed by row of the file. sums: what the votes on a face may come to."""
    votes = columns.apply(pd.to_numeric, errors="coerce")
    good = votes.isin(range(11)).all(axis=1) & votes.sum(axis=1).isin(sums)
    if not good.all():
        row = good.idxmin()
        raise DataError(
            f"{path}, row {row}: votes {list(columns.loc[row])} are not counts of {sums[0]} to {sums[-1]} in all; "
            "fetch the file again"
        )
    return votes.to_numpy(np.uint8)


def _parse_csv_pair(face_file: Path, vote_file: Path, write: Write) -> dict[str, np.ndarray]:
    names, votes, vote_splits = _parse_votes(vote_file)
    splits = parse_faces(face_file, write)["split"]
    if len(splits) != len(votes):
        raise DataError(
            f"{face_file} has {len(splits)} faces, {vote_file} votes on {len(votes)}: the two are joined by row, so "
            "they must be whole and belong together; fetch the shorter one again"
        )
    _check_join(face_file, vote_file, names, splits != vote_splits)
    return {"votes": votes, "split": splits, "named": names.ne("").to_numpy(bool)}


def _check_join(face_file: Path, vote_file: Path, names: pd.Series, other_usage: np.ndarray) -> None:
    """Joined by row, checked by name: Usage must agree, and the numbers in names that come once rise (four repeat)."""
    if other_usage.any():
        row = int(other_usage.argmax()) + 2
        raise DataError(
            f"row {row}: Usage differs between {face_file} and {vote_file}; one of them was re-sorted: fetch both again"
        )
    numbers = names[names.ne("")].str.extract(r"^fer([0-9]{7})\.png$")[0]
    if numbers.isna().any():
        row = numbers.index[numbers.isna()][0]
        raise DataError(
            f"{vote_file}, row {row + 2}: image name {names[row]!r} is not like fer0000000.png; fetch it again"
        )
    falls = numbers[~numbers.duplicated(keep=False)].astype(int).diff() < 0
    if falls.any():
        row = falls.idxmax()
        raise DataError(f"{vote_file}, row {row + 2}: {names[row]} is out of FER2013's order; fetch the file again")


# --- layout 2: pictures and label.csv ----------------------------------------------------------------------------


def _parse_pictures(folder: Path, write: Write) -> dict[str, np.ndarray]:
    votes, splits = [], []
    for code, name in enumerate(PICTURE_FOLDERS.values()):
        place, label_file = folder / name, folder / name / "label.csv"
        names, part = _parse_label_file(label_file, folder)
        match_rows(label_file, names, (path for path in list_folder(place) if path != label_file), place)
        for file in tqdm(names.values(), desc=name, leave=False):
            write(read_picture(place / file, folder, "L", (SIDE, SIDE)))
        votes.append(part)
        splits.append(np.full(len(names), code, np.uint8))
    votes = np.concatenate(votes)
    return {"votes": votes, "split": np.concatenate(splits), "named": np.ones(len(votes), bool)}


def _parse_label_file(path: Path, folder: Path) -> tuple[dict[int, str], np.ndarray]:
    """File names by row and `(n, 10)` votes of a label.csv, which has no header: name, "(0, 0, 48, 48)", ten counts."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: each of {', '.join(PICTURE_FOLDERS.values())} must hold a label.csv; fetch it again"
        )
    lines = {row: line for row, line in enumerate(read_text(path, folder).splitlines(), 1) if line.strip()}
    try:
        rows = {row: next(csv.reader([line])) for row, line in lines.items()}
    except csv.Error as error:
        raise DataError(f"{path}: not a table ({error}); fetch the file again") from error
    for number, row in rows.items():
        if len(row) != 12 or not re.fullmatch(r"[\w-]+\.png", row[0]):
            raise DataError(f"{path}, row {number}: not a picture's name, a box and ten votes; fetch the file again")
    votes = pd.DataFrame([row[2:] for row in rows.values()], index=list(rows))
    return {number: row[0] for number, row in rows.items()}, _votes(path, votes, range(11))

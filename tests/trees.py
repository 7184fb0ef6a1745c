"""Small trees of each dataset in each of its layouts, and what is done to them."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fervt_lib.data import CK48_FOLDERS, CKPLUS_CODES, VOTE_COLUMNS

# --- FER2013 and FER+ ------------------------------------------------------------------------------------------------

USAGE = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
EMOTION_CODES = [3, 6, 0, 1, 2, 4, 5, 0]  # FER2013's codes
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
VOTES = [  # one face a row, in the order of VOTE_COLUMNS
    [8, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    [0, 9, 0, 0, 0, 0, 0, 1, 0, 0],
    [0, 0, 6, 2, 0, 0, 2, 0, 0, 0],
    [4, 0, 0, 4, 2, 0, 0, 0, 0, 0],  # no majority
    [0, 0, 0, 0, 0, 7, 0, 3, 0, 0],
    [1, 0, 0, 0, 0, 0, 0, 0, 9, 0],  # unknown
    [0, 1, 0, 0, 9, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 10, 0, 0, 0],
]


def write_fer2013(root: Path, layout: str) -> None:
    """The eight faces in one table: "csv", "gz" or Kaggle's "icml"."""
    root.mkdir(parents=True)
    pixels = (" ".join(map(str, face.ravel())) for face in PIXELS)
    faces = list(zip(EMOTION_CODES, USAGE, pixels, strict=True))
    if layout == "icml":
        text = "emotion, Usage, pixels\n" + "".join(f"{e},{u},{p}\n" for e, u, p in faces)
    else:
        text = "emotion,pixels,Usage\n" + "".join(f"{e},{p},{u}\n" for e, u, p in faces)
    if layout == "gz":
        (root / "fer2013.csv.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (root / {"csv": "fer2013.csv", "icml": "icml_face_data.csv"}[layout]).write_text(text)


def write_ferplus(root: Path, layout: str) -> None:
    """The same faces with ten votes each: a table as above beside that of the votes, or "pictures"."""
    votes = [",".join(map(str, row)) for row in VOTES]
    if layout != "pictures":
        write_fer2013(root, layout)
        rows = [f"{USAGE[i]},fer{i:07}.png,{votes[i]}\n" for i in range(8)]
        (root / "fer2013new.csv").write_text(",".join(("Usage", "Image name", *VOTE_COLUMNS)) + "\n" + "".join(rows))
        return
    for name, rows in {"Train": range(4), "Valid": range(4, 6), "Test": range(6, 8)}.items():
        (folder := root / f"data/FER2013{name}").mkdir(parents=True)
        for i in rows:
            Image.fromarray(PIXELS[i]).save(folder / f"fer{i:07}.png")
        lines = [f'fer{i:07}.png,"(0, 0, 48, 48)",{votes[i]}\n' for i in rows]
        (folder / "label.csv").write_text("".join(lines))


# --- CK+ -------------------------------------------------------------------------------------------------------------

SUBJECTS = (5, 10, 11, 14, 22, 26, 28, 29, 32, 34, 999)  # eleven: the last is dealt to fold 0 again
CODE_OF = {subject: 1 + i % 7 for i, subject in enumerate(SUBJECTS)}
FRAMES = range(1, 7)


def gray(subject: int, frame: int) -> int:
    return (20 * SUBJECTS.index(subject) + 3 * frame) % 256


def write_ckplus(root: Path, layout: str) -> None:
    """A sequence of each subject, "official" or "ck48"; officially one more, without a label."""
    folder_of = {expression: folder for folder, expression in CK48_FOLDERS.items()}
    for subject, code in CODE_OF.items():
        name, sequence = f"S{subject:03}_001", f"S{subject:03}/001"
        if layout == "official":
            folder, frames, size = root / "cohn-kanade-images" / sequence, FRAMES, (96, 72)
            (root / "Emotion" / sequence).mkdir(parents=True)
            (root / "Emotion" / sequence / f"{name}_00000006_emotion.txt").write_text(f"   {code}.0000000e+00\n")
        else:
            folder, frames, size = root / "CK+48" / folder_of[CKPLUS_CODES[code]], FRAMES[-3:], (48, 48)
        folder.mkdir(parents=True, exist_ok=True)
        mode = "RGB" if subject == 999 and layout == "official" else "L"
        for frame in frames:
            Image.new("L", size, gray(subject, frame)).convert(mode).save(folder / f"{name}_{frame:08}.png")
    if layout == "official":
        (root / "cohn-kanade-images/S005/002").mkdir()
        (root / "Emotion/S005/002").mkdir()
        Image.new("L", (96, 72)).save(root / "cohn-kanade-images/S005/002/S005_002_00000001.png")


# --- RAF-DB ----------------------------------------------------------------------------------------------------------

CODES = {"train": [code for code in range(1, 8) for _ in range(10)], "test": [3, 7, 1, 2, 6, 5, 4]}
ALIGNED, LABEL_FILE = "basic/Image/aligned", "basic/EmoLabel/list_patition_label.txt"


def picture(number: int) -> Image.Image:
    """One colour each, all three channels of another brightness."""
    return Image.new("RGB", (100, 100), (number, 100, 250 - number))


def write_rafdb(root: Path, layout: str) -> None:
    """70 train and 7 test faces, "official" or "kaggle"."""
    rows = []
    for split, codes in CODES.items():
        for number, code in enumerate(codes, 1):
            folder = root / (ALIGNED if layout == "official" else f"DATASET/{split}/{code}")
            folder.mkdir(parents=True, exist_ok=True)
            picture(number).save(folder / f"{split}_{number:05}_aligned.jpg", quality=95)
            rows.append(f"{split}_{number:05}.jpg {code}\n")
    if layout == "official":
        (root / LABEL_FILE).parent.mkdir()
        (root / LABEL_FILE).write_text("".join(rows))


WRITERS = {"fer2013": write_fer2013, "ferplus": write_ferplus, "ckplus": write_ckplus, "rafdb": write_rafdb}

# --- damage ----------------------------------------------------------------------------------------------------------


def replace(file: str, old: str, new: str, count: int = 1) -> Callable[[Path], object]:
    """The damages of this kind are functions of the dataset's folder; `file` is named below it."""

    def damage(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, count))

    return damage


def cut(file: str, bytes_gone: int) -> Callable[[Path], object]:
    return lambda root: (root / file).write_bytes((root / file).read_bytes()[:-bytes_gone])


def write(file: str, content: str | bytes | Image.Image) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        if isinstance(content, Image.Image):
            content.save(root / file)
        else:
            (root / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def remove(file: str) -> Callable[[Path], object]:
    return lambda root: (root / file).unlink()


def copy(file: str, to: str) -> Callable[[Path], object]:
    return lambda root: (root / to).write_bytes((root / file).read_bytes())


def rename(file: str, to: str) -> Callable[[Path], object]:
    return lambda root: (root / file).rename(root / to)


def state_of(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of everything in a folder: what may never change when it is loaded."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}

"""Small trees of each dataset in each of its layouts, and what is done to them."""

import gzip
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fervt_lib.data import VOTE_COLUMNS
from fervt_lib.data.ferplus import PICTURE_FOLDERS

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


def write_ferplus(root: Path, layout: str = "csv") -> None:
    """The eight faces above: "csv", "gz" or "icml" with the votes beside, or "pictures"."""
    (_write_pictures if layout == "pictures" else _write_csv_pair)(root, layout)


def write_fer2013(root: Path, layout: str = "csv") -> None:
    """The eight faces in one file, without FER+'s votes."""
    _write_csv_pair(root, layout)
    (root / "fer2013new.csv").unlink()


def _write_csv_pair(root: Path, layout: str) -> None:
    root.mkdir(parents=True)
    pixels = (" ".join(map(str, face.ravel())) for face in PIXELS)
    faces = list(zip(EMOTION_CODES, USAGE, pixels, strict=True))
    if layout == "icml":
        name, lines = "icml_face_data.csv", ["emotion, Usage, pixels"] + [f"{e},{u},{p}" for e, u, p in faces]
    else:
        name, lines = "fer2013.csv", ["emotion,pixels,Usage"] + [f"{e},{p},{u}" for e, u, p in faces]
    text = "".join(f"{line}\n" for line in lines).encode()
    if layout == "gz":
        (root / f"{name}.gz").write_bytes(gzip.compress(text))
    else:
        (root / name).write_bytes(text)
    rows = [
        f"{usage},fer{i:07}.png,{','.join(map(str, votes))}"
        for i, (usage, votes) in enumerate(zip(USAGE, VOTES, strict=True))
    ]
    header = ",".join(("Usage", "Image name", *VOTE_COLUMNS))
    (root / "fer2013new.csv").write_text("\n".join((header, *rows, "")))


def _write_pictures(root: Path, layout: str) -> None:
    for folder, usage in zip(PICTURE_FOLDERS.values(), dict.fromkeys(USAGE), strict=True):
        (root / "data" / folder).mkdir(parents=True)
        lines = []
        for i in (i for i, other in enumerate(USAGE) if other == usage):
            Image.fromarray(PIXELS[i]).save(root / "data" / folder / f"fer{i:07}.png")
            lines.append(f'fer{i:07}.png,"(0, 0, 48, 48)",{",".join(map(str, VOTES[i]))}\n')
        (root / "data" / folder / "label.csv").write_text("".join(lines))


# --- CK+ -------------------------------------------------------------------------------------------------------------


SUBJECTS = (5, 10, 11, 14, 22, 26, 28, 29, 32, 34, 999)  # eleven: the last is dealt to fold 0 again
CODE_OF = {subject: 1 + i % 7 for i, subject in enumerate(SUBJECTS)}
FOLDERS = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sadness", 7: "surprise"}
FRAMES = range(1, 7)
SEQUENCE = "S005/001"
IMAGES, EMOTIONS = Path("cohn-kanade-images"), Path("Emotion")


def gray(subject: int, frame: int) -> int:
    return (20 * SUBJECTS.index(subject) + 3 * frame) % 256


def write_ckplus(root: Path, layout: str) -> None:
    """A sequence of each subject, "official" or "ck48"."""
    for subject in SUBJECTS:
        (_write_official if layout == "official" else _write_ck48)(root, subject)
    if layout == "official":  # a sequence without a label, with its folder and without
        shutil.copytree(root / IMAGES / SEQUENCE, root / IMAGES / "S005/002")
        shutil.copytree(root / IMAGES / SEQUENCE, root / IMAGES / "S005/003")
        (root / EMOTIONS / "S005/002").mkdir()


def _write_official(root: Path, subject: int) -> None:
    place = Path(f"S{subject:03}/001")
    (root / IMAGES / place).mkdir(parents=True)
    (root / EMOTIONS / place).mkdir(parents=True)
    for frame in FRAMES:
        level = gray(subject, frame)
        color = (level, level, level) if subject == 999 else level
        file = root / IMAGES / place / f"S{subject:03}_001_{frame:08}.png"
        Image.new("RGB" if subject == 999 else "L", (96, 72), color).save(file)
    code = f"   {CODE_OF[subject]}.0000000e+00\n"
    (root / EMOTIONS / place / f"S{subject:03}_001_{FRAMES[-1]:08}_emotion.txt").write_text(code)


def _write_ck48(root: Path, subject: int) -> None:
    folder = root / "CK+48" / FOLDERS[CODE_OF[subject]]
    folder.mkdir(parents=True, exist_ok=True)
    for frame in FRAMES[-3:]:
        Image.new("L", (48, 48), gray(subject, frame)).save(folder / f"S{subject:03}_001_{frame:08}.png")


# --- RAF-DB ----------------------------------------------------------------------------------------------------------


CODES = {"train": [code for code in range(1, 8) for _ in range(10)], "test": [3, 7, 1, 2, 6, 5, 4]}
LABEL_FILE = Path("basic/EmoLabel/list_patition_label.txt")
ALIGNED = Path("basic/Image/aligned")


def picture(number: int) -> Image.Image:
    """One colour each, all three channels of another brightness."""
    return Image.fromarray(np.full((100, 100, 3), (number, 100, 250 - number), np.uint8))


def write_rafdb(root: Path, layout: str) -> None:
    """70 train and 7 test faces, "official" or "kaggle"."""
    rows = []
    for part, codes in CODES.items():
        for number, code in enumerate(codes, 1):
            folder = root / (ALIGNED if layout == "official" else f"DATASET/{part}/{code}")
            folder.mkdir(parents=True, exist_ok=True)
            picture(number).save(folder / f"{part}_{number:05}_aligned.jpg", quality=95)
            rows.append(f"{part}_{number:05}.jpg {code}\n")
    if layout == "official":
        (root / LABEL_FILE).parent.mkdir()
        (root / LABEL_FILE).write_text("".join(rows))


# --- damage ----------------------------------------------------------------------------------------------------------


def replace(file: Path, old: str, new: str, count: int = 1) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))


def cut(file: Path, bytes_gone: int) -> None:
    file.write_bytes(file.read_bytes()[:-bytes_gone])


def state_of(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of everything in a folder: what may never change when it is loaded."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing.jpg")


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def bomb(file: Path, side: int = 9000) -> None:
    """A PNG of 80 bytes whose header claims `side` × `side` pixels."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = block(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + block(b"IDAT", zlib.compress(b"")) + block(b"IEND", b""))


def lead_out(path: Path, root: Path) -> None:
    """Move a file or folder out of the dataset in `root` and leave a link to it."""
    outside = root.parent / path.name
    path.rename(outside)
    path.symlink_to(outside)

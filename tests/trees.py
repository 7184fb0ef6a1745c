"""Small trees of each dataset in each of its layouts, and ways to change them."""

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

USAGE = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
EMOTION_CODES = [3, 6, 0, 1, 2, 4, 5, 0]  # FER2013's codes, and what they mean
EMOTIONS = ["happiness", "neutral", "anger", "disgust", "fear", "sadness", "surprise", "anger"]
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
VOTE_COLUMNS = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = [  # one face per row
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
    """The eight faces in one table: "csv", "gz" or Kaggle's "icml"; or in Kaggle's "folders"."""
    root.mkdir(parents=True, exist_ok=True)
    for usage, name in itertools.product(sorted(set(USAGE)), EMOTIONS[:7] if layout == "folders" else ()):
        folder = {"happiness": "happy", "anger": "angry", "sadness": "sad"}.get(name, name)
        row = next((i for i in range(8) if (USAGE[i], EMOTIONS[i]) == (usage, name)), None)
        path = (
            root
            / ("train" if usage == "Training" else "test")
            / folder
            / f"{usage}_{row if row is not None else 10 + len(name) + ord(name[1])}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # every folder holds one picture per usage; all but the eight faces are black
        (Image.new("L", (48, 48)) if row is None else Image.fromarray(PIXELS[row])).save(path)
    if layout == "folders":
        return
    row = "{0},{1},{2}\n" if layout == "icml" else "{0},{2},{1}\n"
    faces = [row.format(EMOTION_CODES[i], USAGE[i], " ".join(map(str, PIXELS[i].ravel()))) for i in range(8)]
    text = "".join([row.format("emotion", " Usage", " pixels"), *faces]).encode()
    name = {"csv": "fer2013.csv", "gz": "fer2013.csv.gz", "icml": "icml_face_data.csv"}[layout]
    (root / name).write_bytes(gzip.compress(text) if layout == "gz" else text)


def write_ferplus(root: Path, layout: str) -> None:
    """The same faces with ten votes each: a table as above plus one of the votes, or "pictures"."""
    votes = [",".join(map(str, row)) for row in VOTES]
    if layout != "pictures":
        write_fer2013(root, layout)
        rows = [f"{USAGE[i]},fer{i:07}.png,{votes[i]}\n" for i in range(8)]
        (root / "fer2013new.csv").write_text(f"Usage,Image name,{VOTE_COLUMNS}\n" + "".join(rows))
        return
    for name, rows in {"Train": range(4), "Valid": range(4, 6), "Test": range(6, 8)}.items():
        (folder := root / f"data/FER2013{name}").mkdir(parents=True)
        for i in rows:
            Image.fromarray(PIXELS[i]).save(folder / f"fer{i:07}.png")
        lines = [f'fer{i:07}.png,"(0, 0, 48, 48)",{votes[i]}\n' for i in rows]
        (folder / "label.csv").write_text("".join(lines))


SUBJECTS = (5, 10, 11, 14, 22, 26, 28, 29, 32, 34, 999)  # eleven, so the last one lands in fold 0 again
CODE_OF = {subject: 1 + i % 7 for i, subject in enumerate(SUBJECTS)}
EMOTION_OF = ["neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]  # CK+'s codes


def gray(subject: int, frame: int) -> int:
    return (20 * SUBJECTS.index(subject) + 3 * frame) % 256


def write_ckplus(root: Path, layout: str) -> None:
    """One sequence per subject with its peak in frame 6, "official" or "ck48"; "official" has one more without a label.

    "unzipped" is "official" in the archives' folders; "capitals" is "ck48" with capitalized folder names.
    """
    official = layout in ("official", "unzipped")
    for subject, code in CODE_OF.items():
        name, sequence = f"S{subject:03}_001", f"S{subject:03}/001"
        of_label = "CK+48/" + EMOTION_OF[code].replace("happiness", "happy")
        folder = root / (f"cohn-kanade-images/{sequence}" if official else of_label)
        folder.mkdir(parents=True, exist_ok=True)
        for frame in range(1, 8) if official else range(4, 7):
            picture = Image.new("L", (96, 72) if official else (48, 48), gray(subject, frame))
            picture.convert("RGB" if subject == 999 else "L").save(folder / f"{name}_{frame:08}.png")
        if official:
            (root / "Emotion" / sequence).mkdir(parents=True)
            (root / "Emotion" / sequence / f"{name}_00000006_emotion.txt").write_text(f"   {code}.0000000e+00\n")
    if official:
        (root / "Emotion/S005/002").mkdir()
    if layout == "unzipped":
        for name, archive in (("cohn-kanade-images", "extended-cohn-kanade-images"), ("Emotion", "Emotion_labels")):
            (root / archive).mkdir()
            (root / name).rename(root / archive / name)
    for folder in list((root / "CK+48").iterdir()) if layout == "capitals" else ():
        folder.rename(folder.with_name(folder.name.capitalize()))


CODES = {"train": [code for code in range(1, 8) for _ in range(10)], "test": [3, 7, 1, 2, 6, 5, 4]}
ALIGNED, UNPACKED = "basic/Image/aligned/{}_aligned.jpg", "DATASET/{1}/{2}/{0}_aligned.jpg"
PLACES = {"official": ALIGNED, "kaggle": UNPACKED, "flat": "{1}/{0}_aligned.jpg"}
LABEL_FILE = "basic/EmoLabel/list_patition_label.txt"


def picture(number: int) -> Image.Image:
    """A color for each number, above black; its three channels differ in brightness."""
    return Image.new("RGB", (100, 48), (number, 100, 250 - number)).crop((0, 0, 100, 100))


def write_rafdb(root: Path, layout: str) -> None:
    """70 train and 7 test faces, "official", "flat" or "kaggle"."""
    for split, codes in CODES.items():
        for number, code in enumerate(codes, 1):
            file = root / PLACES[layout].format(f"{split}_{number:05}", split, code)
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(file, quality=95)
    if layout != "kaggle":
        labels = root / (LABEL_FILE if layout == "official" else Path(LABEL_FILE).name)
        labels.parent.mkdir(exist_ok=True)
        rows = [f"{split}_{i:05}.jpg {code}\n" for split, codes in CODES.items() for i, code in enumerate(codes, 1)]
        labels.write_text("".join(rows))


WRITERS = {"fer2013": write_fer2013, "ferplus": write_ferplus, "ckplus": write_ckplus, "rafdb": write_rafdb}
Change = Callable[[Path], object]  # changes the dataset in a folder


def change(file: str, edit: Callable[[bytes], bytes]) -> Change:
    return lambda root: (root / file).write_bytes(edit((root / file).read_bytes()))


def cut(file: str, bytes_gone: int) -> Change:
    return change(file, lambda data: data[:-bytes_gone])


def replace(file: str, old: str, new: str, count: int = 1) -> Change:
    def edit(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), count)

    return change(file, edit)


def write(file: str, content: bytes | Image.Image) -> Change:
    is_image = isinstance(content, Image.Image)
    return lambda root: content.save(root / file) if is_image else (root / file).write_bytes(content)


def remove(file: str) -> Change:
    return lambda root: (root / file).unlink()


def copy(file: str, to: str) -> Change:
    return lambda root: (root / to).write_bytes((root / file).read_bytes())


def fail(error: BaseException) -> Callable:
    """A function that raises the error whatever its arguments."""
    return lambda *_, **__: (_ for _ in ()).throw(error)


def state_of(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and modification time of everything in a folder: loading must never change them."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}

"""From a photo to an answer: faces are found where they are, whatever the file; unreadable files are named."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.data import astronaut, chelsea, coffee

from fervt_lib import FervtError, fervt_compact, recognise
from fervt_lib.cli import main
from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.data.crop import find_faces
from fervt_lib.photo import Face, Photo, annotate

PLACES = ((80, 60, 120), (420, 90, 320), (150, 380, 260))  # left, top and side of three drawn faces


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return load("drawn", "test", count=8, size=320, color=True).images.permute(0, 2, 3, 1).numpy()


def pasted(drawn: np.ndarray, tilt: float) -> np.ndarray:
    """Three drawn faces, tilted by `tilt` degrees, in a picture of a cup of coffee."""
    scene = Image.fromarray(coffee()).resize((900, 700))
    oval = np.hypot(*(np.indices((320, 320)) - 160)) < 158
    mask = Image.fromarray(np.uint8(255 * oval)).filter(ImageFilter.GaussianBlur(4))
    for face, (left, top, side) in zip(drawn[[1, 3, 4]], PLACES, strict=True):
        turned = Image.fromarray(face).rotate(tilt, Image.Resampling.BICUBIC)
        scene.paste(turned.resize((side, side)), (left, top), mask.resize((side, side)))
    return np.asarray(scene)


@pytest.mark.parametrize("tilt", [0, 15, -25])
def test_all_faces_are_found_where_they_are_the_largest_first(drawn, tilt):
    frames = find_faces(pasted(drawn, tilt))
    middles = np.array([[frame.left + frame.side / 2, frame.top + frame.side / 2] for frame in frames])
    assert [frame.side for frame in frames] == sorted((frame.side for frame in frames), reverse=True)
    for left, top, side in PLACES:
        away = np.hypot(*(middles - [left + side / 2, top + side / 2]).T)
        assert away.min() < 0.15 * side and 0.7 * side < frames[away.argmin()].side < 1.1 * side
    assert len(frames) == len(PLACES)
    assert find_faces(chelsea()) == [], "a cat"


def test_small_faces_of_a_large_photo_are_found(drawn):
    photo = np.asarray(Image.fromarray(pasted(drawn, 0)).resize((330, 257)))  # 44, 95 and 117 pixels
    wide = np.pad(photo, ((300, 343), (500, 370), (0, 0)), mode="edge")  # (900, 1200, 3)
    assert len(find_faces(wide)) == 3
    large = np.asarray(Image.fromarray(drawn[1]).resize((300, 300)))
    wide[:300, :300] = large  # found first; the search for the small ones must keep it
    assert len(find_faces(wide)) == 4


def test_two_threads_may_look_for_faces_at_once():
    """A notebook answers the browser's messages in a separate thread."""
    pictures = [astronaut(), np.ascontiguousarray(astronaut()[:, 60:]), chelsea()] * 6
    with ThreadPoolExecutor(4) as pool:
        assert [len(found) for found in pool.map(find_faces, pictures)] == [1, 1, 0] * 6


def test_a_photo_gives_the_same_answer_in_every_form(tmp_path):
    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut()).save(path)
    tensor = torch.from_numpy(astronaut()).permute(2, 0, 1)
    forms = [str(path), path, path.read_bytes(), Image.open(path), astronaut(), tensor, tensor / 255]
    photos = recognise(forms, explain=True)
    half = recognise((tensor / 255).bfloat16())
    (face,), *_ = [photo.faces for photo in photos]
    assert face.answer == "happiness" and list(face.probabilities) == list(EXPRESSIONS)
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=0.001)
    assert face.box[0] < 224 < face.box[2] and face.box[1] < 120 < face.box[3]
    assert face.seen.shape == (3, 48, 48) and face.region_weights.shape == (16, 3) and len(face.attention) == 3
    assert all(photo.faces[0].probabilities == face.probabilities for photo in photos)
    assert half.faces[0].answer == "happiness"
    wide = recognise(astronaut(), margin=1.3).faces[0]
    assert wide.box[2] - wide.box[0] == pytest.approx(1.3 * (face.box[2] - face.box[0]), abs=2)
    marked = np.asarray(annotate(path, photos[0]))
    assert marked.shape == astronaut().shape and (marked == (230, 97, 0)).all(axis=2).sum() > 200


def test_no_answer_covers_another():
    p = dict.fromkeys(EXPRESSIONS, 0.0) | {"fear": 0.5, "surprise": 0.5}

    def white(*boxes) -> int:
        """How many pixels the labels leave white in a black photo with these faces."""
        photo = Photo("black", (600, 600), tuple(Face(box, p, torch.zeros(1, 48, 48)) for box in boxes))
        return int((np.asarray(annotate(np.zeros((600, 600, 3), np.uint8), photo)) == 255).all(axis=2).sum())

    # the lower faces reach the bottom, so their answers cannot stand below them, and above them is another answer
    assert white((0, 20, 200, 290), (0, 310, 200, 590)) == white((0, 20, 200, 290), (300, 310, 500, 590))


def odd_file(kind: str, path: Path) -> Path:
    """The astronaut's photo in an odd kind of file."""
    image = Image.fromarray(astronaut())
    if kind == "EXIF":
        exif = Image.Exif()
        exif[0x0112] = 6  # as from a phone held upright
        image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif, quality=95)
        return path.with_suffix(".jpg")
    if kind == "damaged EXIF":
        image.save(path.with_suffix(".png"), exif=b"garbage garbage")
        return path.with_suffix(".png")
    image.save(path.with_suffix(".gif"), save_all=True, append_images=[image.rotate(90)])
    return path.with_suffix(".gif")


@pytest.mark.parametrize("kind", ["EXIF", "damaged EXIF", "animated"])
def test_odd_files_are_read_as_a_viewer_shows_them(kind, tmp_path):
    photo = recognise(odd_file(kind, tmp_path / "photo"))
    assert photo.size == (512, 512) and photo.faces[0].answer == "happiness"
    assert abs(photo.faces[0].box[0] - 172) < 15 and abs(photo.faces[0].box[1] - 66) < 15
    assert photo.note == ("the first of 2 pictures in the file" if kind == "animated" else "")


def bad_files(folder: Path) -> dict[str, Path]:
    """Files that give no answer, keyed by the words that say why."""
    good = folder / "good.png"
    Image.fromarray(astronaut()).save(good)
    contents = {"text": b"no picture", "empty": b"", "cut": good.read_bytes()[:3000]}
    for name, content in contents.items():
        (folder / f"{name}.png").write_bytes(content)
    Image.new("L", (1, 1)).save(folder / "one.png")
    Image.new("1", (20_000, 10_000)).save(folder / "bomb.png")
    Image.new("1", (9000, 6000)).save(folder / "large.png")
    Image.fromarray(np.zeros((64, 64), np.int32)).save(folder / "wide.tiff")
    Image.fromarray(astronaut()).save(folder / "cut.avif")
    whole = (folder / "cut.avif").read_bytes()
    (folder / "cut.avif").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    os.mkfifo(folder / "pipe.png")
    return {
        "text.png: no picture that can be read": folder / "text.png",
        "empty.png: no picture that can be read": folder / "empty.png",
        "cut.png: the picture is damaged or cut off": folder / "cut.png",
        "one.png: 1×1 pixels are too few": folder / "one.png",
        "bomb.png: more than 50 megapixels": folder / "bomb.png",
        "large.png: 9000×6000 pixels are more than 50 megapixels": folder / "large.png",
        "wide.tiff: a picture of mode I": folder / "wide.tiff",
        "cut.avif: the picture is damaged or cut off": folder / "cut.avif",
        "pipe.png: this is no file": folder / "pipe.png",
        "gone.png: there is no such file": folder / "gone.png",
        f"{folder}: this is a folder": folder,
    }


def test_bad_files_are_named_and_the_others_still_get_their_answers(tmp_path, capsys):
    bad = bad_files(tmp_path)
    for words, path in bad.items():
        with pytest.raises(FervtError, match=words.replace("(", r"\(")):
            recognise(path)
    with pytest.raises(SystemExit) as end:
        main(["photo", *map(str, bad.values()), str(tmp_path / "good.png"), "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert end.value.code == 1 and [bool(row["fault"]) for row in rows] == [True] * len(bad) + [False]
    assert all(words in row["fault"] for words, row in zip(bad, rows, strict=False))
    assert rows[-1]["faces"][0]["answer"] == "happiness"


def test_without_a_face_it_says_so_and_reads_the_middle_only_when_asked(tmp_path, capsys):
    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    with pytest.raises(SystemExit) as end:
        main(["photo", str(tmp_path / "cat.png")])
    assert end.value.code == 0 and "cat.png: no face was found" in capsys.readouterr().out
    photo = recognise(tmp_path / "cat.png", whole=True)
    assert len(photo.faces) == 1 and "the middle of the picture" in photo.note
    assert photo.faces[0].box == (76, 0, 376, 300)


def test_options_are_refused_before_work_begins(tmp_path):
    there = tmp_path / "there.png"
    there.write_bytes(b"kept")
    for wrong in (["out.png", "a.png", "b.png"], ["out.txt", "a.png"], [str(there), "a.png"]):
        with pytest.raises(SystemExit, match="--annotate"):
            main(["photo", "--annotate", *wrong])
    with pytest.raises(SystemExit, match="there is no folder .*gone that you may write to"):
        main(["photo", "--annotate", str(tmp_path / "gone" / "out.png"), "a.png"])
    with pytest.raises(FervtError, match=r"array of shape \(3, 64, 64\) and type uint8: give \(height, width\) or"):
        recognise(np.zeros((3, 64, 64), np.uint8))
    with pytest.raises(FervtError, match="margin 3: choose a number from 0.5 to 2"):
        recognise(tmp_path / "gone.png", margin=3)
    with pytest.raises(FervtError, match="prior 'flat': choose from training, uniform"):
        recognise([astronaut()], prior="flat")
    assert there.read_bytes() == b"kept"
    for model in ("ferplus", fervt_compact(classes=7)):
        with pytest.raises(FervtError, match="model: give one of eight expressions"):
            recognise([astronaut()], model=model)
    with pytest.raises(FervtError, match="does not say how frequent"):
        recognise([astronaut()], prior="uniform", model=fervt_compact().eval())


@pytest.mark.parametrize(
    "p, words",
    [
        ((0.97, 0.01, 0.02, 0, 0, 0, 0, 0), "neutral"),
        ((0.45, 0, 0, 0.5, 0.05, 0, 0, 0), "unsure: sadness or neutral"),
        ((0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.05, 0.05), "cannot tell; first comes neutral, then sadness"),
    ],
)
def test_an_answer_says_how_sure_it_is(p, words):
    assert Face((0, 0, 1, 1), dict(zip(EXPRESSIONS, p, strict=True)), torch.zeros(1, 48, 48)).answer == words

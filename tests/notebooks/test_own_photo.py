"""Notebook 07 with the reader's own photo: it is read, nothing leaves the machine, and nothing is kept."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea

from fervt_course.own_photo import OwnPhoto

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "07_your_own_face.ipynb"
# Runs the notebook's cells with the reader's own photo, and watches them once the imports are done.
WATCHED = """
import sys, nbformat
from fervt_lib.widgets import LivePicture
cells = [cell.source for cell in nbformat.read(sys.argv[1], 4).cells if cell.cell_type == "code"]
names, made, init, photo = {}, [], LivePicture.__init__, open(sys.argv[2], "rb").read()

def noting(self, *args, **kwargs):
    init(self, *args, **kwargs)
    made.append(self)

def hook(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event.startswith("socket.") or writes:
        print("SEEN", event, arguments)

LivePicture.__init__ = noting
for source in cells:
    exec(compile(source.replace("count=160", "count=32"), "cell", "exec"), names)
    if source.endswith("use_style()"):
        sys.addaudithook(hook)
    if "OwnPhoto(" in source:
        names["source"]._receive(None, {"give": "photo"}, [memoryview(photo)])
names["source"]._receive(None, {"give": "start"}, [])  # what is shown below is still the photo of before
for source in cells:
    if "LivePicture(" in source and "import" not in source:
        exec(compile(source, "cell", "exec"), names)
print(names["mine"], names["pixels"].shape, [face.answer for face in names["photo"].faces])
print(len(made), "pictures,", sum("image/png" in live._repr_mimebundle_()[0] for live in made), "of them kept")
"""


def as_file(picture: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def start() -> np.ndarray:
    return astronaut()


def test_a_photo_takes_the_place_of_the_first_and_is_not_stored(start):
    source = OwnPhoto(start, name="the astronaut")
    first = source.picture
    assert source.words == "1 face: happiness." and not source.mine
    assert "the astronaut" in source._repr_mimebundle_()[1]["image/png"]["alt"]
    two = np.concatenate([start, np.roll(start, 40, axis=1)], axis=1)
    source._receive(source, {"give": "photo"}, [memoryview(as_file(np.tile(two, (2, 2, 1))))])
    assert source.mine and source.taken.pixels.shape == (1024, 2048, 3)
    assert (
        source.words.startswith("8 faces: " + "; ".join(["happiness"] * 8) + ". Now click") and source.picture != first
    )
    assert not {"image/png", "image/jpeg", "text/html"} & source._repr_mimebundle_()[0].keys()
    source._receive(source, {"give": "start"}, [])
    assert not source.mine and source.picture == first and np.array_equal(source.taken.pixels, start)


def test_a_bad_photo_says_so_and_the_picture_stays(start):
    source = OwnPhoto(start, name="the astronaut")
    source._receive(source, {"give": "photo"}, [memoryview(b"no picture")])
    assert "cannot be used: no picture that can be read" in source.words
    assert not source.mine and np.array_equal(source.taken.pixels, start)
    source._receive(source, {"give": "photo"}, [memoryview(as_file(chelsea(), "webp"))])
    assert (
        source.mine
        and source.words.startswith("No face was found. Now click")
        and source.taken.pixels.shape == (300, 451, 3)
    )


def test_the_notebook_reads_a_photo_without_a_face_opens_no_socket_writes_no_file_and_keeps_no_picture(tmp_path):
    (tmp_path / "photo.png").write_bytes(as_file(chelsea()))
    command = [sys.executable, "-B", "-c", WATCHED, str(NOTEBOOK), str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    *_, what, kept = done.stdout.splitlines() or ["", ""]
    assert "SEEN" not in done.stdout, done.stdout
    assert what.startswith("True (300, 451, 3) ["), done.stderr[-2000:]
    assert kept == "8 pictures, 0 of them kept"

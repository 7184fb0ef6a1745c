"""Use your own photo in a notebook, from a file or the camera. It stays in the memory of the kernel's machine."""

from pathlib import Path
from typing import NamedTuple

import anywidget
import numpy as np
import traitlets
from PIL import Image

from fervt_lib.disk import FervtError
from fervt_lib.photo import LEAST, Photo, annotate, read_picture, recognise
from fervt_lib.widgets import to_jpeg, to_png

LONGEST, SHOWN = 2400, 1200  # longer side in pixels of the picture we keep, and of the one we show
NEXT = "Now click the cell below this picture, and choose Run → Run Selected Cell and All Below."


class Taken(NamedTuple):
    """A picture, and whether it is a reader's own; if so, we store nothing of it with the notebook."""

    pixels: np.ndarray
    mine: bool


class OwnPhoto(anywidget.AnyWidget):
    """A widget that shows a starting picture and lets the reader replace it.

    The widget may handle browser messages while a cell runs, so read both parts of `taken` at once and use those.

    Attributes:
        taken: the current picture, `(h, w)` or `(h, w, 3)` uint8, upright, and whether it came from the reader.

    Args:
        start: the picture to start with, `(h, w, 3)` uint8.
        name: its name in the alt text, such as "the astronaut".
    """

    _esm = Path(__file__).with_name("own_photo.js")
    picture = traitlets.Bytes().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    mine = traitlets.Bool(False).tag(sync=True)

    def __init__(self, start: np.ndarray, name: str):
        super().__init__(name=name)
        self.start = start
        self._take(start)
        self.on_msg(self._receive)

    def _receive(self, _widget, content: dict, buffers: list) -> None:
        """Take a photo from the browser, or go back to the first picture; no trait ever holds the file."""
        try:
            self._take(bytes(buffers[0]) if content["give"] == "photo" else self.start)
        except FervtError as error:
            self.words = f"This photo cannot be used: {error}. The previous picture is still in place."
        except Exception as error:  # out of memory, for example: tell the reader
            self.words = f"This photo cannot be used ({type(error).__name__}). The previous picture is still in place."
        finally:
            self.send({"done": True})  # even if the words are the same as last time

    def _take(self, given: bytes | np.ndarray) -> None:
        mine = given is not self.start
        pixels, note = read_picture(given)
        pixels = _smaller(pixels)
        photo = recognise(pixels)
        drawn = _shown(pixels, photo)
        if not mine:
            self.still = to_png(drawn)
        with self.hold_sync():
            self.taken, self.mine, self.picture = Taken(pixels, mine), mine, to_jpeg(drawn)
            self.words = " ".join(filter(None, [_said(photo), note and f"This is {note}.", NEXT * mine]))

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The widget, plus a still of the first picture for notebooks that were not run; never of a reader's photo."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        if self.taken.mine:
            return data | {"text/plain": "Your own photo."}, metadata
        alt = f"The picture of {self.name} with a frame around each face and the model's answer beside it."
        return data | {"text/plain": alt, "image/png": self.still}, metadata | {"image/png": {"alt": alt}}


def _smaller(pixels: np.ndarray) -> np.ndarray:
    """Shrink the longer side to at most LONGEST pixels, unless the other gets too short for a face."""
    height, width = pixels.shape[:2]
    scale = max(LONGEST / max(height, width), LEAST / min(height, width))
    size = round(scale * width), round(scale * height)
    return pixels if scale >= 1 else np.asarray(Image.fromarray(pixels).resize(size, reducing_gap=2.0))


def _shown(pixels: np.ndarray, photo: Photo) -> np.ndarray:
    """The picture with its answers, `(h, w, 3)` uint8, small enough for a page."""
    image = annotate(pixels, photo)
    image.thumbnail((SHOWN, SHOWN))
    return np.asarray(image)


def _said(photo: Photo) -> str:
    answers = "; ".join(face.answer for face in photo.faces)
    count = len(photo.faces)
    return f"{count} face{'s' * (count > 1)}: {answers}." if count else "No face was found."

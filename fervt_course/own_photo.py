"""A reader's own photo in a notebook: a file, or the camera. It stays in the memory of this machine."""

from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image

from fervt_lib.disk import FervtError
from fervt_lib.photo import Photo, annotate, read_picture, recognise
from fervt_lib.widgets import to_jpeg, to_png

LONGEST = 1200  # pixels along the longer side of what is kept
NEXT = "Now run the cells below again: Run → Run Selected Cell and All Below."


class OwnPhoto(anywidget.AnyWidget):
    """A picture to start with, and the means to put another in its place.

    Attributes:
        pixels: the picture now, `(h, w)` or `(h, w, 3)` uint8, upright, at most 1200 pixels along its longer side.
        mine: whether a reader gave it. Then nothing of it is stored with the notebook.
        seen: its faces and their expressions.

    Args:
        start: the picture that is there, `(h, w, 3)` uint8.
        name: what it is called: "the astronaut".
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
        """A photo from the browser, or the wish for the first picture; no trait ever holds the file."""
        with self.hold_sync():
            try:
                self._take(bytes(buffers[0]) if content["give"] == "photo" else self.start)
                self.mine = content["give"] == "photo"
                self.words += f" {NEXT}"
            except FervtError as error:
                self.words = f"This photo cannot be used: {error}. The picture before is still in place."
        self.send({"done": True})  # also where the words are those of the last attempt

    def _take(self, given: bytes | np.ndarray) -> None:
        image = Image.fromarray(read_picture(given)[0])
        image.thumbnail((LONGEST, LONGEST))
        pixels = np.asarray(image)
        self.seen = recognise(pixels)
        self.pixels = pixels
        self.picture, self.words = to_jpeg(np.asarray(annotate(pixels, self.seen))), _said(self.seen)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The widget, and for notebooks that were not run a still of the first picture; never of a reader's own."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        if self.mine:
            return data | {"text/plain": "A photo of your own."}, metadata
        still = to_png(np.asarray(annotate(self.pixels, self.seen)))
        alt = f"The picture of {self.name} with a frame around each face and the model's answer below it."
        return data | {"text/plain": alt, "image/png": still}, metadata | {"image/png": {"alt": alt}}


def _said(photo: Photo) -> str:
    answers = "; ".join(face.answer for face in photo.faces)
    count = len(photo.faces)
    return f"{count} face{'s' * (count > 1)}: {answers}." if count else "No face was found."

"""Find faces in whole pictures with the detector that ships with dlib, and frame them as FER+ does.

Nothing is downloaded. The detector (histograms of oriented gradients, King 2015) finds faces seen from the front and
tilted by up to 30 degrees.
"""

from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..disk import FervtError

SEARCHED = 2_600_000  # pixels: one core searches this many in a fifth of a second
SMALL, CLOSER = 0.09, 2.5  # a face below SMALL of the longer side: we search again, at CLOSER times the pixels
ENLARGED = 2.0  # at most: the detector finds faces of 80 pixels and up
LEAST_SCORE = 0.2  # lowest score we accept: in 68 pictures without faces, the detector saw two, scored 0.13
ONE_AT_A_TIME = Lock()  # all threads share one detector, which is not made for that
FRAME, LOWER = 0.90, 0.055
"""How wide the detector's boxes are in FER+'s pictures, and how far below the middle they lie, both as a share of the
picture's side: means over 1,969 training faces."""


class Frame(NamedTuple):
    """A square around a face, in pixels of its picture; it may extend beyond the picture."""

    left: float
    top: float
    side: float

    def scaled(self, margin: float) -> "Frame":
        """A frame with the same center, `margin` times as wide."""
        shift = (1 - margin) * self.side / 2
        return Frame(self.left + shift, self.top + shift, margin * self.side)

    def meets(self, other: "Frame") -> bool:
        """Whether the center of one frame lies well inside the other."""
        across, down = (a + self.side / 2 - b - other.side / 2 for a, b in zip(self[:2], other[:2], strict=True))
        return max(abs(across), abs(down)) < 0.4 * max(self.side, other.side)


def find_faces(picture: np.ndarray) -> list[Frame]:
    """Find all faces in a picture, largest first.

    Args:
        picture: `(height, width)` or `(height, width, 3)` uint8.
    """
    frames = _search(picture, SEARCHED)
    small = min((frame.side for frame in frames), default=0) < SMALL * max(picture.shape[:2])
    if small and picture.shape[0] * picture.shape[1] * ENLARGED**2 > SEARCHED:  # a closer look can show more
        closer = _search(picture, CLOSER * SEARCHED)
        frames += [frame for frame in closer if not any(frame.meets(other) for other in frames)]
    return sorted(frames, key=lambda frame: -frame.side)


def _search(picture: np.ndarray, pixels: float) -> list[Frame]:
    """Find all faces in a picture, resized to about `pixels` pixels (at most `ENLARGED` times its height and width)."""
    height, width = picture.shape[:2]
    scale = min(ENLARGED, (pixels / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    searched = np.asarray(Image.fromarray(picture).resize(size, reducing_gap=2.0))
    with ONE_AT_A_TIME:
        boxes = detector().run(searched, 0, LEAST_SCORE)[0]
    frames = []
    for box in boxes:
        side = box.width() / scale / FRAME
        x, y = box.center().x / scale, box.center().y / scale - LOWER * side
        frames.append(Frame(x - side / 2, y - side / 2, side))
    return frames


def cut(picture: np.ndarray, frame: Frame, side: int) -> np.ndarray:
    """Crop a frame to `(side, side)` or `(side, side, 3)` uint8; beyond the picture, we repeat its border pixels."""
    left, top, right, bottom = (round(at) for at in (*frame[:2], frame.left + frame.side, frame.top + frame.side))
    rows, columns = (
        np.arange(start, end).clip(0, length - 1)
        for start, end, length in zip((top, left), (bottom, right), picture.shape, strict=False)
    )
    return np.asarray(Image.fromarray(picture[np.ix_(rows, columns)]).resize((side, side), reducing_gap=2.0))


def centre(picture: np.ndarray) -> Frame:
    """The largest square in the middle of a picture."""
    height, width = picture.shape[:2]
    side = min(height, width)
    return Frame((width - side) / 2, (height - side) / 2, side)


@lru_cache(maxsize=1)
def detector():
    """dlib's face detector.

    Raises:
        FervtError: dlib is not installed.
    """
    try:
        import dlib  # not at the top: most datasets hold cropped faces and never need it
    except ImportError as error:
        raise FervtError("to find faces in whole pictures, install dlib: pip install dlib-bin") from error
    return dlib.get_frontal_face_detector()

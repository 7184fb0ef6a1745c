"""The face in a whole picture, found with the cascade that comes with scikit-image: nothing is downloaded."""

from functools import lru_cache

import numpy as np
from PIL import Image

LEAST_FACE = 60  # pixels; below that the cascade finds faces where there are none
LEAST_SHARE = 0.2  # of the picture's shorter side: who poses for a picture fills a good part of it


def crop_face(picture: np.ndarray, side: int) -> tuple[np.ndarray, bool]:
    """Crop a picture to its largest face.

    Args:
        picture: `(height, width)` uint8, gray, both at least 60.

    Returns:
        `(side, side)` uint8 and True; where no face is found, the centre square and False.
    """
    height, width = picture.shape
    shorter = min(height, width)
    least = max(LEAST_FACE, round(LEAST_SHARE * shorter))
    boxes = _cascade().detect_multi_scale(picture, 1.2, 1, min_size=(least, least), max_size=(shorter, shorter))
    left, top, size = (width - shorter) // 2, (height - shorter) // 2, shorter
    if boxes:
        face = max(boxes, key=lambda box: (box["width"], box["r"], box["c"]))
        left, top, size = face["c"], face["r"], face["width"]
    small = Image.fromarray(picture).resize((side, side), box=(left, top, left + size, top + size))
    return np.asarray(small), bool(boxes)


@lru_cache(maxsize=1)
def _cascade():
    import skimage.data  # here, since it takes 0.6 s and most datasets hold faces that are cropped already
    from skimage.feature import Cascade

    return Cascade(skimage.data.lbp_frontal_face_cascade_filename())

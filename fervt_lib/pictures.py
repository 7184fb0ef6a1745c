"""Turn pictures of any mode into what a viewer shows, and check what you give to a model as a face."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_image

from .disk import FervtError

ARRAYS = ("uint8", "uint16", "int64", "float16", "float32", "float64")  # types that torch knows
ROUNDING = 1e-4  # shrinking a picture can push its values out of range by this much
NO_BLACK_AND_WHITE = ("I", "F")  # modes whose values have no fixed range
ORIENTATION = 0x0112  # the EXIF tag; TURNS undoes its values from 2 to 8
TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")


def as_viewed(picture: Image.Image) -> Image.Image:
    """Turn a PIL picture upright (EXIF), put transparent areas on white, and convert it to mode "L" or "RGB".

    Raises:
        FervtError: the mode is "I" or "F", whose values do not tell us what is black and what is white.
    """
    if picture.mode in NO_BLACK_AND_WHITE:
        raise FervtError(f"a picture of mode {picture.mode}: scale it to 8 bits per pixel first, black 0 and white 255")
    picture = _upright(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))  # 65535 becomes 255
    if picture.mode == "La":  # Pillow can convert this mode to no other
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture if picture.mode in ("L", "RGB") else picture.convert("L" if picture.mode == "1" else "RGB")


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; if the EXIF cannot be read, leave the picture as it is."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds of errors on damaged EXIF; the pixels are fine
        return picture
    return picture.transpose(Image.Transpose[TURNS[orientation - 2]]) if orientation in range(2, 9) else picture


def as_face(picture: Image.Image | np.ndarray | Tensor) -> Tensor:
    """Turn a face, or a batch of faces, into a tensor `(…, 1 or 3, h, w)`, uint8 or float in [0, 1].

    Args:
        picture: a PIL picture; an array `(h, w)` or `(h, w, 1 or 3)`; or a tensor `(…, 1 or 3, h, w)`. Arrays and
            tensors are uint8 (0 to 255) or float (0 to 1).

    Raises:
        FervtError: `picture` has another shape, type or range.
    """
    if isinstance(picture, Image.Image):
        return pil_to_tensor(as_viewed(picture))
    face = picture
    if isinstance(picture, np.ndarray) and picture.ndim in (2, 3) and picture.dtype.name in ARRAYS:
        face = to_image(picture.astype(picture.dtype.newbyteorder("=")))  # a copy in the byte order that torch needs
    if not isinstance(face, Tensor) or face.ndim < 3 or face.shape[-3] not in (1, 3) or 0 in face.shape[-2:]:
        shape = f"of shape {tuple(picture.shape)}" if hasattr(picture, "shape") else f"as {type(picture).__name__}"
        if isinstance(picture, np.ndarray):
            raise FervtError(
                f"an array {shape} and type {picture.dtype}: give (height, width) or (height, width, 1 or 3)"
            )
        raise FervtError(f"faces {shape}: give (…, channels, height, width) with 1 or 3 channels, or a PIL picture")
    if face.dtype != torch.uint8 and not face.is_floating_point():
        raise FervtError(f"faces of type {face.dtype}: give uint8 (0 to 255) or float (0 to 1)")
    if face.dtype == torch.uint8:
        return face.as_subclass(Tensor)
    if not ((face >= -ROUNDING) & (face <= 1 + ROUNDING)).all():
        raise FervtError(f"float faces from {float(face.min()):g} to {float(face.max()):g}: give numbers from 0 to 1")
    return face.as_subclass(Tensor).clamp(0, 1)

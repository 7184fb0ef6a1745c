"""Your own photo: we find its faces, crop them as in FER+, and read their expressions. All of this runs locally."""

import io
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image
from tqdm.auto import tqdm

from .data import EXPRESSIONS
from .data.crop import Frame, centre, cut, detector, find_faces
from .disk import FervtError, check_number
from .evaluation import check_prior, predict
from .model import FERVT, face_transforms, fervt_compact
from .pictures import as_face, as_viewed

MEGAPIXELS = 50  # at most
LEAST = 20  # pixels along each side, at least
DRAWINGS = ("EPS", "PDF", "WMF")  # formats that need another program to render them
UNREADABLE = "no picture that can be read: empty, cut off near its start, or of another type (save HEIC or SVG as JPEG)"
SURE, TORN = 1.7, 3.5  # effective number of answers, exp(entropy): up to SURE, we give one answer; beyond TORN, none

Picture = str | Path | bytes | Image.Image | np.ndarray | Tensor
Box = tuple[int, int, int, int]  # left, top, right and bottom, in pixels


@dataclass(frozen=True)
class Face:
    """A face in a photo, and what the model says about it.

    Attributes:
        box: left, top, right and bottom in pixels of the upright photo; it may extend beyond the photo.
        probabilities: one for each expression.
        seen: the crop as the model saw it, `(1 or 3, side, side)` uint8.
        region_weights: `(regions, 3)`; only with `explain=True`.
        attention: one `(heads, tokens, tokens)` per layer; only with `explain=True`.
    """

    box: Box
    probabilities: dict[str, float]
    seen: Tensor
    region_weights: Tensor | None = None
    attention: tuple[Tensor, ...] = ()

    @property
    def answer(self) -> str:
        """The answer in words, including how sure the model is: "happiness", or "unsure: sadness or neutral"."""
        p = np.array(list(self.probabilities.values()))
        answers = float(np.exp(-(p * np.log(p.clip(1e-9))).sum()))
        names = sorted(self.probabilities, key=lambda name: -self.probabilities[name])
        if answers <= SURE:
            return names[0]
        if answers <= TORN:
            return f"unsure: {' or '.join(names[: max(2, round(answers))])}"
        return f"cannot tell; first comes {names[0]}, then {names[1]}"


@dataclass(frozen=True)
class Photo:
    """A photo and its faces, largest first.

    Attributes:
        name: the path of the file, or a description of what you passed.
        size: width and height of the upright photo; (0, 0) if it could not be read.
        faces: the faces found, the largest first.
        note: what you need to know: that no face was found, or that the file has more pictures than the first.
        fault: why the picture could not be read, if you passed several; for a single picture, it is raised.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    faces: tuple[Face, ...] = ()
    note: str = ""
    fault: str = ""


def recognise(
    picture: Picture | Sequence[Picture],
    *,
    model: FERVT | None = None,
    prior: Literal["training", "uniform"] = "training",
    whole: bool = False,
    margin: float = 1.0,
    explain: bool = False,
) -> Photo | list[Photo]:
    """Find the faces in one or several photos, and read their expressions.

    Args:
        picture: a path, the bytes of a file, a PIL picture, an array `(h, w)` or `(h, w, 1 or 3)`, a tensor
            `(1 or 3, h, w)`; or a list of them. Up to 50 megapixels.
        model: None means the weights that ship with the library, trained on FER+.
        prior: see `predict`; use "uniform" for posed faces.
        whole: if no face is found, treat the largest square in the middle as one.
        margin: 1 frames a face as FER+ does; 1.2 takes in a fifth more.
        explain: also keep the region weights and attention of each face.

    Returns:
        A photo, or a list of photos in the order of the pictures. In a list, `fault` marks a picture we could not read.

    Raises:
        FervtError: the picture cannot be read (you get its name and the fix), or an option is out of range.
    """
    check_number("margin", margin, 0.5, 2.0)
    model = _shipped() if model is None else model
    if not isinstance(model, FERVT) or model.transformer.head.out_features != len(EXPRESSIONS):
        raise FervtError("model: give one of eight expressions, such as fervt_compact(weights='ferplus')")
    check_prior(model, prior)
    detector()  # fails at once if dlib is missing, before we read any photo
    how = {"model": model, "prior": prior, "whole": whole, "margin": margin, "explain": explain}
    if not isinstance(picture, list | tuple):
        return _read(picture, **how)
    photos = []
    for number, one in enumerate(tqdm(picture, desc="photos", disable=len(picture) < 2), 1):
        try:
            photos.append(_read(one, number, **how))
        except FervtError as error:
            photos.append(Photo(_name(one, number), fault=str(error)))
    return photos


@lru_cache(maxsize=1)
def _shipped() -> FERVT:
    return fervt_compact(weights="ferplus")


def _name(picture: Picture, number: int) -> str:
    return str(picture) if isinstance(picture, str | Path) else f"picture {number} ({type(picture).__name__})"


def _read(
    picture: Picture, number: int = 1, *, model: FERVT, prior: str, whole: bool, margin: float, explain: bool
) -> Photo:
    name = _name(picture, number)
    try:
        pixels, note = read_picture(picture)
        frames = find_faces(pixels)
    except FervtError as error:
        raise FervtError(f"{name}: {error}") from error
    notes = [note] if note else []
    if not frames:
        frames = [centre(pixels)] if whole else []
        notes += ["no face was found: this is the middle of the picture" if whole else "no face was found"]
    frames = [frame.scaled(margin) for frame in frames]
    faces = _faces(pixels, frames, model, prior, explain) if frames else ()
    return Photo(name, (pixels.shape[1], pixels.shape[0]), faces, "; ".join(notes))


def _faces(pixels: np.ndarray, frames: list[Frame], model: FERVT, prior: str, explain: bool) -> tuple[Face, ...]:
    crops = torch.stack([as_face(cut(pixels, frame, model.side)) for frame in frames])  # (n, 1 or 3, side, side)
    answers = predict(model, crops, prior=prior)
    trace = None
    if explain:
        with torch.no_grad():
            trace = model.trace(face_transforms(model.side)(crops).to(next(model.parameters())))
    faces = []
    for i, (left, top, side) in enumerate(frames):
        box = tuple(round(at) for at in (left, top, left + side, top + side))
        probabilities = dict(zip(EXPRESSIONS, (round(float(p), 4) for p in answers[i]), strict=True))
        weights = trace.region_weights[i].cpu() if trace else None
        attention = tuple(layer[i].cpu() for layer in trace.attention) if trace else ()
        faces.append(Face(box, probabilities, crops[i], weights, attention))
    return tuple(faces)


def read_picture(picture: Picture) -> tuple[np.ndarray, str]:
    """A picture as a viewer shows it, `(h, w)` or `(h, w, 3)` uint8, and a note about it, which may be empty.

    Raises:
        FervtError: the picture cannot be read, or is too large or too small; the message does not name the file.
    """
    if not isinstance(picture, Picture):
        raise FervtError("give a path, the bytes of a file, a PIL picture, an array or a tensor, or a list of them")
    note = ""
    try:
        if isinstance(picture, str | Path | bytes):
            picture, note = _opened(picture)
        if isinstance(picture, Image.Image):
            _check_size(*picture.size)
            return np.asarray(as_viewed(picture)), note
        face = as_face(picture)
        if face.ndim != 3:
            raise FervtError(f"shape {tuple(face.shape)}: give one picture, or a list of pictures")
        _check_size(face.shape[2], face.shape[1])
        return np.asarray(to_pil_image(face.float() if face.is_floating_point() else face)), note
    except FervtError:
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind of error on damaged files
        raise FervtError(f"the picture is damaged or cut off ({type(error).__name__}: {error})") from error


def _opened(source: str | Path | bytes) -> tuple[Image.Image, str]:
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(mode := Path(source).stat().st_mode):
            raise FervtError(f"this is {'a folder; give the pictures in it' if stat.S_ISDIR(mode) else 'no file'}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_size is stricter
            picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        if picture.format in DRAWINGS:
            raise FervtError(f"{picture.format} is a drawing, not pixels; save it as PNG or JPEG first")
        _check_size(*picture.size)
        picture.load()
    except FileNotFoundError as error:
        raise FervtError("there is no such file") from error
    except PermissionError as error:
        raise FervtError("you may not read this file; change its permissions") from error
    except UnidentifiedImageError as error:
        raise FervtError(UNREADABLE) from error
    except Image.DecompressionBombError as error:
        raise FervtError(f"more than {MEGAPIXELS} megapixels; make it smaller first") from error
    frames = getattr(picture, "n_frames", 1)
    return picture, f"the first of {frames} pictures in the file" if frames > 1 else ""


def _check_size(width: int, height: int) -> None:
    if width * height > MEGAPIXELS * 1_000_000:
        raise FervtError(f"{width}×{height} pixels are more than {MEGAPIXELS} megapixels; make it smaller first")
    if min(width, height) < LEAST:
        raise FervtError(f"{width}×{height} pixels are too few for a face; use at least {LEAST} along each side")


def annotate(picture: Picture, photo: Photo) -> Image.Image:
    """Draw a frame around each face, with its answer below or above it; number the answers if there are several."""
    pixels, _ = read_picture(picture)
    image = Image.fromarray(pixels).convert("RGB")
    pen, size = ImageDraw.Draw(image), max(12, round(min(image.size) / 30))
    font = ImageFont.load_default(size=size)
    for face in photo.faces:
        pen.rectangle(face.box, outline=(230, 97, 0), width=max(2, size // 6))
    labels = []  # left, top, right and bottom of those drawn so far
    for number, face in enumerate(photo.faces, 1):
        words = f"{number} {face.answer}" if len(photo.faces) > 1 else face.answer
        words = _lines(words, font, face.box[2] - face.box[0])
        labels.append(_label_box(face.box, pen.multiline_textbbox((0, 0), words, font=font)[2:], image.size, labels))
        pen.rectangle(labels[-1], fill="white")
        pen.multiline_text(labels[-1][:2], words, fill="black", font=font)
    return image


def _label_box(box: Box, extent: tuple[float, float], within: tuple[int, int], taken: list[Box]) -> Box:
    """Put a label of this extent below its face, else above it, else inside; on another label only if we must."""
    width, height = (ceil(part) + 2 for part in extent)
    x, lowest = max(0, min(box[0], within[0] - width)), within[1] - height
    tops = [y for y in (box[3] + 2, box[1] - height, box[3] - height, box[1]) if 0 <= y <= lowest] or [max(0, lowest)]
    places = [(x, y, x + width, y + height) for y in tops]
    free = [a for a in places if all(a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3] for b in taken)]
    return (free or places)[0]


def _lines(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Break text into lines of at most `width` pixels; only a single long word may be wider."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)

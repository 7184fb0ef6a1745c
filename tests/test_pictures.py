"""A face may come in any form that defines black and white; every other form is refused by name."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fervt_lib import FERVT_Compact_Weights, FervtError, fervt_compact
from fervt_lib.data import Augment, load
from fervt_lib.evaluation import predict
from fervt_lib.model import face_transforms, fervt_paper

SHADES = np.full((6, 4, 3), (200, 60, 60), np.uint8)  # 6 high, 4 wide: red, with a white top-left corner
SHADES[:3, :2] = 255
RED = Image.fromarray(SHADES)
GRAY = Image.fromarray(SHADES[..., 1])
to_face = face_transforms(6)


def transparent(mode: str) -> Image.Image:
    """Red or gray at half opacity; on white it is pink or a lighter gray."""
    picture = (GRAY if mode in ("LA", "La") else RED).convert("LA" if mode in ("LA", "La") else "RGBA")
    picture.putalpha(128)
    return picture.convert(mode)


def palette(of: Image.Image, transparency: int | None = None) -> Image.Image:
    picture = of.convert("P", palette=Image.Palette.ADAPTIVE)
    if transparency is not None:
        picture.info["transparency"] = bytes([transparency] * 256)
    return picture


def sixteen_bits(order: str) -> Image.Image:
    numbers = SHADES[..., 1].astype(">u2" if order == "B" else "<u2") * 257
    return Image.frombytes(f"I;16{order}", (4, 6), numbers.tobytes())


PINK = np.uint8(np.round(SHADES * (128 / 255) + 127))
SHOWN = {  # each picture, and how a viewer shows it
    **{mode: (RED.convert(mode), SHADES) for mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")},
    "L": (GRAY, SHADES[..., [1, 1, 1]]),
    "1": (GRAY.point(lambda value: 255 * (value > 100)).convert("1"), np.uint8(255 * (SHADES[..., [1, 1, 1]] > 100))),
    "P": (palette(RED), SHADES),
    "P, transparent": (palette(RED, 128), PINK),
    **{f"I;16{order}": (sixteen_bits(order), SHADES[..., [1, 1, 1]]) for order in ("", "B")},
    **{f"{mode}, transparent": (transparent(mode), PINK) for mode in ("RGBA", "RGBa", "PA")},
    **{f"{mode}, transparent": (transparent(mode), PINK[..., [1, 1, 1]]) for mode in ("LA", "La")},
}


@pytest.mark.parametrize(("picture", "shown"), SHOWN.values(), ids=SHOWN)
def test_a_picture_of_any_mode_is_read_as_a_viewer_shows_it(picture, shown):
    torch.testing.assert_close(to_face(picture), to_face(shown), atol=3 / 255, rtol=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright_as_its_exif_says(orientation):
    kept = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = Image.Transpose  # how a camera held this way stored the upright picture
    undo = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    undo |= {6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}
    (RED.transpose(undo[orientation]) if orientation in undo else RED).save(kept, "PNG", exif=exif)
    torch.testing.assert_close(to_face(Image.open(kept)), to_face(RED))


def test_the_loaders_turn_photos_upright_too(tree):
    root = tree("rafdb", "kaggle")
    before = load("rafdb", "test", root=root).images
    for path in root.rglob("test_*.jpg"):
        picture, exif = Image.open(path), Image.Exif()
        exif[0x0112] = 3
        picture.save(path, exif=exif, quality=100)
    after = load("rafdb", "test", root=root).images
    torch.testing.assert_close(after.float(), before.flip(2, 3).float(), atol=40, rtol=0)


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 48, 48), (5, 1, 48, 48), (2, 3, 3, 100, 80), (0, 1, 48, 48)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_from_0_to_1_are_the_same_faces_as_bytes_to_255(shape, dtype):
    faces = torch.randint(0, 256, shape, dtype=torch.uint8)
    ready = face_transforms(48)((faces / 255).to(dtype))
    assert ready.shape == (*shape[:-3], 3, 48, 48) and ready.dtype == torch.float32
    torch.testing.assert_close(ready, face_transforms(48)(faces), atol=0.01, rtol=0)


def test_rounding_beyond_the_range_is_forgiven_and_cut_off():
    assert torch.equal(to_face(torch.full((1, 6, 6), 1 + 1e-6)), torch.ones(3, 6, 6))


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: (a / 255).astype(">f4"),
        lambda a: a[..., 0],
        lambda a: a[..., :1] / 255,
    ],
)
def test_arrays_are_pictures_too(view):
    ready = to_face(view(SHADES))
    channels_last = view(SHADES) if view(SHADES).ndim == 3 else view(SHADES)[..., None]
    torch.testing.assert_close(
        ready, to_face(torch.tensor(channels_last.astype(channels_last.dtype.newbyteorder("="))).permute(2, 0, 1))
    )


FACE = torch.full((1, 48, 48), 128, dtype=torch.uint8)
REFUSED = {
    "from 128 to 128": FACE.float(),
    "from -1 to -1": -torch.ones(1, 48, 48),
    "from nan to nan": torch.full((1, 48, 48), torch.nan),
    "from inf to inf": torch.full((1, 48, 48), torch.inf),
    **{f"type {dtype}": FACE.to(dtype) for dtype in (torch.int64, torch.int16, torch.int8, torch.bool)},
    "type torch.complex64": FACE.to(torch.complex64),
    "type torch.uint16": np.full((48, 48), 128, np.uint16),
    r"shape \(4, 48, 48\)": FACE.expand(4, 48, 48),
    r"shape \(48, 48\)": FACE[0],
    r"shape \(48, 48, 3\)": FACE[0, :, :, None].expand(48, 48, 3),
    r"shape \(1, 0, 48\)": FACE[:, :0],
    "mode I": Image.new("I", (4, 4)),
    "mode F": Image.new("F", (4, 4)),
    r"shape \(48,\)": np.array(["face"] * 48),
    "as str": "face.png",
    "as NoneType": None,
}


@pytest.mark.parametrize(("message", "picture"), REFUSED.items(), ids=REFUSED)
def test_what_is_no_face_is_refused_by_name(message, picture):
    with pytest.raises(FervtError, match=message):
        to_face(picture)


@pytest.mark.parametrize("faces", [FACE[None] / 255, FACE[None].long(), FACE], ids=["float", "long", "one face"])
def test_augment_takes_faces_as_they_were_read_and_no_others(faces):
    with pytest.raises(FervtError, match="give them as they were read"):
        Augment()(faces, torch.Generator())


@pytest.mark.parametrize(
    ("build", "shape"),
    [(fervt_compact, shape) for shape in [(2, 3, 224, 224), (2, 3, 48, 64), (2, 1, 48, 48), (3, 48, 48), (48, 48)]]
    + [(fervt_paper, (2, 3, 48, 48))],
)
def test_a_model_refuses_faces_of_another_size(build, shape):
    model = build().eval()
    for call in (model, model.trace):
        with pytest.raises(FervtError, match=rf"this model takes \(b, 3, {model.side}, {model.side}\)"):
            call(torch.rand(shape))


# --- predict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_every_precision_predict(dtype):
    faces = load("drawn", "test", count=16)
    model = fervt_compact(weights="drawn")
    wanted, found = predict(model, faces), predict(model.to(dtype), faces)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=0.05 if dtype == torch.bfloat16 else 0.01, rtol=0)


def test_predict_refuses_what_gives_no_answers():
    faces, model = load("drawn", "test", count=16), fervt_compact()
    with pytest.raises(FervtError, match="no faces to predict"):
        predict(model, faces.take(torch.zeros(16, dtype=torch.bool)))
    with pytest.raises(FervtError, match="faces must be a set of `Faces`"):
        predict(model, list(faces.images))
    assert torch.equal(predict(model, faces.images), predict(model, faces)), "a batch of pictures works too"
    model.transformer.head.bias.data[3] = torch.nan
    with pytest.raises(FervtError, match="answers are not numbers"):
        predict(model, faces)


def test_the_transforms_of_the_shipped_weights_are_those_that_every_face_gets():
    assert torch.equal(FERVT_Compact_Weights.DRAWN.transforms()(RED), face_transforms(48)(RED))

"""Compare face detectors: which faces does each one find, and which does it miss? python scripts/detectors.py

We paste drawn faces of known position, size and tilt, three at a time, onto scikit-image's sample pictures. We also use
those pictures alone, where every box is a false positive. The script includes OpenCV's cascade if you have installed
opencv-python-headless (below 5).
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image, ImageFilter
from skimage.feature import Cascade

from fervt_lib.data import load
from fervt_lib.data.crop import find_faces

BACKGROUNDS = ("brick", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "moon", "page")
BACKGROUNDS += ("retina", "rocket", "text")
SIZE, FACES, SCENES = (1200, 900), 3, 12
TILTS, SIZES = (0, 15, 25, 30), ((40, 60), (60, 100), (100, 600))
Boxes = list[tuple[float, float, float]]  # center x and y, width


def scene(rng: np.random.Generator, drawn: np.ndarray, back: Image.Image, sizes: tuple, tilt: int):
    """Make a picture; return it with the center and side of each face in it. No two faces touch."""
    picture, places = back.resize(SIZE), []
    oval = np.hypot(*(np.indices((384, 384)) - 192)) < 188
    mask = Image.fromarray(np.uint8(255 * oval)).filter(ImageFilter.GaussianBlur(4))
    for _ in range(200):
        side = int(rng.integers(*sizes))
        x, y = (int(rng.integers(0, room - side)) + side / 2 for room in SIZE)
        if len(places) < FACES and all(np.hypot(x - u, y - v) > 0.8 * (side + s) for u, v, s in places):
            face = Image.fromarray(drawn[rng.integers(len(drawn))]).rotate(tilt * rng.choice([-1, 1]), Image.BICUBIC)
            corner = round(x - side / 2), round(y - side / 2)
            picture.paste(face.resize((side, side)), corner, mask.resize((side, side)))
            places.append((x, y, side))
    return np.asarray(picture), places


def by_dlib(picture: np.ndarray) -> Boxes:
    return [(frame.left + frame.side / 2, frame.top + frame.side / 2, frame.side) for frame in find_faces(picture)]


def by_lbp() -> Callable[[np.ndarray], Boxes]:
    cascade = Cascade(skimage.data.lbp_frontal_face_cascade_filename())

    def find(picture: np.ndarray) -> Boxes:
        gray = np.asarray(Image.fromarray(picture).convert("L"))
        found = cascade.detect_multi_scale(gray, 1.2, 1, min_size=(40, 40), max_size=(min(gray.shape),) * 2)
        return [(box["c"] + box["width"] / 2, box["r"] + box["height"] / 2, box["width"]) for box in found]

    return find


def by_haar() -> Callable[[np.ndarray], Boxes]:
    import cv2

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def find(picture: np.ndarray) -> Boxes:
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return [(x + w / 2, y + h / 2, w) for x, y, w, h in cascade.detectMultiScale(gray, 1.1, 6, minSize=(36, 36))]

    return find


def measure(find: Callable[[np.ndarray], Boxes], scenes: list) -> dict[str, float]:
    hits, boxes, seconds, faces = 0, 0, 0.0, 0
    for picture, places in scenes:
        start = time.perf_counter()
        found = find(picture)
        seconds += time.perf_counter() - start
        near = [any(np.hypot(x - u, y - v) < 0.3 * s and 0.4 < w / s < 1.6 for u, v, w in found) for x, y, s in places]
        hits, boxes, faces = hits + sum(near), boxes + len(found), faces + len(places)
    return {"recall": hits / max(1, faces), "false": (boxes - hits) / len(scenes), "seconds": seconds / len(scenes)}


def main() -> None:
    rng, drawn = np.random.default_rng(0), load("drawn", "test", count=24, size=384, color=True)
    drawn = drawn.images.permute(0, 2, 3, 1).numpy()
    backs = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in BACKGROUNDS]
    sets = {
        (tilt, f"{sizes[0]}-{sizes[1]}"): [scene(rng, drawn, backs[i % len(backs)], sizes, tilt) for i in range(SCENES)]
        for tilt in TILTS
        for sizes in SIZES
    }
    sets["none", "no face"] = [(np.asarray(b.resize(size)), []) for b in backs for size in (SIZE, (600, 450))]
    finders = {"dlib": by_dlib, "LBP (scikit-image)": by_lbp()}
    try:
        finders["Haar (OpenCV)"] = by_haar()
    except ImportError:
        print("OpenCV is not installed: skipping its cascade")
    rows = [
        {"detector": name, "tilt": tilt, "pixels": pixels} | measure(find, scenes)
        for name, find in finders.items()
        for (tilt, pixels), scenes in sets.items()
    ]
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()

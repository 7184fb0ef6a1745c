"""Drawn faces: cartoon faces with expressions, drawn by code, so we know everything about them.

Each face shows the action units (AUs) of the Facial Action Coding System that make up its expression. Each
picture comes with its label, the person, the active action units and a mask of where each of them acts.

    from drawn_faces import draw_faces

    faces = draw_faces("train", count=100)
    faces.images.shape  # (100, 48, 48, 1)

The package needs only NumPy and Pillow. To read the code, start at `draw.py`.
"""

from .draw import DrawnFaces, draw_faces
from .expressions import ACTION_UNITS, EXPRESSIONS, UNITS_OF
from .people import COUNTS, PEOPLE, SPLITS

__all__ = ["ACTION_UNITS", "COUNTS", "EXPRESSIONS", "PEOPLE", "SPLITS", "UNITS_OF", "DrawnFaces", "draw_faces"]

"""The expressions and the action units that make them up."""

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""A label is a position in this tuple."""

UNITS_OF: dict[str, tuple[int, ...]] = {
    "neutral": (),
    "happiness": (6, 12),
    "surprise": (1, 2, 5, 26),
    "sadness": (1, 4, 15),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "contempt": (12, 14),
}
"""The action units of each expression. Contempt has them on one side of the face only."""

ACTION_UNITS: tuple[int, ...] = tuple(sorted({unit for units in UNITS_OF.values() for unit in units}))
"""All units, in the order of `DrawnFaces.units` and `DrawnFaces.masks`."""

SIDES = (-1, 1)  # left and right in the picture

Pulls = dict[int, float]  # action unit → how strongly it pulls, 0-1
Strengths = dict[int, Pulls]  # side → pulls

"""Who is drawn and how the shot is taken. Keep the order of the random draws: every face depends on it."""

import numpy as np

from .expressions import ACTION_UNITS, SIDES, UNITS_OF, Strengths

COUNTS = {"train": 4000, "validation": 800, "test": 800}  # how many faces each split has
PEOPLE = {"train": range(60), "validation": range(60, 80), "test": range(80, 100)}  # who appears in each split
SPLITS = tuple(COUNTS)

SKINS = np.array([(250, 218, 194), (240, 196, 164), (222, 170, 130), (190, 132, 94), (150, 100, 70), (112, 74, 54)])
HAIRS = np.array([(38, 28, 26), (74, 48, 34), (128, 84, 48), (206, 166, 98), (160, 76, 42), (150, 148, 146)])
IRISES = np.array([(70, 44, 28), (96, 66, 40), (64, 104, 140), (82, 116, 74)])


class Person:
    """What stays the same in all pictures of one person: lengths in face coordinates, and colors."""

    def __init__(self, seed: int, who: int):
        rng = np.random.default_rng((seed, len(SPLITS), who))
        u = rng.uniform
        self.width = u(0.70, 0.80)  # half the width of the face
        self.jaw = u(0.2, 0.9)  # 0-1, how much the face narrows toward the chin
        self.eye_x, self.eye_y = u(0.30, 0.36), u(-0.16, -0.08)  # the center of an eye
        self.eye_w, self.eye_h = u(0.155, 0.185), u(0.085, 0.105)  # half its width, the height of its upper lid
        self.brow_gap, self.brow_w = u(0.19, 0.23), u(0.045, 0.085)  # from the eye up to the brow, its thickness
        self.nose_y, self.nose_w = u(0.20, 0.27), u(0.11, 0.16)  # the tip, half the width
        self.mouth_y, self.mouth_w = u(0.49, 0.55), u(0.26, 0.32)  # the middle, half the width
        self.lip = u(0.04, 0.065)  # the thickness of the upper lip
        self.hairline = u(-0.74, -0.64)
        self.skin = rng.choice(SKINS) + u(-8, 8, 3)
        # With fair hair on the darkest skins, the brows would be lighter than the face.
        hair = rng.choice(HAIRS if self.skin[0] > 170 else HAIRS[:2])
        self.hair_style = str(rng.choice(("short", "long", "bald", "parted"), p=(0.35, 0.3, 0.1, 0.25)))
        self.hair = hair + u(-8, 8, 3)
        self.iris = rng.choice(IRISES)
        self.shirt = u(40, 210, 3)


class Shot:
    """What changes from picture to picture. It does not depend on the expression, so a neutral twin shares it."""

    def __init__(self, rng: np.random.Generator):
        u = rng.uniform
        self.intensity = u(0.5, 1.0)  # of the expression
        self.jitter = u(0.85, 1.15, len(ACTION_UNITS))  # one factor of the intensity per unit
        self.side = SIDES[rng.integers(2)]  # the side that shows contempt
        self.parted = max(0.0, u(-0.6, 1.0))  # 0-1, how far a smile shows the teeth
        self.gaze = u(-0.25, 0.25)
        self.turn = np.clip(rng.normal(0, 0.08), -0.22, 0.22)  # radians, in the plane of the picture
        self.yaw = u(-0.3, 0.3)  # radians, about the vertical axis
        self.scale = u(0.9, 1.08)
        self.shift = u(-0.07, 0.07, 2)
        self.light = np.array((u(-0.7, 0.7), u(-0.7, 0.1), 1.0))  # direction toward the lamp, z toward the viewer
        self.brightness, self.contrast = u(-12, 24), u(0.7, 1.1)
        self.blur = max(0.0, u(-0.6, 0.6))  # in pixels of a 48-pixel picture
        self.noise = u(1, 7)  # standard deviation, on the scale 0-255
        self.background = u(40, 220) + u(-25, 25, 3)
        self.cover = str(rng.choice(("", "glasses", "fingers", "strand"), p=(0.72, 0.12, 0.08, 0.08)))
        self.cover_at = u(0, 1, 3)

    def go_back(self, frames: int, rng: np.random.Generator) -> None:
        """Become an earlier frame of the sequence: a weaker expression, with the head moved slightly."""
        self.intensity *= 0.93**frames
        self.shift += rng.normal(0, 0.004, 2)

    def strengths(self, expression: str, without: int | None = None) -> Strengths:
        """How strongly each unit pulls on each side of the face; 0 if it is not active or switched off."""
        pulls = dict(zip(ACTION_UNITS, np.minimum(self.intensity * self.jitter, 1).tolist(), strict=True))
        at_work = {side: [unit for unit in UNITS_OF[expression] if unit != without] for side in SIDES}
        if expression == "contempt":
            at_work[-self.side] = ()
        return {side: {unit: pull if unit in at_work[side] else 0.0 for unit, pull in pulls.items()} for side in SIDES}

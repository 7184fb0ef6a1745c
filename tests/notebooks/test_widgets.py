"""Every position of every control of every live picture in the notebooks, without a browser.

A notebook's code runs up to its last live picture; then the pure function behind each picture is tried.
"""

import random
from functools import cache
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from fervt_lib import plots, widgets
from fervt_lib.widgets import LivePicture

FOLDER = Path(__file__).parents[2] / "notebooks"
PICTURES = [  # notebook, number of the live picture in it, its controls
    ("01", 0, ("face", "unit", "opacity")),
    ("01", 1, ("flip", "degrees", "zoom", "shift", "brightness", "contrast", "erase", "upside_down")),
    ("02", 0, ("grid_size", "temperature", "region", "opacity")),
    ("03", 0, ("face", "layer", "heads", "query", "rollout", "opacity")),
    ("04", 0, ("true_expression", "threshold")),
    ("05", 0, ("method", "class_explained", "face", "steps", "smoothing", "opacity")),
    ("06", 0, ("region", "code", "opacity")),
]
CONTROLS = [(notebook, index, name) for notebook, index, names in PICTURES for name in names]


@cache
def live_pictures(notebook: str) -> list[LivePicture]:
    """The live pictures of a notebook, made by its own code in a namespace of its own."""
    (path,) = FOLDER.glob(f"{notebook}_*.ipynb")
    sources = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    last = max(i for i, source in enumerate(sources) if "LivePicture(" in source)
    made, namespace = [], {}

    class Noted(LivePicture):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_DATA", "no-real-faces")
        patch.setattr(widgets, "LivePicture", Noted)
        patch.setattr(plots, "show", lambda alt: plt.close())
        for source in sources[: last + 1]:
            exec(compile(source, str(path), "exec"), namespace)
    return made


def positions(control: ipywidgets.ValueWidget) -> list:
    """Every value that a user can give a control."""
    if hasattr(control, "options"):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control, ipywidgets.Checkbox):
        return [False, True]
    steps = round((control.max - control.min) / control.step)
    values = [control.min + control.step * i for i in range(steps + 1)]
    return [control.base**value for value in values] if isinstance(control, ipywidgets.FloatLogSlider) else values


def state_of(live: LivePicture, **changes) -> dict:
    return {name: control.value for name, control in live.controls.items()} | changes


def draw(live: LivePicture, **changes) -> np.ndarray:
    """The picture in the live picture's first state but for some changes."""
    return live.draw(**state_of(live, **changes))


@pytest.mark.parametrize(("notebook", "index", "names"), PICTURES)
def test_these_are_all_the_controls(notebook, index, names):
    assert tuple(live_pictures(notebook)[index].controls) == names
    assert len(live_pictures(notebook)) == sum(other == notebook for other, *_ in PICTURES)


@pytest.mark.parametrize(("notebook", "index", "name"), CONTROLS)
def test_every_position_gives_a_picture_of_one_size_and_the_control_matters(notebook, index, name):
    live = live_pictures(notebook)[index]
    first = draw(live)
    pictures = [draw(live, **{name: value}) for value in positions(live.controls[name])]
    assert all(p.dtype == np.uint8 and p.shape == first.shape for p in pictures)
    assert all(p.std() > 5 for p in pictures), "a blank picture"
    assert len({p.tobytes() for p in pictures}) > 1, "the control changes nothing"
    assert np.array_equal(draw(live), first), "the same state gives another picture"


@pytest.mark.parametrize(("notebook", "index", "names"), PICTURES)
def test_positions_of_several_controls_go_together(notebook, index, names):
    live, chance = live_pictures(notebook)[index], random.Random(0)
    shape = draw(live).shape
    for _ in range(12):
        state = {name: chance.choice(positions(control)) for name, control in live.controls.items()}
        picture = live.draw(**state)
        assert picture.shape == shape and np.array_equal(picture, live.draw(**state)), state


def frame_of(picture: np.ndarray) -> tuple[int, ...]:
    """Top, left, bottom and right end of the orange pixels in the left 288 columns."""
    rows, columns = np.nonzero((picture[:288, :288] == plots.ORANGE).all(axis=2))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def cells(n: int) -> list[tuple[int, ...]]:
    """Where the cells of an n×n grid lie in 288 pixels, row by row."""
    size = 288 // n
    return [(r * size, c * size, (r + 1) * size, (c + 1) * size) for r in range(n) for c in range(n)]


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 6, 8])
def test_02_frames_each_region_of_each_grid(grid):
    live = live_pictures("02")[0]
    for region in range(64):
        picture = draw(live, grid_size=grid, region=region)
        assert frame_of(picture) == cells(grid)[min(region, grid**2 - 1)]


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 6, 8])
def test_02_a_click_on_a_region_chooses_it(grid):
    live = live_pictures("02")[0]
    width = draw(live).shape[1]
    live.controls["grid_size"].value = grid
    for region, (top, left, bottom, right) in enumerate(cells(grid)):
        assert live.click((left + right) / 2 / width, (top + bottom) / 2 / 288) == {"region": region}
    assert live.click(0.9, 0.5) == {}
    live.controls["grid_size"].value = 4


def test_02_a_high_temperature_makes_all_regions_alike_and_a_low_one_does_not():
    live = live_pictures("02")[0]
    spread = [float(draw(live, temperature=T, opacity=1.0)[:288, :288].std(axis=(0, 1)).mean()) for T in (0.1, 1, 10)]
    assert spread[0] > spread[1] > spread[2]


def test_03_frames_the_cell_that_asks_and_a_click_chooses_it():
    live = live_pictures("03")[0]
    width = draw(live).shape[1]
    for i, (top, left, bottom, right) in enumerate(cells(6)):
        assert frame_of(draw(live, query=19 + i)) == (top, left, bottom, right)
        assert live.click((left + right) / 2 / width, (top + bottom) / 2 / 288) == {"query": 19 + i}
    assert live.click(0.6, 0.1) == {"query": 0} and live.click(0.6, 0.9) == {}


def test_03_at_rollout_the_choice_of_one_head_counts_as_the_mean():
    live = live_pictures("03")[0]
    mean = draw(live, rollout=True, heads="mean")
    assert all(np.array_equal(draw(live, rollout=True, heads=head), mean) for head in range(6))
    assert not np.array_equal(draw(live, rollout=True, heads="max"), mean)


@pytest.mark.parametrize(("notebook", "side"), [("01", 288), ("02", 288), ("03", 288)])
def test_opacity_0_shows_the_face_alone(notebook, side):
    live = live_pictures(notebook)[0]
    others = {"01": {"unit": 26}, "02": {"temperature": 10.0}, "03": {"layer": 1}}[notebook]
    plain, other = draw(live, opacity=0.0), draw(live, opacity=0.0, **others)
    assert np.array_equal(plain[:side, :side], other[:side, :side])
    assert not np.array_equal(draw(live, opacity=1.0)[:side, :side], plain[:side, :side])


def test_01_upside_down_turns_every_face_of_the_gallery():
    live = live_pictures("01")[1]
    still = {"flip": 0, "degrees": 0, "zoom": 0, "shift": 0, "brightness": 0, "contrast": 0, "erase": 0}
    upright, turned = (draw(live, **still, upside_down=on)[28:172, :144] for on in (False, True))
    assert np.abs(upright[::-1][8:-8, 8:-8].astype(int) - turned[8:-8, 8:-8]).mean() < 2
    assert np.abs(upright[8:-8, 8:-8].astype(int) - turned[8:-8, 8:-8]).mean() > 5


def test_04_the_threshold_dims_more_and_more_faces():
    live = live_pictures("04")[0]
    light = [float(draw(live, threshold=value).mean()) for value in positions(live.controls["threshold"])]
    assert light == sorted(light) and light[0] < light[-1]


def test_05_only_two_methods_use_steps_and_attention_knows_no_class():
    live = live_pictures("05")[0]
    for method in positions(live.controls["method"]):
        few, many = (draw(live, method=method, steps=steps)[:288] for steps in (1, 8))
        assert np.array_equal(few, many) != (method in ("integrated gradients", "SmoothGrad")), method
    one, other = (draw(live, method="rollout", class_explained=name)[:288] for name in ("anger", "fear"))
    assert np.array_equal(one, other)
    one, other = (draw(live, class_explained=name)[:288] for name in ("anger", "fear"))
    assert not np.array_equal(one, other)


def test_05_opacity_0_shows_the_same_picture_twice():
    picture = draw(live_pictures("05")[0], opacity=0.0)
    assert np.array_equal(picture[:288, :288], picture[:288, -288:])


def test_moving_a_control_puts_the_new_picture_in_place_of_the_old():
    live = live_pictures("02")[0]
    picture, before = live.picture, live.picture.value
    live.controls["region"].value = 6
    assert live.picture is picture and live.picture.value == widgets.to_png(draw(live)) != before
    event = {"relativeX": 10, "relativeY": 10, "boundingRectWidth": 620, "boundingRectHeight": 288}
    live._clicked(event)
    assert live.controls["region"].value == 0


def test_a_live_picture_carries_a_still_and_words():
    live = live_pictures("02")[0]
    data, metadata = live._repr_mimebundle_()
    assert data["image/png"] and data["text/plain"] == live.alt == metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in data

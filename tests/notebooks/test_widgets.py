"""Every position of every control of every live picture in the notebooks, without a browser.

The cells that a notebook's live pictures rest on are run; then the pure function behind each picture is tried.
"""

import random
from functools import cache
from pathlib import Path
from symtable import SymbolTable, symtable

import ipywidgets
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from fervt_lib import data, plots, widgets
from fervt_lib.data import load
from fervt_lib.widgets import LivePicture

FOLDER = Path(__file__).parents[2] / "notebooks"
CONTROLS = {"01": 11, "02": 4, "03": 6, "04": 6, "05": 6, "06": 3}  # how many a notebook has
WORK = "LivePicture(", "train_live(model"  # what makes a picture, and what fills the one that shows a training
SIDE = 288  # pixels of the face on the left of most pictures


@cache
def live_pictures(notebook: str) -> list[LivePicture]:
    """The live pictures of a notebook, made by its own code in a namespace of its own."""
    (path,) = FOLDER.glob(f"{notebook}_*.ipynb")
    made, namespace = [], {}

    class Noted(LivePicture):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_DATA", "no-real-faces")
        patch.setattr(widgets, "LivePicture", Noted)
        patch.setattr(plots, "show", lambda alt: plt.close())
        if notebook == "04":  # what it trains on, so that it takes seconds
            patch.setattr(data, "load", lambda *which, count: load(*which, count=min(count, 160)))
        for source in needed([cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]):
            exec(compile(source, str(path), "exec"), namespace)
    return made


def needed(sources: list[str]) -> list[str]:
    """The cells that make or fill live pictures, and those that give a name which such a cell uses, and so on."""
    names, kept = set(), []
    for source in reversed(sources):
        cell = symtable(source, "cell", "exec")
        given = {symbol.get_name() for symbol in cell.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        if any(work in source for work in WORK) or given & names:
            names = names - given | (used(cell) - given)
            kept.insert(0, source)
    return kept


def used(scope: SymbolTable) -> set[str]:
    """The names of the notebook that a cell, or a function in it, reads."""
    own = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() or scope.get_type() == "module"}
    return own.union(*map(used, scope.get_children()))


def positions(control: ipywidgets.ValueWidget) -> list:
    """Every value that a user can give a control."""
    if hasattr(control, "options"):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control, ipywidgets.Checkbox):
        return [False, True]
    values = [control.min + control.step * i for i in range(round((control.max - control.min) / control.step) + 1)]
    return [control.base**value for value in values] if isinstance(control, ipywidgets.FloatLogSlider) else values


def draw(live: LivePicture, **changes) -> np.ndarray:
    """The picture in the live picture's first state but for some changes."""
    return live.draw(**{name: control.value for name, control in live.controls.items()} | changes)


@pytest.mark.parametrize("notebook", CONTROLS)
def test_every_position_gives_a_picture_and_every_control_matters(notebook):
    lives, chance = live_pictures(notebook), random.Random(0)
    assert sum(len(live.controls) for live in lives) == CONTROLS[notebook]
    for live in lives:
        first = draw(live)
        for name, control in live.controls.items():
            pictures = [draw(live, **{name: value}) for value in positions(control)]
            assert {(picture.dtype, picture.shape) for picture in pictures} == {(np.dtype(np.uint8), first.shape)}, name
            assert all(picture.std() > 5 for picture in pictures), f"{name} gives a blank picture"
            assert len({picture.tobytes() for picture in pictures}) > 1, f"{name} changes nothing"
        for _ in range(5):
            state = {name: chance.choice(positions(control)) for name, control in live.controls.items()}
            assert live.draw(**state).shape == first.shape, state
        assert np.array_equal(draw(live), first), "the same state gives another picture"


def check_frames_and_clicks(live: LivePicture, control: str, first: int, grid: int) -> None:
    """Each cell of a grid over the face has an orange frame when its number is chosen; a click on it chooses it."""
    size, width = SIDE // grid, draw(live).shape[1]
    for i in range(grid**2):
        top, left = i // grid * size, i % grid * size
        rows, columns = np.nonzero((draw(live, **{control: first + i})[:SIDE, :SIDE] == plots.ORANGE).all(axis=2))
        assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (top, top + size, left, left + size)
        assert live.click((left + size / 2) / width, (top + size / 2) / SIDE) == {control: first + i}
    assert live.click(0.6, 0.9) == {}


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 6, 8])
def test_02_frames_the_region_and_a_click_chooses_it(grid):
    live = live_pictures("02")[0]
    start, live.controls["grid_size"].value = live.controls["grid_size"].value, grid
    check_frames_and_clicks(live, "region", 0, grid)
    assert np.array_equal(draw(live, region=63), draw(live, region=grid**2 - 1))
    live.controls["grid_size"].value = start


def test_02_a_high_temperature_makes_all_regions_alike_and_a_low_one_does_not():
    maps = [draw(live_pictures("02")[0], temperature=T, opacity=1.0)[:SIDE, :SIDE] for T in (0.1, 1, 10)]
    low, middle, high = (float(picture.std(axis=(0, 1)).mean()) for picture in maps)
    assert low > middle > high


def test_03_frames_the_cell_that_asks_and_at_rollout_one_head_counts_as_the_mean():
    live = live_pictures("03")[0]
    check_frames_and_clicks(live, "query", 19, 6)
    assert live.click(0.6, 0.1) == {"query": 0}
    mean = draw(live, rollout=True, heads="mean")
    assert all(np.array_equal(draw(live, rollout=True, heads=head), mean) for head in range(6))
    assert not np.array_equal(draw(live, rollout=True, heads="max"), mean)


@pytest.mark.parametrize(
    ("notebook", "other"), [("01", {"unit": 26}), ("02", {"temperature": 10}), ("03", {"layer": 1})]
)
def test_opacity_0_shows_the_face_alone(notebook, other):
    live = live_pictures(notebook)[0]
    plain, same, covered = (
        draw(live, **how)[:SIDE, :SIDE] for how in ({"opacity": 0}, {"opacity": 0} | other, {"opacity": 1})
    )
    assert np.array_equal(plain, same) and not np.array_equal(plain, covered)


def test_01_upside_down_turns_every_face_of_the_gallery():
    still = dict.fromkeys(("flip", "degrees", "zoom", "shift", "brightness", "contrast", "erase"), 0)
    both = (draw(live_pictures("01")[1], **still, upside_down=on)[28:172, :144].astype(int) for on in (False, True))
    upright, turned = both
    assert np.abs(upright[::-1] - turned)[8:-8, 8:-8].mean() < 2
    assert np.abs(upright - turned)[8:-8, 8:-8].mean() > 5


def test_04_the_picture_follows_the_training_and_the_lanes_show_what_a_launch_costs():
    progress, lanes = live_pictures("04")
    first, last = (draw(progress, step=step) for step in (0, progress.controls["step"].max))
    curves = [(picture[28:238] == plots.BLUE).all(axis=2).sum() for picture in (first, last)]
    assert curves[0] == 0 < curves[1]

    def length(**changes) -> int:
        """Pixels until the device's last block ends."""
        return int(np.nonzero((draw(lanes, **changes)[-48:] == plots.BLUE).all(axis=2).any(axis=0))[0].max())

    short, long = {"kernel": 4, "between_steps": 0}, {"kernel": 14, "between_steps": 30}
    assert length(**short, captured=True) < length(**short) / 1.5, "with short kernels the launches are the time"
    assert length(**long) > 1.15 * length(**long, ask_every_step=False), "with long ones it is the question"


def test_05_only_two_methods_use_steps_and_attention_knows_no_class():
    live = live_pictures("05")[0]

    def alike(one: dict, other: dict) -> bool:
        return np.array_equal(draw(live, **one)[:SIDE], draw(live, **other)[:SIDE])

    for method in positions(live.controls["method"]):
        uses_steps = method in ("integrated gradients", "SmoothGrad")
        assert alike({"method": method, "steps": 1}, {"method": method, "steps": 8}) != uses_steps, method
    anger, fear = {"class_explained": "anger"}, {"class_explained": "fear"}
    assert not alike(anger, fear) and alike(anger | {"method": "rollout"}, fear | {"method": "rollout"})
    picture = draw(live, opacity=0.0)
    assert np.array_equal(picture[:SIDE, :SIDE], picture[:SIDE, -SIDE:]), "at opacity 0 both sides show the face"


def test_a_new_picture_replaces_the_old_and_a_still_goes_along():
    live = live_pictures("02")[0]
    picture, before = live.picture, live.picture.value
    live.controls["region"].value = 6
    assert live.picture is picture and live.picture.value == widgets.to_png(draw(live)) != before
    live._clicked({"relativeX": 10, "relativeY": 10, "boundingRectWidth": 620, "boundingRectHeight": 288})
    assert live.controls["region"].value == 0
    data, metadata = live._repr_mimebundle_()
    assert data["image/png"] and data["text/plain"] == live.alt == metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in data

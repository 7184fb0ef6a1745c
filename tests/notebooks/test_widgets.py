"""Every position of every control of every live picture in the notebooks, without a browser.

We run the cells that a notebook's live pictures depend on, then try the code that draws each picture.
"""

import random
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fervt_lib import data, plots, widgets
from fervt_lib.data import load
from fervt_lib.widgets import LivePicture, Panel, choice, slider, toggle

FOLDER = Path(__file__).parents[2] / "notebooks"
CONTROLS = {"00": 2, "01": 11, "02": 6, "03": 7, "04": 6, "05": 7, "06": 3, "07": 14}  # how many each notebook has
SITE = runpy.run_path(str(FOLDER.parent / "scripts" / "website.py"))
SIDE = 288  # pixels of the face on the left of most pictures


@cache
def live_pictures(notebook: str) -> list[LivePicture]:
    """The live pictures of a notebook, made by its own code; 04 trains on fewer faces, so that it takes seconds."""
    (path,) = FOLDER.glob(f"{notebook}_*.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_DATA", "no-real-faces")
        if notebook == "04":
            patch.setattr(data, "load", lambda *which, count: load(*which, count=min(count, 160)))
        return [live for live in SITE["live_pictures"](path) if isinstance(live, LivePicture)]


def draw(live: LivePicture, **changes) -> np.ndarray:
    """The live picture's image in its first state, apart from some changes."""
    return live.draw(**live.values | changes)


@pytest.mark.parametrize("notebook", CONTROLS)
def test_every_position_gives_a_picture_and_every_control_matters(notebook):
    lives, chance = live_pictures(notebook), random.Random(0)
    assert sum(len(live.inputs) for live in lives) == CONTROLS[notebook]
    for live in lives:
        first = draw(live)
        for name, control in live.inputs.items():
            pictures = [draw(live, **{name: value}) for value in control.values]
            assert {(picture.dtype, picture.shape) for picture in pictures} == {(np.dtype(np.uint8), first.shape)}, name
            assert all(picture.std() > 5 for picture in pictures), f"{name} gives a blank picture"
            assert len({picture.tobytes() for picture in pictures}) > 1, f"{name} changes nothing"
        for _ in range(5):
            state = {name: chance.choice(control.values) for name, control in live.inputs.items()}
            assert live.draw(**state).shape == first.shape, state
        assert np.array_equal(draw(live), first), "the same state gives a different picture"


def face_of(live: LivePicture, **changes) -> np.ndarray:
    """The first panel without its title, `(side, side, 3)`, as an unrun notebook shows it."""
    side = live.columns[0][0].width
    return draw(live, **changes)[widgets.TITLE :][:side, :side]


def check_frames(live: LivePicture, control: str, first: int, grid: int, **state) -> None:
    """Each cell of a grid over the face has an orange frame when its number is chosen."""
    size = live.columns[0][0].width / grid
    for i in range(grid**2):
        top, left = i // grid * size, i % grid * size
        picture = face_of(live, **state, **{control: first + i})
        rows, columns = np.nonzero((picture == plots.ORANGE).all(axis=2))
        found = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        assert np.allclose(found, (top, top + size, left, left + size), atol=1)


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 6, 8])
def test_02_frames_the_region(grid):
    (live,) = live_pictures("02")
    check_frames(live, "region", 0, grid, grid_size=grid)
    last, beyond = (draw(live, grid_size=grid, region=region) for region in (grid**2 - 1, 63))
    assert np.array_equal(last, beyond)


def test_02_a_high_temperature_makes_all_regions_alike_and_a_low_one_does_not():
    temperatures = np.array(live_pictures("02")[0].inputs["temperature"].values)
    maps = [face_of(live_pictures("02")[0], temperature=T, opacity=1.0) for T in temperatures[[0, 10, 20]]]
    low, middle, high = (float(picture.std(axis=(0, 1)).mean()) for picture in maps)
    assert low > middle > high


def test_02_opens_on_a_map_worth_looking_at():
    (live,) = live_pictures("02")
    weights = live.columns[0][0].cells(live.state)
    assert len(weights) == 16 and weights.sum() == pytest.approx(16, abs=0.01) and weights.max() > 3


def test_03_frames_the_cell_that_asks_and_at_rollout_one_head_counts_as_the_mean():
    (live,) = live_pictures("03")
    check_frames(live, "query", 19, 6)
    mean = face_of(live, rollout=True, heads="mean")
    assert all(np.array_equal(face_of(live, rollout=True, heads=head), mean) for head in range(6))
    assert not np.array_equal(face_of(live, rollout=True, heads="max"), mean)


def test_opacity_0_shows_the_face_alone():
    (live, _), others = live_pictures("01"), {"unit": 26}
    shown = ({"opacity": 0.0}, {"opacity": 0.0} | others, {"opacity": 1.0})
    plain, same, covered = (draw(live, **how)[:SIDE, :SIDE] for how in shown)
    assert np.array_equal(plain, same) and not np.array_equal(plain, covered)
    for live, others in ((live_pictures("02")[0], {"grid_size": 8}), (live_pictures("03")[0], {"layer": 1})):
        how = {"opacity": 0.0, "region" if "region" in live.inputs else "query": 0}
        plain, same, covered = (face_of(live, **how | more) for more in ({}, others, {"opacity": 1.0}))
        unmarked = (plain != plots.ORANGE).any(axis=2) & (same != plots.ORANGE).any(axis=2)  # the frame may move
        assert np.array_equal(plain[unmarked], same[unmarked]) and not np.array_equal(plain, covered)


def test_01_upside_down_turns_every_face_of_the_gallery():
    still = dict.fromkeys(("flip", "degrees", "zoom", "shift", "brightness", "contrast", "erase"), 0)
    live = live_pictures("01")[1]
    side = live.draw.__globals__["gallery"].images.shape[-1] + 8  # including its frame
    upright, turned = (draw(live, **still, upside_down=on)[28 : 28 + side, :side].astype(int) for on in (False, True))
    assert np.abs(upright[::-1] - turned)[8:-8, 8:-8].mean() < 2
    assert np.abs(upright - turned)[8:-8, 8:-8].mean() > 5


def test_04_the_picture_follows_the_training_and_the_lanes_show_what_a_launch_costs():
    progress, lanes = live_pictures("04")
    first, last = (draw(progress, step=step) for step in (0, progress.inputs["step"].values[-1]))
    curves = [(picture[28:238] == plots.BLUE).all(axis=2).sum() for picture in (first, last)]
    assert curves[0] == 0 < curves[1]

    def length(**changes) -> int:
        """Pixels up to the end of the device's last block."""
        return int(np.nonzero((draw(lanes, **changes)[-48:] == plots.BLUE).all(axis=2).any(axis=0))[0].max())

    short, long = {"kernel": 4, "between_steps": 0}, {"kernel": 14, "between_steps": 30}
    assert length(**short, captured=True) < length(**short) / 1.5, "with short kernels, the launches take the time"
    assert length(**long) > 1.15 * length(**long, ask_every_step=False), "with long ones, asking every step does"


def test_05_rollout_knows_no_class_and_relevance_does():
    live = live_pictures("05")[0]

    def alike(one: dict, other: dict) -> bool:
        return np.array_equal(draw(live, **one)[:SIDE], draw(live, **other)[:SIDE])

    for method in ("integrated gradients", "Shapley values", "relevance", "rollout"):
        anger, fear = ({"class_explained": name, "method": method} for name in ("anger", "fear"))
        assert alike(anger, fear) == (method == "rollout"), method
    two = draw(live, opacity=0.0, beside_it="rollout")[28 : 28 + SIDE]
    assert np.array_equal(two[:, :SIDE], two[:, -SIDE:]), "at opacity 0 both sides show the face"
    alone, pixels = (draw(live, opacity=0.0, sharp=on)[28 : 28 + SIDE] for on in (True, False))
    assert np.array_equal(alone, two) and not np.array_equal(alone, pixels)


def stripes(level, wide=False):
    if level == 3:
        raise ValueError("three is too many")
    return np.uint8(255 * (np.indices((40, 60, 3))[0] < 10 * level + 2 * wide))


def small_picture() -> LivePicture:
    inputs = {"level": slider(range(5), 1, label="how many"), "wide": toggle()}
    return LivePicture(stripes, alt="Stripes.", **inputs)


def test_a_new_state_gives_a_new_picture_and_its_words_and_a_still_goes_along():
    live = small_picture()
    assert live.words == "Stripes. Now: how many 1, wide off."
    live.state = {"level": 2, "wide": 1}  # as the browser sends it
    assert live.picture == widgets.to_jpeg(stripes(2, True)) and live.words == "Stripes. Now: how many 2, wide on."
    live.put(level=4)
    assert live.values == {"level": 4, "wide": True} and live.picture == widgets.to_jpeg(stripes(4, True))
    data, metadata = live._repr_mimebundle_()
    assert data["image/png"] and data["text/plain"] == "Stripes." == metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_an_error_is_said_in_the_pictures_place_and_the_next_good_state_draws_again():
    live = small_picture()
    live.put(level=3)
    assert live.error == "ValueError: three is too many (how many 3, wide off)" == live.words
    live.put(level=4)
    assert live.error == "" and live.picture == widgets.to_jpeg(stripes(4))


def test_a_control_says_its_values_and_refuses_a_start_that_it_does_not_have():
    assert slider(np.linspace(0, 1, 21), 0.15).texts[3] == "0.15" and slider([5, 7], 7).start == 1
    named = choice({"the mean": "mean", "head 1": 0}, 0)
    assert (named.kind, named.texts, named.values, named.start) == ("choice", ["the mean", "head 1"], ["mean", 0], 1)
    with pytest.raises(ValueError, match="8 is not among the values"):
        slider(range(8), 8)


def test_panels_are_sent_as_16_bit_numbers_once_and_drawn_alike():
    values = np.linspace(0, 3, 32).reshape(2, 16)
    face = np.full((1, 8, 8, 3), 100, np.uint8)
    above = Panel(
        values, ("row",), (4,), faces=face, face_axes=("one",), pick="cell", title="row {row}", width=80, height=80
    )
    below = Panel(values, ("row",), (2,), first=4, whole=values[0].sum(), title="{share}", width=40, height=40)
    inputs = {"row": slider(range(2), 0), "one": choice(["x"], "x"), "cell": slider(range(16), 5)}
    live = LivePicture([[above], [below]], alt="Numbers.", **inputs)
    assert len(live.numbers) == 1 and np.array_equal(np.frombuffer(live.numbers[0], "<f2"), np.float16(values).ravel())
    assert [panel["numbers"] for panel in live.panels] == [0, 0] and len(live.colours) == 3 * 256
    assert [(panel["x"], panel["y"]) for panel in live.panels] == [(0, 0), (80 + widgets.GAP, 0)]
    picture = live.draw(**live.values)
    assert picture.shape == (80 + widgets.TITLE, 80 + widgets.GAP + 40, 3)
    tile = picture[widgets.TITLE :, 80 + widgets.GAP :][:40]
    assert np.array_equal(tile[::20, ::20], plots.heat_rgb(values[0, 4:8].reshape(2, 2), *widgets.SCALE))
    with pytest.raises(ValueError, match=r"\(2,\) do not fit the controls \('row',\) with \(3,\) positions"):
        LivePicture([[above]], alt="Numbers.", **inputs | {"row": slider(range(3), 0)})

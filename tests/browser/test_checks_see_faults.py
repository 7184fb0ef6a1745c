"""The checks of this folder, against a notebook in which everything is wrong."""

from collections.abc import Iterator

import nbformat
import pytest
from checks import FEWEST, click_faults, keyboard_faults, latency_faults, latency_row, mouse_faults, page_faults
from lab import Lab, Notebook

# One picture is slow and has a control that does nothing, one is blank and adds outputs, one ignores clicks and fails.
CELLS = """
import time, warnings
import ipywidgets, numpy as np
from IPython.display import display
from fervt_lib.widgets import LivePicture

def part(size):
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:size] = 255
    return picture

def slow(size, idle):
    time.sleep(0.06)
    return part(size)

# %%
LivePicture(slow, alt="slow", size=ipywidgets.IntSlider(50), idle=ipywidgets.IntSlider(50))
# %%
outputs = ipywidgets.Output()
level = ipywidgets.IntSlider(50)
level.observe(lambda _: outputs.append_display_data("one more"), "value")
flat = LivePicture(lambda level: np.full((100, 100, 3), level, np.uint8), alt="blank", level=level)
ipywidgets.VBox([flat, outputs])
# %%
LivePicture(part, alt="takes no click", click=lambda across, down: {}, size=ipywidgets.IntSlider(50))
# %%
LivePicture(part, alt="not shown", size=ipywidgets.IntSlider());
# %%
warnings.warn("a warning")
# %%
gone = {"model_id": "gone", "version_major": 2, "version_minor": 0}
display({"application/vnd.jupyter.widget-view+json": gone}, raw=True)
# %%
1 / 0
# %%
"not run"
"""


@pytest.fixture(scope="module")
def broken(lab: Lab) -> Iterator[Notebook]:
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS.split("# %%")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = lab.folder / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    with lab.run(path.name) as notebook:
        yield notebook
    path.unlink()


def test_errors_and_blank_pictures_are_seen(broken: Notebook):
    faults = page_faults(broken)
    for words in (
        "code cell 9 was not run",
        "a warning",
        "Error displaying widget",
        "ZeroDivisionError",
        "no live picture below cell [5]",
        "broken picture 2 is blank",
    ):
        assert any(words in fault for fault in faults), words
    assert len(faults) == 6


def test_idle_controls_are_seen(broken: Notebook):
    slow = broken.lives[0]
    assert keyboard_faults(slow) == ["broken picture 1: 'idle' draws the same picture at both ends"]
    assert mouse_faults(slow) == ["broken picture 1: 'idle' was dragged and the picture stays"]


def test_slow_controls_are_seen(broken: Notebook):
    slow = broken.lives[0]
    rows = [latency_row(slow, control, runs_model=False, wanted=FEWEST) for control in slow.controls]
    takes, none = latency_faults(rows)
    assert "'size' takes" in takes
    assert none == "broken picture 1: 'idle' drew only 0 new pictures"


def test_outputs_that_pile_up_are_seen(broken: Notebook):
    (fault,) = keyboard_faults(broken.lives[1])
    assert "outputs became" in fault


def test_clicks_without_effect_are_seen(broken: Notebook):
    assert click_faults(broken.lives[2]) == ["broken picture 3: clicks change nothing"]

"""This folder's checks against a notebook where everything is wrong, and what a reader sees of an error."""

from collections.abc import Iterator

import nbformat
import pytest
from checks import control_faults, in_place, mouse_faults, page_faults
from lab import Lab, Notebook

# One picture is slow, one is blank and adds outputs, one ignores a slider.
CELLS = """
import time, warnings
import ipywidgets, matplotlib.pyplot as plt, numpy as np, PIL.Image
from IPython.display import display
from fervt_lib import plots
from fervt_lib.widgets import LivePicture, slider

def bar(size, idle=0):
    return np.uint8(255 * (np.indices((100, 100, 3))[0] < size))

def slow(size):
    end = time.thread_time() + 0.25  # of the processor's time: on a busy machine it lasts longer, as all work does
    while time.thread_time() < end:
        pass
    return bar(size)

# %%
LivePicture(slow, alt="slow", size=slider(range(101), 50))
# %%
outputs = ipywidgets.Output()
level = slider(range(101), 50)
flat = LivePicture(lambda level: np.full((100, 100, 3), level, np.uint8), alt="blank", level=level)
flat.observe(lambda _: outputs.append_display_data("one more"), "state")
ipywidgets.VBox([flat, outputs])
# %%
sliders = {name: slider(range(101), 50) for name in ("size", "idle")}
LivePicture(bar, alt="idle", **sliders)
# %%
LivePicture(lambda size: bar(100 // size), alt="fails at 0", size=slider(range(5), 2))
# %%
LivePicture(bar, alt="not shown", size=slider(range(101), 0));
# %%
warnings.warn("a warning")
# %%
gone = {"model_id": "gone", "version_major": 2, "version_minor": 0}
display({"application/vnd.jupyter.widget-view+json": gone}, raw=True)
# %%
plt.text(0.5, 0.5, "faint", color="0.9")
try:
    plots.show("words that are hard to read")
except ValueError as error:
    warnings.warn(str(error))
# %%
display(PIL.Image.new("RGB", (50, 50), "red"))
# %%
1 / 0
# %%
"not run"
"""
PAGE_FAULTS = ["cell 12 was not run", "a warning", "ZeroDivisionError", "Error displaying widget", "below cell [6]"]
PAGE_FAULTS += ["broken picture 2 is blank", "hard to read on what is behind them: ['faint']", "image-alt"]


@pytest.fixture(scope="module")
def broken(lab: Lab) -> Iterator[Notebook]:
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS.split("# %%")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "broken.ipynb")
    with lab.run("broken") as (notebook,):
        yield notebook


def test_errors_and_blank_pictures_are_seen(broken: Notebook):
    faults = list(page_faults(broken))
    assert [words for words in PAGE_FAULTS if not any(words in fault for fault in faults)] == []
    assert len(faults) == len(PAGE_FAULTS)


def test_an_error_stands_in_the_pictures_place_until_the_next_good_state(broken: Notebook):
    live = broken.lives[3]
    (size,), error = live.controls, live.box.query_selector(".fervt-error")
    before = live.picture()
    assert live.image.is_visible() and not error.is_visible()
    size.move("first")
    live.settle()
    assert error.is_visible() and not live.image.is_visible()
    assert "ZeroDivisionError" in error.inner_text() and "size 0" in error.inner_text()
    size.move("last")
    assert live.picture() != before and live.image.is_visible() and not error.is_visible()


def test_slow_and_idle_controls_are_seen(broken: Notebook):
    (slow,), _, idle, _ = ([*control_faults(live, [], set()), *mouse_faults(live)] for live in broken.lives)
    assert "'size' takes" in slow
    words = "drew only 0 new pictures", "draws the same picture at both ends", "was dragged and the picture stays"
    assert idle == [f"broken picture 3: 'idle' {w}" for w in words]


def test_outputs_that_pile_up_are_seen(broken: Notebook):
    assert "outputs became" in in_place(broken.lives[1], mouse_faults(broken.lives[1]))[-1]

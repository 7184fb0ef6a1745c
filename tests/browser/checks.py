"""What a reader must not meet: each check returns its faults, in words."""

from statistics import median

from lab import Notebook
from live import Control, Live, Slider, presses

LIMIT, MODEL_LIMIT = 60, 150  # ms from key press to new picture; the second where the compact model runs again
FEWEST = 5  # pictures, for a median
ERROR_WORDS = ("Error displaying widget", "Click to show javascript error", "Javascript Error", "Loading widget...")
OUTPUTS = """[...document.querySelectorAll('.jp-OutputArea-child')].map(e => [
    e.querySelector('[data-mime-type="application/vnd.jupyter.stderr"]') != null, e.textContent])"""


def page_faults(notebook: Notebook) -> list[str]:
    """Cells that did not run, errors and warnings in the page, live pictures that are missing or blank."""
    faults = [f"code cell {i} was not run" for i, count in enumerate(notebook.counts(), 1) if count is None]
    for is_error, text in notebook.page.evaluate(OUTPUTS):
        if is_error or any(words in text for words in ERROR_WORDS):
            faults.append(f"error output: {text[-500:]}")
    faults += [f"no live picture below cell [{count}]" for count in notebook.without_picture()]
    return faults + [f"{live.name} is blank" for live in notebook.lives if live.contrast() == 0]


def keyboard_faults(live: Live) -> list[str]:
    """Controls with the same picture at their first and last value."""
    faults, outputs = [], live.outputs()
    for control in live.controls:
        start = control.value()
        control.jump(last=False)
        first = live.picture()
        control.jump(last=True)
        if live.picture() == first:
            faults.append(f"{live.name}: {control.label!r} draws the same picture at both ends")
        control.put(start)
    return faults + _in_place(live, outputs)


def mouse_faults(live: Live) -> list[str]:
    """Sliders that can be dragged and the picture stays."""
    faults, outputs = [], live.outputs()
    for slider in (control for control in live.controls if isinstance(control, Slider)):
        start, before = slider.value(), live.picture()
        with slider.dragged():
            stays = live.picture() == before
        faults += [f"{live.name}: {slider.label!r} was dragged and the picture stays"] * stays
        slider.put(start)
    return faults + _in_place(live, outputs)


def click_faults(live: Live) -> list[str]:
    """A picture that takes clicks and stays the same after two of them, far apart in its left half."""
    outputs, before = live.outputs(), live.picture()
    live.click(0.35, 0.3)
    between = live.picture()
    live.click(0.15, 0.7)
    stays = len({before, between, live.picture()}) == 1
    return [f"{live.name}: clicks change nothing"] * stays + _in_place(live, outputs)


def _in_place(live: Live, outputs: int) -> list[str]:
    """The same image element in a cell with as many outputs as before: nothing piles up, nothing flickers."""
    return [] if live.outputs() == outputs else [f"{live.name}: {outputs} outputs became {live.outputs()}"]


def latency_row(live: Live, control: Control, runs_model: bool, wanted: int = 20) -> dict:
    """How fast a control draws: a row of the table. Where the model runs, new values count: others may be cached."""
    every = presses(live, control, wanted)
    new = [press for press in every if press.new]
    times = [press.milliseconds for press in (new if runs_model and len(new) >= FEWEST else every)]
    row = {"picture": live.name, "control": control.label, "presses": len(times)}
    row |= {"median": round(median(times), 1), "slowest": round(max(times), 1)} if times else {}
    return row | {"limit": MODEL_LIMIT if runs_model else LIMIT}


def latency_faults(rows: list[dict]) -> list[str]:
    """Controls that are too slow, or drew too few pictures to tell."""
    faults = []
    for row in rows:
        name = f"{row['picture']}: {row['control']!r}"
        if row["presses"] < FEWEST:
            faults.append(f"{name} drew only {row['presses']} new pictures")
        elif row["median"] > row["limit"]:
            faults.append(f"{name} takes {row['median']} ms, more than {row['limit']}")
    return faults

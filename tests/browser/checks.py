"""Checks for faults that no reader should ever see; each yields its faults in words."""

import io
from collections.abc import Iterator
from statistics import median

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from lab import COUNTS, NO_PICTURE, Notebook
from live import Control, Live
from PIL import Image
from playwright.sync_api import Page

# Goals in milliseconds from key press to new picture: drawn by Python, by Python after the compact model reruns, or by
# the browser. They apply where the kernel does the work of `Live.echo` in ECHO milliseconds; on a slower or busier
# machine they grow in proportion. The table shows every miss; a miss by more than a quarter is a fault.
LIMIT, MODEL_LIMIT, CANVAS_LIMIT, ECHO, ROOM = 50, 100, 16, 20, 1.25
WANTED, FEWEST = 5, 5  # pictures for a median
ERROR_WORDS = ("Error displaying widget", "Click to show javascript error", "Javascript Error", "Loading widget...")
OUTPUTS = """[...document.querySelectorAll('.jp-OutputArea-child')].map(e => [
    e.querySelector('[data-mime-type="application/vnd.jupyter.stderr"]') != null, e.textContent])"""
HOW_MANY = "image => image.closest('.jp-CodeCell')?.querySelectorAll('.jp-OutputArea-child').length ?? 0"


def page_faults(notebook: Notebook) -> Iterator[str]:
    """Cells that did not run, errors and warnings in the page, live pictures that are missing, blank or hard to use."""
    for i, count in enumerate(notebook.page.evaluate(COUNTS), 1):
        if count is None:
            yield f"{notebook.name}: code cell {i} was not run"
    for is_error, text in notebook.page.evaluate(OUTPUTS):
        if is_error or any(words in text for words in ERROR_WORDS):
            yield f"{notebook.name}: error output: {text[-500:]}"
    yield from (f"{notebook.name}: no live picture below cell [{i}]" for i in notebook.page.evaluate(NO_PICTURE))
    for live in notebook.lives:
        if np.ptp(Image.open(io.BytesIO(live.picture())).convert("RGB"), axis=(0, 1)).max() == 0:
            yield f"{live.name} is blank"
    if notebook.lives:
        yield from (f"{notebook.name}: {fault}" for fault in axe_faults(notebook.page, [".jp-OutputArea-output"]))


def axe_faults(page: Page, within: list[str] | dict | None = None) -> Iterator[str]:
    """Serious axe-core findings in a page, or in parts of it (`within` is an axe-core context)."""
    for found in Axe().run(page, context=within).response["violations"]:
        if found["impact"] in ("serious", "critical"):
            yield f"{found['id']}: {found['help']}: {found['nodes'][0]['html'][:200]}"


def measure(live: Live, control: Control, limit: int) -> dict:
    """Steps a control up, then down, until enough new pictures arrive or too many do not: a table row.

    Where the model runs, new positions count: its answers at old ones may be cached.
    """
    live.settle()
    at, to, every, new, echoes = control.position(), "forward", [], [], []
    seen = {at}
    while len(every) < WANTED and len(echoes) < 5 * WANTED:
        echoes.append(live.echo())  # also rests the page, as briefly as between the repeats of a held key
        control.move(to)
        milliseconds, before, at = live.settle(), at, control.position()
        if milliseconds is not None:
            every.append(milliseconds)
            new += [milliseconds] * (at not in seen)
            seen.add(at)
        if at == before:
            to = "back" if to == "forward" else "forward"
    times = new if limit == MODEL_LIMIT and len(new) >= FEWEST else every
    limit = round(limit * max(1, median(echoes) / ECHO))
    row = {
        "picture": live.name,
        "control": control.label,
        "presses": len(times),
        "echo": round(median(echoes)),
        "limit": limit,
    }
    return row | ({"median": round(median(times)), "slowest": round(max(times))} if times else {})


def control_faults(live: Live, rows: list[dict], runs_model: set[str]) -> Iterator[str]:
    """Controls that are too slow twice in a row, draw too few pictures to judge, or draw the same one at both ends.

    `runs_model` names the controls that make the model run again; `rows` collects the table rows.
    """
    for control in live.controls:
        start, limit = control.position(), MODEL_LIMIT if control.label in runs_model else LIMIT
        if live.is_canvas:
            limit = CANVAS_LIMIT
        row = measure(live, control, limit)
        if row.get("median", 0) > ROOM * row["limit"]:
            row = measure(live, control, limit)
        rows.append(row)
        if row["presses"] < FEWEST:
            yield f"{live.name}: {control.label!r} drew only {row['presses']} new pictures"
        elif row["median"] > ROOM * row["limit"]:
            yield f"{live.name}: {control.label!r} takes {row['median']} ms, more than a quarter above {row['limit']}"
        control.move("first")
        first = live.picture()
        control.move("last")
        if live.picture() == first:
            yield f"{live.name}: {control.label!r} draws the same picture at both ends"
        control.put(start)


def mouse_faults(live: Live) -> Iterator[str]:
    """Fast-dragged sliders and clicked maps whose picture stays the same or shows an old state."""
    for slider in (control for control in live.controls if control.kind == "range"):
        before = live.picture()
        with live.dragged(slider):
            after = live.picture()
            if after == before:
                yield f"{live.name}: {slider.label!r} was dragged and the picture stays"
            for to in ("back", "forward") if slider.position() else ("forward", "back"):
                slider.move(to)
                live.settle()
            if live.picture() != after:
                yield f"{live.name}: {slider.label!r} was dragged and an old picture stays"
    if live.is_canvas:
        box, pictures = live.image.bounding_box(), {live.picture()}
        for across, down in ((0.35, 0.3), (0.15, 0.7)):  # far apart in its left half
            live.image.click(position={"x": across * box["width"], "y": down * box["height"]})
            pictures.add(live.picture())
        if len(pictures) == 1:
            yield f"{live.name}: clicks change nothing"


def in_place(live: Live, faults: Iterator[str]) -> list[str]:
    """A check's faults, plus one if the picture was not redrawn in place: in the same element, in a cell with as many
    outputs as before."""
    before = live.image.evaluate(HOW_MANY)
    found, after = list(faults), live.image.evaluate(HOW_MANY)  # 0 when the image is no longer in the page
    return found + [f"{live.name}: {before} outputs became {after}"] * (before != after)

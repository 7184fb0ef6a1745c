"""Notebooks in a real JupyterLab and a real browser: they run, and their live pictures do what the reader asks."""

import runpy
from pathlib import Path

from checks import control_faults, in_place, mouse_faults, page_faults
from lab import NOTEBOOKS, Lab, Notebook

output_faults = runpy.run_path(str(NOTEBOOKS.parent / "scripts" / "notebooks.py"))["output_faults"]

# These controls make the compact model run again. All others only redraw.
RUNS_MODEL = {
    "00_meet_fervt": {"face", "strength"},
    "01_data_exploration": {"flip", "degrees", "zoom", "shift", "brightness", "contrast", "erase", "upside down"},
    "05_captum_attribution": {"method", "beside it", "class explained", "face"},
    "07_your_own_face": {
        *("face", "margin", "ten other people", "all expressions equally likely", "expression"),
        *("flip", "shift", "tilt", "light", "average with the mirror image"),
    },
}


def test_all_cells_run_and_all_pictures_show(notebooks: list[Notebook], artefacts: Path):
    for notebook in notebooks:
        notebook.page.screenshot(path=artefacts / f"{notebook.name}.png")
        for live in notebook.lives:
            live.box.screenshot(path=artefacts / f"{live.name.replace(' ', '-')}.png")
    assert [fault for notebook in notebooks for fault in page_faults(notebook)] == []


def test_outputs_are_the_stored_ones(notebooks: list[Notebook]):
    fresh = {NOTEBOOKS / f"{notebook.name}.ipynb": notebook.content() for notebook in notebooks}
    assert {path.stem: faults for path, content in fresh.items() if (faults := output_faults(path, content))} == {}


def test_an_output_that_differs_is_seen(notebooks: list[Notebook]):
    content = notebooks[0].content()
    cell = next(cell for cell in content.cells if any("text" in output for output in cell.get("outputs", [])))
    cell.outputs[0].text = "another"
    assert output_faults(NOTEBOOKS / f"{notebooks[0].name}.ipynb", content) != []


def test_every_control_draws_new_pictures_in_time(notebooks: list[Notebook], latencies: list[dict]):
    faults = []
    for notebook in notebooks:
        for live in notebook.lives:
            faults += in_place(live, control_faults(live, latencies, RUNS_MODEL.get(notebook.name, set())))
    assert faults == []


def test_every_slider_follows_the_mouse_and_clicks_count(notebooks: list[Notebook]):
    lives = [live for notebook in notebooks for live in notebook.lives]
    assert [fault for live in lives for fault in in_place(live, mouse_faults(live))] == []


def test_notebook_7_draws_as_jupyterlab_does(lab: Lab):
    with lab.run_in_notebook_7("02_grid_wise_attention") as notebook:
        (live,) = notebook.lives
        faults = [*page_faults(notebook), *in_place(live, control_faults(live, [], set())), *mouse_faults(live)]
    assert faults == []

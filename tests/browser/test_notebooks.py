"""Notebooks in a real JupyterLab and a real browser: they run, and their live pictures do what the reader asks."""

from pathlib import Path

from checks import control_faults, in_place, mouse_faults, page_faults
from lab import Lab, Notebook

# After these controls the compact model has to run again. All others only draw.
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

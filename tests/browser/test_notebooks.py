"""Every notebook in a real JupyterLab and a real browser: it runs, and its live pictures do what the reader asks."""

from pathlib import Path

from checks import click_faults, keyboard_faults, latency_faults, latency_row, mouse_faults, page_faults
from lab import Notebook

# After these controls the compact model has to run again. All others only draw.
RUNS_MODEL = {
    "01_data_exploration": {"flip", "degrees", "zoom", "shift", "brightness", "contrast", "erase", "upside down"},
    "05_captum_attribution": {"method", "class explained", "face", "steps"},
}


def test_all_cells_run_and_all_pictures_show(notebook: Notebook, artefacts: Path):
    notebook.show_top()
    notebook.page.screenshot(path=artefacts / f"{notebook.name}.png")
    assert page_faults(notebook) == []


def test_latency(notebook: Notebook, latencies: list[dict]):
    rows = [
        latency_row(live, control, runs_model=control.label in RUNS_MODEL.get(notebook.name, ()))
        for live in notebook.lives
        for control in live.controls
    ]
    latencies += rows
    assert latency_faults(rows) == []


def test_keyboard(notebook: Notebook):
    assert [fault for live in notebook.lives for fault in keyboard_faults(live)] == []


def test_mouse(notebook: Notebook, artefacts: Path):
    faults = [fault for live in notebook.lives for fault in mouse_faults(live)]
    for live in notebook.lives:
        live.box.screenshot(path=artefacts / f"{live.name.replace(' ', '-')}.png")
    assert faults == []


def test_clicks(notebook: Notebook):
    assert [fault for live in notebook.lives if live.clickable() for fault in click_faults(live)] == []

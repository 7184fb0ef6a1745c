"""Notebook 01 goes on where FER+ is not whole, and every cell of it can be run again."""

import copy
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from trees import write_fer2013

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_data_exploration.ipynb"


def test_every_cell_runs_twice_in_a_row_though_ferplus_has_only_one_of_its_files(tmp_path, monkeypatch):
    write_fer2013(tmp_path / "ferplus", "csv")
    monkeypatch.setenv("FERVT_DATA", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [copy.deepcopy(cell) for cell in code for _ in range(2)]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.outputs)
    assert said.count("fer2013.csv is there, but not the votes") == 4  # in two cells, each run twice
    assert "fer2013  here: 4 faces in train" in said

"""Notebooks 01 and A1 keep going when FER+ is incomplete, and you can run their cells again."""

import copy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from trees import write_fer2013

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize(("name", "last"), [("01_data_exploration", "a37-code"), ("A1_dataset_formats", "")])
def test_cells_run_twice_in_a_row_though_ferplus_has_only_one_of_its_files(name, last, tmp_path, monkeypatch):
    """Runs up to the last cell that looks for FER+."""
    write_fer2013(tmp_path / "ferplus", "csv")
    monkeypatch.setenv("FERVT_DATA", str(tmp_path))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code = code[: [cell.id for cell in code].index(last) + 1] if last else code
    notebook.cells = [copy.deepcopy(cell) for cell in code for _ in range(2)]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.outputs)
    assert said.count("fer2013.csv is there, but not the votes") == 2  # in one cell, run twice
    assert ("fer2013  here: 4 faces in train" in said) == (name[0] == "A")

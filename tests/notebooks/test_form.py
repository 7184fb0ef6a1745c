"""What every notebook has: a header, short cells, words beside figures, exercises with all they need, questions."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from fervt_course import checks

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LONGEST = 16  # lines of a code cell
HEADER = ("after this notebook you can", "you need", "it takes", "part of the paper")
EXERCISE = re.compile(r"^#+ Exercise \d.*?(?=^#+ Exercise \d|^## Recap|\Z)", re.DOTALL | re.MULTILINE)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def cells(request) -> list[NotebookNode]:
    return nbformat.read(request.param, 4).cells


def code(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code"]


def prose(cells: list[NotebookNode]) -> str:
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def checked(cells: list[NotebookNode]) -> list[str]:
    return [
        check for cell in code(cells) for check in re.findall(r"^print\(checks\.(\w+)\(", cell.source, re.MULTILINE)
    ]


def test_the_first_cell_says_goals_needs_time_and_section(cells):
    first = cells[0].source.lower()
    assert [words for words in HEADER if words not in first] == []
    assert re.search(r"\d+ seconds", first), "no measured time"


def test_code_cells_are_short_and_pictures_have_words(cells):
    assert [cell.id for cell in code(cells) if len(cell.source.splitlines()) > LONGEST] == []
    pictures = [(cell.id, out) for cell in code(cells) for out in cell.outputs if "image/png" in out.get("data", {})]
    alts = [(cell, output.metadata.get("image/png", {}).get("alt", "")) for cell, output in pictures]
    assert pictures and [cell for cell, alt in alts if len(alt.split()) < 4] == []


def test_every_exercise_has_minutes_a_hint_a_check_and_a_folded_solution(cells):
    exercises = EXERCISE.findall(prose(cells))
    for exercise in exercises:
        title = exercise.splitlines()[0]
        assert re.search(r"(easy|medium|hard), \d+ minutes", exercise, re.IGNORECASE), title
        assert re.search(r"<summary>Hint</summary>\s*\S", exercise), title
    solutions = [cell for cell in code(cells) if "solution" in cell.metadata.get("tags", [])]
    solved = {check for cell in solutions for check in re.findall(r"checks\.(\w+)\(.* == \"right\"", cell.source)}
    assert set(checked(cells)) == solved and len(solved) == len(exercises) >= 3
    assert all(cell.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True} for cell in solutions)
    # JupyterLab shows the first line of a folded cell: it must not give the answer away
    assert {cell.source.splitlines()[0] for cell in solutions} == {"# Solution"}


def test_it_asks_before_it_answers_and_ends_with_a_recap_and_questions(cells):
    text = prose(cells)
    assert len(re.findall(r"\*\*Predict", text)) >= 3
    recap = text.split("## Recap")[1]
    questions = re.findall(r"^\d\. ", recap, re.MULTILINE)
    assert "|---" in recap and len(questions) >= 3
    assert len(re.findall(r"<details><summary>Answer</summary>", recap)) == len(questions)


def test_every_check_belongs_to_an_exercise():
    assert {check for path in PATHS for check in checked(nbformat.read(path, 4).cells)} == set(checks.__all__)

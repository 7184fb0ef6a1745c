"""What every notebook has: a header, short cells, words beside figures, exercises with all their parts, questions."""

import re
from pathlib import Path

import nbformat
import pytest

from fervt_lib import checks

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = {path.stem: nbformat.read(path, 4).cells for path in sorted(FOLDER.glob("*.ipynb"))}
LONGEST = 16  # lines of a code cell
HEADER = ("after this notebook you can", "you need", "it takes", "part of the paper")
EXERCISE = re.compile(r"^#+ Exercise \d.*?(?=^#+ Exercise \d|^## Recap|\Z)", re.DOTALL | re.MULTILINE)

every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code(name: str) -> list:
    return [cell for cell in NOTEBOOKS[name] if cell.cell_type == "code"]


def prose(name: str) -> str:
    return "\n\n".join(cell.source for cell in NOTEBOOKS[name] if cell.cell_type == "markdown")


@every_notebook
def test_the_first_cell_says_goals_needs_time_and_section(name):
    first = NOTEBOOKS[name][0].source.lower()
    assert [part for part in HEADER if part not in first] == []
    assert re.search(r"\d+ seconds", first), "no measured time"


@every_notebook
def test_no_code_cell_is_long(name):
    assert [cell.id for cell in code(name) if cell.source.count("\n") >= LONGEST] == []


@every_notebook
def test_every_picture_has_words(name):
    pictures = [(cell.id, out) for cell in code(name) for out in cell.outputs if "image/png" in out.get("data", {})]
    alts = [(cell, output.metadata.get("image/png", {}).get("alt", "")) for cell, output in pictures]
    assert pictures and [cell for cell, alt in alts if len(alt.split()) < 4] == []


@every_notebook
def test_every_exercise_has_minutes_a_hint_a_check_and_a_collapsed_solution(name):
    exercises = EXERCISE.findall(prose(name))
    assert len(exercises) >= 3
    for exercise in exercises:
        title = exercise.splitlines()[0]
        assert re.search(r"(easy|medium|hard), \d+ minutes", exercise, re.IGNORECASE), title
        assert re.search(r"<summary>Hint</summary>\s*\S", exercise), title
    used = {check for cell in code(name) for check in re.findall(r"^print\(checks\.(\w+)\(", cell.source, re.MULTILINE)}
    solved = {check for cell in solutions(name) for check in re.findall(r"checks\.(\w+)\(.* == \"right\"", cell.source)}
    assert used == solved and len(used) == len(exercises)


def solutions(name: str) -> list:
    return [cell for cell in code(name) if "solution" in cell.metadata.get("tags", [])]


@every_notebook
def test_solutions_are_collapsed(name):
    assert solutions(name)
    folded = {"source_hidden": True, "outputs_hidden": True}
    assert all(cell.metadata.jupyter == folded for cell in solutions(name))
    # JupyterLab shows the first line of a folded cell: it must not give the answer away
    assert {cell.source.splitlines()[0] for cell in solutions(name)} == {"# Solution"}


def test_every_check_belongs_to_an_exercise():
    used = set(re.findall(r"print\(checks\.(\w+)\(", "\n".join(cell.source for n in NOTEBOOKS for cell in code(n))))
    assert used == set(checks.__all__)


@every_notebook
def test_it_ends_with_a_recap_and_questions_with_folded_answers(name):
    recap = prose(name).split("## Recap")[1]
    questions = re.findall(r"^\d\. ", recap, re.MULTILINE)
    assert "|---" in recap and len(questions) >= 3
    assert len(re.findall(r"<details><summary>Answer</summary>", recap)) == len(questions)


@every_notebook
def test_there_is_a_question_before_the_answer(name):
    assert len(re.findall(r"\*\*Predict", prose(name))) >= 3

"""What every notebook has: a header, short cells, figures with alt text, complete exercises, questions."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from fervt_course import checks

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LONGEST = 16  # lines per code cell
MOST_CELLS, MOST_MINUTES = 60, 40  # per notebook
WORDS_A_MINUTE, MINUTES_A_CELL = 200, 0.4  # reading speed
HEADER = ("after this notebook you can", "you need", "it takes", "part of the paper")
EXERCISE = re.compile(r"^#+ Exercise \d.*?(?=^#+ Exercise \d|^## Recap|\Z)", re.DOTALL | re.MULTILINE)
CHECKED = re.compile(r"^print\(checks\.(\w+)\(", re.MULTILINE)


def read(path: Path) -> tuple[list[NotebookNode], str]:
    """A notebook's code cells and its text, where a form feed ends each cell."""
    cells = nbformat.read(path, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    return code, "".join(f"{cell.source}\n\f\n" for cell in cells if cell.cell_type == "markdown")


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request) -> tuple[list[NotebookNode], str]:
    return read(request.param)


def test_the_first_cell_says_goals_needs_time_and_section(notebook):
    first = notebook[1].split("\f")[0].lower()
    assert [words for words in HEADER if words not in first] == []
    assert re.search(r"\d+ seconds", first), "no measured time"


def test_it_can_be_read_in_one_sitting_and_says_in_how_many_minutes(notebook):
    code, text = notebook
    cells = len(code) + text.count("\f")
    own = [cell for cell in code if "solution" not in cell.metadata.get("tags", [])]
    minutes = len(text.split()) / WORDS_A_MINUTE + len(own) * MINUTES_A_CELL
    stated = int(re.search(r"(\d+) minutes", text)[1])
    assert cells <= MOST_CELLS and minutes <= MOST_MINUTES
    assert abs(stated - minutes) <= 4 or text.startswith("# 00"), minutes  # 00 is more for looking than for reading


def test_the_first_cell_lists_the_sections(notebook):
    first, *rest = notebook[1].split("\f")
    headings = re.findall(r"^## (?!Recap|Questions|Exercise)(.+)$", "".join(rest), re.MULTILINE)
    listed = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", first.split("**Contents**")[1])
    plain = [re.sub(r"[`*$]", "", heading) for heading in headings]
    assert [title for title, _ in listed] == plain
    assert [target for _, target in listed] == [title.replace(" ", "-") for title in plain]  # JupyterLab's anchors


def test_code_cells_are_short_and_pictures_have_words(notebook):
    code, _ = notebook
    assert [cell.id for cell in code if len(cell.source.splitlines()) > LONGEST] == []
    pictures = [(cell.id, output) for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    alts = [(cell, output.metadata.get("image/png", {}).get("alt", "")) for cell, output in pictures]
    assert pictures and [cell for cell, alt in alts if len(alt.split()) < 4] == []


def test_every_exercise_has_minutes_a_hint_a_check_and_a_folded_solution(notebook):
    code, text = notebook
    exercises = EXERCISE.findall(text)
    for exercise in exercises:
        title = exercise.splitlines()[0]
        assert re.search(r"(easy|medium|hard), \d+ minutes", exercise, re.IGNORECASE), title
        assert re.search(r"<summary>Hint</summary>\s*\S", exercise), title
    solutions = [cell for cell in code if "solution" in cell.metadata.get("tags", [])]
    solved = {check for cell in solutions for check in re.findall(r"checks\.(\w+)\(.* == \"right\"", cell.source)}
    assert {check for cell in code for check in CHECKED.findall(cell.source)} == solved
    assert len(solved) == len(exercises) >= {"# 00": 0, "# A1": 1, "# A2": 2}.get(text[:4], 3)  # the opening has none
    assert all(cell.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True} for cell in solutions)
    shown = [output.get("data", {}).get("text/html", "") for cell in solutions for output in cell.outputs]
    assert [text for text in shown if not text.startswith("<details><summary>")] == [], "not folded"
    # JupyterLab shows the first line of a folded cell: it must not give the answer away
    assert {cell.source.splitlines()[0] for cell in solutions} <= {"# Solution"}


def test_it_asks_before_it_answers_and_ends_with_a_recap_and_questions(notebook):
    _, text = notebook
    assert text.count("**Predict") >= 3
    recap = text.split("## Recap")[1]
    questions = re.findall(r"^\d\. ", recap, re.MULTILINE)
    assert "|---" in recap and recap.count("<details><summary>Answer</summary>") == len(questions) >= 3


def test_every_check_belongs_to_an_exercise():
    sources = [cell.source for path in PATHS for cell in read(path)[0]]
    assert {check for source in sources for check in CHECKED.findall(source)} == set(checks.__all__)

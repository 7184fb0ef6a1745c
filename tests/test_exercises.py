"""Around an exercise: the outputs of solutions are folded, and only JupyterLab remembers what you solved."""

import json

import pytest
from IPython.core.interactiveshell import InteractiveShell

from fervt_course import checks, exercises


def least_loss(votes):
    share = votes / votes.sum(dim=1, keepdim=True)
    return -(share * share.clamp(min=1e-9).log()).sum(dim=1).mean()


def solution_of_it(votes):
    return least_loss(votes)


@pytest.fixture
def in_jupyterlab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "04_gpu_training.ipynb")
    return tmp_path


def test_a_solved_exercise_is_remembered_but_for_solutions_and_shown_by_notebook(in_jupyterlab):
    assert checks.least_loss(solution_of_it) == "right" and not exercises.SOLVED.exists()
    assert "no: " in checks.least_loss(lambda votes: 0.0) and not exercises.SOLVED.exists()
    assert checks.least_loss(least_loss) == checks.least_loss(least_loss) == "right"
    assert json.loads(exercises.SOLVED.read_text()) == ["least_loss"]
    assert "04  □□■  1 of 3" in exercises.progress(checks)
    exercises.SOLVED.write_text("damaged")
    assert "04  □□□  0 of 3" in exercises.progress(checks)


def test_a_folder_that_cannot_be_written_to_is_no_reason_to_refuse_an_answer(in_jupyterlab, monkeypatch):
    monkeypatch.setattr(exercises, "SOLVED", in_jupyterlab / "gone" / "solved.json")
    assert checks.least_loss(least_loss) == "right"


def test_outside_of_jupyterlab_nothing_is_written_or_read(in_jupyterlab, monkeypatch):
    exercises.SOLVED.write_text('["least_loss"]')
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert checks.clip(lambda parameters, limit: None) != "right" and checks.least_loss(least_loss) == "right"
    assert exercises.SOLVED.read_text() == '["least_loss"]' and "1 of" not in exercises.progress(checks)


def test_what_a_solution_prints_is_folded_and_everything_else_is_not(monkeypatch, capsys):
    shell, shown = InteractiveShell(), []
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, **how: shown.append(data))
    exercises.fold_solutions()
    shell.run_cell("# Solution\nprint('a < b')")
    shell.run_cell("# Solution\nsilent = 1")
    assert capsys.readouterr().out == ""
    shell.run_cell("print('open')")
    assert capsys.readouterr().out == "open\n" and len(shown) == 1
    assert "<pre>a &lt; b\n</pre></details>" in shown[0]["text/html"] and shown[0]["text/plain"] == "a < b\n"

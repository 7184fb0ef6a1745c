"""What surrounds an exercise: its solution's output stays folded, and what a reader has solved is remembered."""

import html
import json
import os
import re
from contextlib import suppress
from pathlib import Path

from fervt_lib.disk import FervtError, write_json

SOLUTION = "# Solution"  # the first line of a solution's cell
SOLVED = Path(".solved.json")  # beside the notebooks, in the folder that their kernels work in
WHERE = re.compile(r"Notebook (\w\d), exercise (\d)")  # in a check's docstring


def fold_solutions() -> None:
    """From now on, put what a solution's cell prints below a line that opens when it is clicked.

    JupyterLab itself unfolds the outputs of every cell that it runs.
    """
    try:
        from IPython import get_ipython  # here, since the commands do without it
        from IPython.utils.capture import capture_output
    except ImportError:
        return
    shell, running = get_ipython(), []

    def before(info) -> None:
        if info.raw_cell.startswith(SOLUTION):
            catcher = capture_output(display=False)
            running.append((catcher, catcher.__enter__()))

    def after(_result) -> None:
        if running:
            catcher, caught = running.pop()
            catcher.__exit__(None, None, None)
            if caught.stdout:
                text = html.escape(caught.stdout)
                folded = f"<details><summary>What the solution prints</summary><pre>{text}</pre></details>"
                shell.display_pub.publish({"text/html": folded, "text/plain": caught.stdout})

    if shell is not None:
        shell.events.register("pre_run_cell", before)
        shell.events.register("post_run_cell", after)


def remember(check: str, answer: object) -> None:
    """Note that a reader's own answer is right; a solution's is not noted, nor one outside of JupyterLab."""
    if "JPY_SESSION_NAME" in os.environ and "solution" not in getattr(answer, "__name__", ""):
        with suppress(OSError, FervtError):  # a folder that may not be written to is no reason to refuse an answer
            write_json(SOLVED, sorted({*_solved(), check}))


def progress(checks: object) -> str:
    """Which exercises are solved, a line for each notebook.

    Args:
        checks: the module of all checks; their docstrings say where each belongs.
    """
    solved, rows = _solved(), {}
    for name in checks.__all__:
        notebook, number = WHERE.search(getattr(checks, name).__doc__).groups()
        rows.setdefault(notebook, {})[number] = name in solved
    lines = []
    for notebook, done in sorted(rows.items()):
        marks = "".join("■" if done[number] else "□" for number in sorted(done))
        lines.append(f"{notebook}  {marks}  {sum(done.values())} of {len(done)}")
    return "\n".join(lines)


def _solved() -> list[str]:
    if "JPY_SESSION_NAME" not in os.environ or not SOLVED.is_file():
        return []
    try:
        return json.loads(SOLVED.read_text(encoding="utf-8"))
    except ValueError:  # damaged: begin anew
        return []

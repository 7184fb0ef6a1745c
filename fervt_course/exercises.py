"""Support for the exercises: fold the output of solutions, and remember what a reader has solved."""

import html
import json
import os
import re
from contextlib import suppress
from pathlib import Path

from fervt_lib.disk import FervtError, write_json

SOLUTION = "# Solution"  # the first line of a solution's cell
SOLVED = Path(".solved.json")  # next to the notebooks, in their kernels' working directory
WHERE = re.compile(r"Notebook (\w\d), exercise (\d)")  # in a check's docstring


def fold_solutions() -> None:
    """From now on, fold whatever a solution cell prints under a line that opens with a click.

    We do this ourselves because JupyterLab unfolds the output of every cell it runs.
    """
    try:
        from IPython import get_ipython  # here, because the commands work without it
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
    """Remember that a reader solved an exercise. Solutions, and answers outside JupyterLab, do not count."""
    if "JPY_SESSION_NAME" in os.environ and "solution" not in getattr(answer, "__name__", ""):
        with suppress(OSError, FervtError):  # a read-only folder is no reason to reject an answer
            write_json(SOLVED, sorted({*_solved(), check}))


def progress(checks: object) -> str:
    """Show which exercises are solved, one line per notebook.

    Args:
        checks: the module with all checks; each docstring says where its exercise is.
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
    except ValueError:  # damaged: start over
        return []

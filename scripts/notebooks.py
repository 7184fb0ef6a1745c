"""Run the notebooks from top to bottom and store them in one normal form.

    python scripts/notebooks.py                 run every notebook in notebooks/ and write the result
    python scripts/notebooks.py --check         run, write nothing, compare with the stored outputs (except pictures)
    python scripts/notebooks.py --check-form    do not run: is the stored file complete and in normal form?

Normal form leaves out everything that differs between runs or machines (language version, timings, widget ids), so
running a notebook twice gives the same bytes. It stores live widgets as a still picture and text.
"""

import argparse
import copy
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from fervt_lib.disk import written_whole

FOLDER = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
RUN_METADATA = ("execution", "ExecuteTime", "trusted")  # cell metadata that a run adds
RUN_ERRORS = (CellExecutionError, CellTimeoutError, DeadKernelError)


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run a copy of the notebook in a fresh kernel whose working directory is `folder`, and return it."""
    notebook = copy.deepcopy(notebook)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False, resources=resources).execute()
    return notebook


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return a copy in normal form. Cells keep their ids, sources and numbers."""
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for key in RUN_METADATA:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _merge_streams(_drop_views(cell.outputs))
    return notebook


def _drop_views(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Drop widget views, whose ids mean nothing after the run, and outputs that held nothing else."""
    for output in outputs:
        if "data" in output:
            output.data.pop(WIDGET_VIEW, None)
    return [output for output in outputs if output.get("data") != {}]


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Merge neighboring pieces of one stream, because the kernel cuts it at random places."""
    merged = []
    for output in outputs:
        if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def to_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as the bytes of the stored file."""
    return (nbformat.writes(notebook) + "\n").encode()


def form_faults(path: Path) -> list[str]:
    """List what is wrong with the stored file, one line per fault, without running it."""
    notebook = nbformat.read(path, as_version=4)
    faults = [] if to_bytes(normalise(notebook)) == path.read_bytes() else ["not in normal form: make notebooks"]
    code = [(index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for number, (index, cell) in enumerate(code, 1):
        if cell.execution_count != number:
            faults.append(f"cell {index} has the number {cell.execution_count}, not {number}")
        if any(output.output_type == "error" for output in cell.outputs):
            faults.append(f"cell {index} ends in an error")
        if any(output.get("name") == "stderr" for output in cell.outputs):
            faults.append(f"cell {index} writes to stderr")
    return faults


def run_faults(path: Path) -> list[str]:
    """Run the notebook in memory and list what is wrong with the stored file."""
    return form_faults(path) + output_faults(path, run(nbformat.read(path, as_version=4), path.parent))


def output_faults(path: Path, fresh: NotebookNode) -> list[str]:
    """List the stored cells whose outputs differ from those of a fresh run; this does not compare pictures."""
    stored, fresh = nbformat.read(path, as_version=4), normalise(fresh)
    pairs = enumerate(zip(stored.cells, fresh.cells, strict=True))
    return [f"cell {i}: the outputs differ from the stored ones" for i, (old, new) in pairs if _text(old) != _text(new)]


def _text(cell: NotebookNode) -> list[NotebookNode]:
    """The cell's outputs with a placeholder for every picture."""
    outputs = copy.deepcopy(cell.get("outputs", []))
    for output in outputs:
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = "picture"
            output.data.pop("text/html", None)  # JupyterLab's second copy of the picture, with its text
    return outputs


def store(path: Path) -> list[str]:
    """Run the notebook and replace the file with the result."""
    executed = run(nbformat.read(path, as_version=4), path.parent)
    with written_whole(path) as part:
        part.write_bytes(to_bytes(normalise(executed)))
    return form_faults(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: notebooks/*.ipynb")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", dest="work", action="store_const", const=run_faults, default=store)
    mode.add_argument("--check-form", dest="work", action="store_const", const=form_faults)
    args = parser.parse_args()
    failed = False
    for path in args.notebooks or sorted(FOLDER.glob("*.ipynb")):
        try:
            faults = args.work(path)
        except RUN_ERRORS as error:
            faults = [str(error)]
        for fault in faults:
            print(f"{path}: {fault}", file=sys.stderr)
        failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

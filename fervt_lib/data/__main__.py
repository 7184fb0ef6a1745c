"""Look at a dataset's folder and prepare it: `python -m fervt_lib.data rafdb ~/rafdb`.

Says which layout it has, how many faces of each expression, and what is missing or odd: counts unlike the known ones,
identical pictures, the same face in two splits, pictures of the wrong size or that cannot be read. After that the
dataset is in the cache and loads at once. No file in the folder is changed.
"""

import argparse
import sys
from pathlib import Path

from .cache import cache_folder
from .doctor import DATASETS, Findings, examine
from .files import find_root

MOST = 20  # faults shown


def _folder(name: str) -> str:
    return "ferplus" if name == "fer2013" else name  # both read fer2013.csv


def report(name: str, root: Path, findings: Findings) -> str:
    """Findings as lines a person reads."""
    lines = [f"{name} in {root}", f"layout: {findings.layout}"]
    if not findings.counts.empty:
        counts = findings.counts.map("{:,}".format).to_string()
        lines += [f"faces ({findings.protocol}):", "", counts, "", f"prepared: it is in {cache_folder()}"]
        if root.resolve() != (usual := find_root(_folder(name))).resolve():
            lines += [f"to use it: load({name!r}, root={str(root)!r}); commands look in {usual}, so link it there"]
    lines += [f"odd: {text}" for text in findings.odd]
    if not (findings.odd or findings.faults):
        lines += ["nothing odd: no count unlike those that are known, no picture twice"]
    lines += [f"fault: {text}" for text in findings.faults[:MOST]]
    if len(findings.faults) > MOST:
        lines += [f"and {len(findings.faults) - MOST:,} faults more"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fervt_lib.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("path", type=Path, nargs="?", help="its folder; without it, where the loaders look")
    args = parser.parse_args(arguments)
    root = find_root(_folder(args.dataset), args.path)
    try:
        findings = examine(args.dataset, root)
    except OSError as error:  # a folder that may not be looked into
        sys.exit(f"error: {error}; give yourself the right to read it, or name another folder")
    print(report(args.dataset, root, findings))
    sys.exit(bool(findings.faults))


if __name__ == "__main__":
    main()

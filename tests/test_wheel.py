"""The wheel, built from a clean copy and installed elsewhere: everything works outside the clone, without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("drawn_faces", "fervt_course", "fervt_lib")
# The README's lines, and where a library without a clone looks for data, records and its own files.
SCRIPT = """
import json, os, torch
import drawn_faces, fervt_course, fervt_lib
from fervt_course.records import RESULTS
from fervt_course.release import card_text
from fervt_lib import FERVT_Compact_Weights, cli
from fervt_lib.data import find_root

weights = FERVT_Compact_Weights.FERPLUS
trace = fervt_lib.fervt_compact(weights="ferplus").trace(weights.transforms()(torch.zeros(3, 48, 48))[None])
packages = [package.__path__[0] for package in (drawn_faces, fervt_course, fervt_lib)]
assert os.path.isfile(os.path.join(packages[2], "widget.js"))
paths, meta = [*packages, str(find_root("ferplus")), str(RESULTS)], weights.meta
print(json.dumps([paths, len(meta["classes"]), trace.logits.shape[1], meta["accuracy"], card_text()]))
cli.main(["--help"])
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "FERVT_DATA"} | variables
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_wheel_works_outside_the_clone(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    copy, wheel, target = tmp_path / "copy", tmp_path / "wheel", tmp_path / "installed"
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    pip = ("-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", wheel, copy, cwd=tmp_path)
    run(*pip, "install", "--no-deps", "--no-index", "--target", target, *wheel.iterdir(), cwd=tmp_path)
    assert {path.name for path in target.iterdir() if path.suffix != ".dist-info"} - {"bin"} == set(PACKAGES)
    assert len(list(target.glob("*.dist-info/licenses/LICENSE"))) == 1

    shutil.copytree(copy / "data" / "results", tmp_path / "data" / "results")
    shutil.rmtree(copy)
    answers, usage = run("-c", SCRIPT, cwd=tmp_path, PYTHONPATH=str(target)).split("\n", 1)
    paths, classes, logits, accuracy, card = json.loads(answers)
    below = [*(target / name for name in PACKAGES), tmp_path / "data" / "ferplus", tmp_path / "data" / "results"]
    assert paths == [str(path) for path in below]
    assert logits == classes and accuracy == {"majority": 0.8858, "argmax": 0.8449}
    assert card == (ROOT / "fervt_lib" / "weights" / "README.md").read_text(encoding="utf-8")
    assert [command for command in ("data", "train", "evaluate", "ablate", "card") if command not in usage] == []

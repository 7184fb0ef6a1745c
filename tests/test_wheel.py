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
# README's lines, and where a library without a clone looks for data, records and its own files.
SCRIPT = """
import json, sys
import torch
import drawn_faces, fervt_course, fervt_lib
from fervt_course.records import RESULTS
from fervt_course.release import card_text
from fervt_lib import FERVT_Compact_Weights, cli
from fervt_lib.data import find_root

weights = FERVT_Compact_Weights.FERPLUS
trace = fervt_lib.fervt_compact(weights="ferplus").trace(weights.transforms()(torch.zeros(3, 48, 48))[None])
answers = {
    "packages": [package.__path__[0] for package in (drawn_faces, fervt_course, fervt_lib)],
    "class": weights.meta["classes"][trace.logits.argmax()], "accuracy": weights.meta["accuracy"],
    "faces": str(find_root("ferplus")), "records": str(RESULTS), "card": card_text(),
}
print(json.dumps(answers))
sys.stdout.flush()
cli.main(["--help"])
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "FERVT_DATA"} | variables
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    copy, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("installed")
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run("-m", "pip", "install", *offline, "--target", target, copy, cwd=copy)
    return target


def test_it_holds_the_packages_and_the_license_alone(installed):
    assert {path.name for path in installed.iterdir() if "." not in path.name} - {"bin"} == set(PACKAGES)
    assert len(list(installed.glob("*.dist-info/licenses/LICENSE"))) == 1


def test_it_works_outside_the_clone(installed, tmp_path):
    shutil.copytree(ROOT / "data" / "results", tmp_path / "data" / "results")
    answers, usage = run("-c", SCRIPT, cwd=tmp_path, PYTHONPATH=str(installed)).split("\n", 1)
    answers = json.loads(answers)
    assert answers["packages"] == [str(installed / name) for name in PACKAGES]
    assert answers["class"] in ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    assert answers["accuracy"] == {"majority": 0.8874, "argmax": 0.8455}
    assert answers["faces"] == str(tmp_path / "data" / "ferplus")
    assert answers["records"] == str(tmp_path / "data" / "results")
    assert answers["card"] == (ROOT / "fervt_lib" / "weights" / "README.md").read_text(encoding="utf-8")
    assert [command for command in ("data", "train", "evaluate", "ablate", "card") if command not in usage] == []

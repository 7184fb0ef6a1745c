"""The house is in order: dependencies listed once, imports in one direction, notebooks run, no large files."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGE_OF = {"PIL": "pillow", "skimage": "scikit-image", "dlib": "dlib-bin"}
PACKAGE_OF |= {"huggingface_hub": "huggingface-hub"}  # imports that differ from their package name
# What each layer of the library, and each package beside it, may import from the others.
LAYERS = {"drawn_faces": "", "disk": "", "pictures": "disk", "plots": "", "widgets": "plots"}
LAYERS |= {"data": "disk pictures drawn_faces", "model": "disk pictures"}
LAYERS |= {name: "disk data model" for name in ("engine", "explain", "export", "hub")}
LAYERS |= {"evaluation": "disk data model pictures", "photo": "disk data evaluation model pictures"}
LAYERS |= {"training": "disk data model evaluation engine", "benchmark": "disk data model engine training"}
LAYERS |= {"cli": "disk data model evaluation explain export photo training", "__main__": "cli"}
LAYERS |= {"__init__": "disk model photo"}
LAYERS |= {"fervt_course": f"fervt_lib drawn_faces {LAYERS['cli']} pictures plots widgets"}
# Modules of fervt_course that no command needs.
FOR_NOTEBOOKS = ("own_photo.py", "diagram.py", "exercises.py", "training_picture.py", "attribution.py")
# The library without the packages that only the course or the command line needs.
WITHOUT_COURSE = """
import sys
from importlib.metadata import Distribution, PackageNotFoundError
ABSENT = ("anywidget", "captum", "dlib", "IPython", "jupyterlab", "matplotlib", "skimage", "traitlets", "tyro")
ABSENT += ("torchmetrics",)  # it takes seconds to import, and only scores need it
found = Distribution.from_name

def refuse(name, *_, error=ModuleNotFoundError):
    if name.split(".")[0] in ABSENT:
        raise error(f"no {name}", name=name)

sys.meta_path.insert(0, type("Absent", (), {"find_spec": staticmethod(refuse)}))
Distribution.from_name = lambda name: refuse(name, error=PackageNotFoundError) or found(name)
import fervt_lib, fervt_lib.data, fervt_lib.training, fervt_lib.evaluation, fervt_lib.explain
"""


def layer(module: str) -> str:
    """The row of LAYERS that a module belongs to, or its top package if it is in none."""
    top, *rest = module.split(".")
    return rest[0] if top == "fervt_lib" and rest and rest[0] in LAYERS else top


def imports() -> Iterator[tuple[Path, str, str, bool]]:
    """All imports: the file, its layer, the full name it imports, and whether importing the file triggers it."""
    for path in (path for top in ("drawn_faces", "fervt_lib", "fervt_course") for path in (ROOT / top).rglob("*.py")):
        *package, name = path.relative_to(ROOT).with_suffix("").parts
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                start = "." * getattr(node, "level", 0) + (getattr(node, "module", "") or "")
                base = f"{resolve_name(start, '.'.join(package))}." if start else ""
                where = layer(".".join([*package, name]))
                yield from ((path, where, base + alias.name, node in tree.body) for alias in node.names)


def test_conda_environment_is_the_pip_environment():
    packages = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert packages == [f"python{PROJECT['requires-python']}", "pip", {"pip": ["-e .[course,test]"]}]


def test_imports_are_declared_and_those_of_the_course_stay_in_its_layers():
    lists = PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in ("course", "export"))
    core, course, export = ({Requirement(line).name for line in lines} for lines in lists)
    used, wrong = set(), []
    for path, where, module, at_once in imports():
        top = module.split(".")[0]
        allowed = {"numpy", "pillow"} if where == "drawn_faces" else core - {"tyro"}
        if where in ("plots", "widgets") or path.name in FOR_NOTEBOOKS or (path.name == "crop.py" and not at_once):
            allowed |= course
        if where == "export" and not at_once:
            allowed |= export
        if where in ("cli", "fervt_course"):
            allowed |= {"tyro"}
        used.add(PACKAGE_OF.get(top, top.lower()))
        if PACKAGE_OF.get(top, top.lower()) not in allowed | {"fervt_lib", *LAYERS} | sys.stdlib_module_names:
            wrong.append(f"{path} imports {module}")
    assert wrong == [] and core <= used


def test_an_old_python_is_refused_at_once_with_and_without_make(tmp_path):
    """The installed Python pretends to be Python 3.10."""
    old = "import sys; sys.version_info = (3, 10)"
    setup = f"{old}; exec(open({str(ROOT / 'setup.py')!r}).read())"
    python = tmp_path / "python3.10"
    python.write_text(f"#!/bin/sh\nshift; exec {sys.executable} -c \"{old}; exec('''$1''')\"\n")
    python.chmod(0o755)
    for path in ("Makefile", "pyproject.toml", "scripts/jupyter_server_config.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    for command in ([sys.executable, "-c", setup], ["make", "env", f"PYTHON={python}"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode and "Python 3.11 or newer is needed" in done.stderr
        assert not (tmp_path / ".venv").exists()
    check = re.search(r"^NEW_ENOUGH = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert subprocess.run([sys.executable, *shlex.split(check)]).returncode == 0  # the installed Python


@pytest.mark.parametrize(("place", "is_made"), [("here", True), ("where the clone was", False)])
def test_the_environment_of_a_clone_that_was_moved_is_made_again(tmp_path, place, is_made):
    for path in ("Makefile", "pyproject.toml", "scripts/jupyter_server_config.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").write_text(f"{tmp_path if is_made else '/elsewhere'}\n")
    assert subprocess.run(["make", "--question", "env"], cwd=tmp_path).returncode == (0 if is_made else 1), place


def test_the_library_is_imported_without_the_course_and_without_what_only_scores_need():
    subprocess.run([sys.executable, "-c", WITHOUT_COURSE], check=True)


def test_arrows_point_in_one_direction():
    found = list(imports())
    others = {where: {"fervt_lib", *LAYERS} - {where, *LAYERS[where].split()} for _, where, *_ in found}
    assert [f"{path} imports {module}" for path, where, module, _ in found if layer(module) in others[where]] == []
    assert others.keys() == LAYERS.keys()


def test_no_tracked_file_is_over_10_mb():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    paths = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).rstrip("\0").split("\0")
    assert [path for path in paths if (ROOT / path).is_file() and (ROOT / path).stat().st_size > 10 * 2**20] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_run_and_in_normal_form(path):
    assert runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))["form_faults"](path) == []

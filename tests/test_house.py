"""The house is in order: dependencies named once, layers in one direction, notebooks run, no large files."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "fervt_lib"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGE_OF = {"PIL": "pillow", "skimage": "scikit-image", "IPython": "ipython"}  # where the import has another name

# What each part of the library may import from the rest of it; `__init__` offers what it likes.
MAY_IMPORT = {
    "data": set(),
    "model": set(),
    "plots": set(),
    "evaluation": {"data", "model"},
    "training": {"data", "model", "evaluation"},
    "faults": {"data", "model"},
    "ablation": {"data", "model", "evaluation", "training", "faults"},
    "protocol": {"data", "model", "evaluation", "training", "ablation"},
    "explain": {"data", "model"},
    "widgets": {"explain", "plots"},
    "checks": {"data", "model", "evaluation", "explain"},
    "__init__": {"data", "model", "plots", "evaluation", "training", "explain", "widgets", "checks"},
}


def imports(source: str, package: str) -> Iterator[str]:
    """Every module that `source`, a module of `package`, imports, by its full name; inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module == "fervt_lib":  # `from . import plots` names a part only in what it imports
                yield from (f"fervt_lib.{alias.name}" for alias in node.names)
            else:
                yield module


def library_imports() -> Iterator[tuple[Path, str]]:
    """Every pair of a library file, relative to the library, and a module that it imports."""
    for path in sorted(LIBRARY.rglob("*.py")):
        package = ".".join(path.relative_to(ROOT).parent.parts)
        for module in imports(path.read_text(encoding="utf-8"), package):
            yield path.relative_to(LIBRARY), module


def requirement_names(requirements: list[str]) -> set[str]:
    return {Requirement(line).name.lower() for line in requirements}


def test_conda_environment_is_the_pip_environment():
    packages = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = PROJECT["requires-python"]
    assert packages == [f"python{python}", "pip", {"pip": ["-e .[test]"]}]
    assert python == ">=3.11"
    assert requirement_names(PROJECT["optional-dependencies"]["test"]) >= {"nbval", "pytest", "ruff"}


def test_imports_are_declared_dependencies():
    declared = requirement_names(PROJECT["dependencies"]) | {"fervt_lib"}
    tops = {(path, module.split(".")[0]) for path, module in library_imports()}
    foreign = {(path, PACKAGE_OF.get(top, top)) for path, top in tops if top not in sys.stdlib_module_names}
    assert foreign, "no import was found"
    undeclared = sorted(f"{path} imports {name}" for path, name in foreign if name not in declared)
    assert not undeclared


def test_layers_point_in_one_direction():
    wrong, seen = [], set()
    for path, module in library_imports():
        part = path.parts[0].removesuffix(".py")
        assert part in MAY_IMPORT, f"fervt_lib/{path} is in no layer: give it one in MAY_IMPORT"
        names = module.split(".")
        if names[0] == "fervt_lib" and len(names) > 1 and names[1] not in MAY_IMPORT[part] | {part}:
            wrong.append(f"fervt_lib/{path} imports {module}")
        seen.add(part)
    assert seen >= {"data", "model", "training"}
    assert not wrong


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("from .data import load", "fervt_lib.data"),
        ("from . import plots", "fervt_lib.plots"),
        ("def f():\n    import fervt_lib.model.grid", "fervt_lib.model.grid"),
        ("from fervt_lib import widgets", "fervt_lib.widgets"),
    ],
)
def test_every_way_to_import_is_seen(line, module):
    assert list(imports(line, "fervt_lib")) == [module]


def test_import_from_the_package_above_is_seen():
    assert list(imports("from ..data.labels import USAGES", "fervt_lib.model")) == ["fervt_lib.data.labels"]
    assert list(imports("from .grid import spread", "fervt_lib.model")) == ["fervt_lib.model.grid"]


def test_no_tracked_file_is_over_10_mb():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert paths
    assert not [str(path) for path in paths if path.is_file() and path.stat().st_size > 10 * 2**20]


def test_notebooks_are_there_in_order():
    numbers = [int(re.match(r"\d\d", path.name).group()) for path in NOTEBOOKS]
    assert numbers, "no notebook"
    assert numbers == sorted(set(numbers)), "two notebooks with one number"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_run_and_in_normal_form(path):
    assert runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))["form_faults"](path) == []

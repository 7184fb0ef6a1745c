"""A JupyterLab and a browser for the session, pages for the notebooks, and a table of latencies at the end."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, Notebook, start_lab
from playwright.sync_api import Browser, Error, sync_playwright

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
PAIRS = [NAMES[i : i + 2] for i in range(0, len(NAMES), 2)]  # two run at a time
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: it does not start for root. The rest keeps the browser off the network and the screen.
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
FLAGS += [f"--disable-{feature}" for feature in ("quic", "background-networking", "component-update", "sync")]
LATENCIES = pytest.StashKey[list[dict]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LATENCIES] = []


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """The table of latencies, whether the tests passed or not."""
    rows = config.stash[LATENCIES]
    if rows:
        terminalreporter.section("from key press to new picture")
        terminalreporter.line(f"{'median':>9} {'slowest':>9} {'limit':>9} {'presses':>7} {'slowness':>8}  control")
    for row in rows:
        times = " ".join(f"{row.get(key, float('nan')):6.0f} ms" for key in ("median", "slowest", "limit"))
        name = f"{row['picture']}: {row['control']}"
        terminalreporter.line(f"{times} {row['presses']:7} {row['slowness']:8.1f}  {name}")


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """The folder that keeps screenshots, latencies and JupyterLab's log."""
    folder = Path(os.environ.get("FERVT_ARTEFACTS") or Path(__file__).parent / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def latencies(artefacts: Path, pytestconfig: pytest.Config) -> Iterator[list[dict]]:
    """Rows of the table; written down at the end."""
    yield pytestconfig.stash[LATENCIES]
    text = json.dumps(pytestconfig.stash[LATENCIES], indent=1)
    (artefacts / "latency.json").write_text(f"{text}\n")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the system's or playwright's own."""
    paths, reasons = [*filter(None, map(shutil.which, SYSTEM_BROWSERS)), None], []  # None: playwright's own
    with sync_playwright() as playwright:
        for path in paths:
            try:
                browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
                break
            except Error as error:
                reasons.append(error.message.splitlines()[0])
        else:
            pytest.skip(f"no Chromium: `.venv/bin/playwright install chromium` or your system's package ({reasons[0]})")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running JupyterLab that serves a copy of the notebooks."""
    with start_lab(browser, NOTEBOOKS, tmp_path_factory.mktemp("lab"), artefacts / "lab.log") as lab:
        yield lab


@pytest.fixture(scope="session", params=PAIRS, ids="+".join)
def notebooks(request: pytest.FixtureRequest, lab: Lab) -> Iterator[list[Notebook]]:
    """Two notebooks after Run All Cells. pytest does all tests of them before it opens the next."""
    with lab.run(*request.param) as notebooks:
        yield notebooks

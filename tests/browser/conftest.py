"""A JupyterLab and a browser for the session, pages for the notebooks, and a table of latencies at the end."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from lab import AT_ONCE, NOTEBOOKS, Lab, Notebook, start_lab
from playwright.sync_api import Browser, Error, sync_playwright

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
GROUPS = [NAMES[i : i + AT_ONCE] for i in range(0, len(NAMES), AT_ONCE)]
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: it does not start as root. The other flags keep the browser off the network and the screen.
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
# A fake camera, and no permission prompt for it.
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
FLAGS += [f"--disable-{feature}" for feature in ("quic", "background-networking", "component-update", "sync")]
ARTEFACTS = Path(os.environ.get("FERVT_ARTEFACTS") or Path(__file__).parent / "artefacts")
ROWS = []  # table rows


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints the table of latencies, whether or not the tests passed."""
    if ROWS:
        (ARTEFACTS / "latency.json").write_text(f"{json.dumps(ROWS, indent=1)}\n")
        terminalreporter.section("milliseconds from key press to new picture")
        terminalreporter.line(pd.DataFrame(ROWS).to_string(index=False))


@pytest.fixture(scope="session")
def latencies() -> list[dict]:
    return ROWS


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """The folder that keeps screenshots, latencies and JupyterLab's log."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: playwright's own or the system's."""
    with sync_playwright() as playwright:
        own, systems = playwright.chromium.executable_path, filter(None, map(shutil.which, SYSTEM_BROWSERS))
        try:
            path = own if Path(own).exists() else next(systems, own)
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            pytest.skip(f"no Chromium: `.venv/bin/playwright install chromium` or your system's package ({error})")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with start_lab(browser, NOTEBOOKS, tmp_path_factory.mktemp("lab"), artefacts / "lab.log") as lab:
        yield lab


@pytest.fixture(scope="session", params=GROUPS, ids="+".join)
def notebooks(request: pytest.FixtureRequest, lab: Lab) -> Iterator[list[Notebook]]:
    """A group of notebooks after Run All Cells. pytest runs all their tests before it opens the next."""
    with lab.run(*request.param) as notebooks:
        yield notebooks

"""JupyterLab as a reader has it: a server of its own, and pages in which all cells of a notebook were run."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from live import Live
from playwright.sync_api import Browser, Page, TimeoutError

STARTUP, RUN = 60, 300  # seconds: until the server answers; until a notebook has run
OPTIONS = ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1"]
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}

# `jupyterapp` is JupyterLab's own object: it knows cells that are scrolled out of sight, too.
CODE = """[...jupyterapp.shell.currentWidget.content.widgets].filter(
    cell => cell.model.type == "code" && cell.model.sharedModel.getSource().trim())"""
COUNTS = f"{CODE}.map(cell => cell.model.executionCount)"
BUSY = f"{CODE}.some(cell => cell.model.executionState == 'running')"
IDLE = "document.querySelector('#jp-main-statusbar')?.textContent.includes('| Idle')"
LOADED = """![...document.querySelectorAll(".jp-OutputArea-output")].some(e => e.textContent == "Loading widget...")
    && [...document.querySelectorAll(".widget-image")].every(image => image.complete)"""
NO_PICTURE = f"""{CODE}.filter(cell => /^LivePicture\\(/m.test(cell.model.sharedModel.getSource())
    && !cell.node.querySelector(".widget-image")).map(cell => cell.model.executionCount)"""


@dataclass
class Notebook:
    """A notebook that was opened in a page and run from the menu."""

    name: str
    page: Page

    @cached_property
    def lives(self) -> list[Live]:
        """Its live pictures, from top to bottom."""
        images = self.page.query_selector_all(".widget-image")
        return [Live(f"{self.name} picture {i}", self.page, image) for i, image in enumerate(images, 1)]

    def show_top(self) -> None:
        """Scrolls to the first cell."""
        self.page.query_selector(".jp-Cell").scroll_into_view_if_needed()
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def counts(self) -> list[int | None]:
        """The execution counts of its code cells; None where a cell was not run."""
        return self.page.evaluate(COUNTS)

    def without_picture(self) -> list[int]:
        """The execution counts of cells that make a live picture and show none."""
        return self.page.evaluate(NO_PICTURE)


@dataclass
class Lab:
    """A running server. `folder` holds the notebooks it serves."""

    browser: Browser
    url: str
    token: str
    folder: Path

    @contextlib.contextmanager
    def run(self, name: str) -> Iterator[Notebook]:
        """Opens a notebook, runs all cells from the menu; at the end its kernel is shut down."""
        _forget_counts(self.folder / name)
        page = self.browser.new_page(viewport={"width": 1300, "height": 1000})
        try:
            page.goto(f"{self.url}/lab/tree/{name}?token={self.token}&reset")
            page.wait_for_function(IDLE, timeout=STARTUP * 1000)
            page.wait_for_timeout(1000)  # JupyterLab is ready a little after it says so
            _run_all_cells(page)
            yield Notebook(name.removesuffix(".ipynb"), page)
            page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
        finally:
            page.close()


@contextlib.contextmanager
def start_lab(browser: Browser, notebooks: Path, scratch: Path, log: Path) -> Iterator[Lab]:
    """A server on loopback, with a token, on a copy of the notebooks; none of the user's settings reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Lab(browser, f"http://127.0.0.1:{port}", secrets.token_hex(), scratch / "notebooks")
    shutil.copytree(notebooks, lab.folder, ignore=shutil.ignore_patterns(".*"))
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--IdentityProvider.token={lab.token}"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={lab.folder}"]
    with log.open("wb") as to:
        # A session of its own: Ctrl-C reaches pytest alone, which then ends the server below.
        server = subprocess.Popen(command, env=_environment(scratch), stdout=to, stderr=to, start_new_session=True)
    try:
        _wait_until_up(server, port, log)
        yield lab
    finally:
        _end(server)


def _environment(scratch: Path) -> dict[str, str]:
    """The environment of the server: its own settings, and drawn faces only."""
    settings = scratch / "settings"
    news = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps(NO_NEWS))
    folders = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    own = {f"JUPYTER_{key}_DIR": str(scratch / name) for key, name in folders.items()}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "workspaces")}
    own |= {"IPYTHONDIR": str(scratch / "ipython"), "FERVT_DATA": "no-real-faces"}
    return os.environ | own


def _wait_until_up(server: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTUP
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start, see {log}")


def _end(server: subprocess.Popen) -> None:
    server.terminate()  # it shuts its kernels down first
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()


def _forget_counts(path: Path) -> None:
    """Takes the execution counts out of the file: a count in the page then means that the cell was run there."""
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
    path.write_text(json.dumps(notebook))


def _run_all_cells(page: Page) -> None:
    for _ in range(3):  # a click that comes too early is lost
        page.click(".lm-MenuBar-item:has-text('Run')")
        page.click(".lm-Menu-item:has-text('Run All Cells')")
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(f"{BUSY} || {COUNTS}.some(Boolean)", timeout=5000)
            break
    page.wait_for_function(f"!{BUSY} && {IDLE} && {COUNTS}.some(Boolean)", timeout=RUN * 1000)
    with contextlib.suppress(TimeoutError):  # a widget that never loads is for the checks to tell
        page.wait_for_function(LOADED, timeout=10_000)

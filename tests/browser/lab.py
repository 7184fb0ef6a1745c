"""JupyterLab and Notebook 7 as a reader sees them: one server, and pages where all cells of a notebook have run."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from live import EXECUTE, PICTURES, Live
from playwright.sync_api import Browser, Page, TimeoutError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
AT_ONCE = 5  # notebooks that run side by side
HANGS = 900  # seconds: anything slower has hung, however busy the machine is
COMMAND = "-m jupyterlab --no-browser --allow-root --expose-app-in-browser --ServerApp.ip=127.0.0.1"
COMMAND += " --JupyterNotebookApp.expose_app_in_browser=True"
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
# Notebooks that run side by side get one thread each, and all threads afterwards. Threads sleep while they wait for
# each other: if they stay awake, training is ten times slower on a busy machine.
ENVIRONMENT = {"FERVT_DATA": "no-real-faces", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
ALL_THREADS = f"import torch; torch.set_num_threads({os.cpu_count()})"

# `jupyterapp` is JupyterLab's own object: it also knows cells that are scrolled out of sight.
CODE = """[...jupyterapp.shell.currentWidget.content.widgets].filter(
    cell => cell.model.type == "code" && cell.model.sharedModel.getSource().trim())"""
COUNTS = f"{CODE}.map(cell => cell.model.executionCount)"
OPEN = "path => jupyterapp.commands.execute('docmanager:open', {path}).then(() => null)"
CLOSE = """async () => {
    const notebook = jupyterapp.shell.currentWidget;
    await notebook.sessionContext.shutdown();
    notebook.dispose();
}"""
FORGET = f"{CODE}.forEach(cell => cell.model.executionCount = null)"  # a count then means that the cell ran here
BUSY = f"{CODE}.some(cell => cell.model.executionState == 'running')"
CONTENT = "jupyterapp.shell.currentWidget.content.model.toJSON()"
IDLE = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
LOADED = """![...document.querySelectorAll(".jp-OutputArea-output")].some(e => e.textContent == "Loading widget...")
    && [...document.querySelectorAll(".fervt-view img")].every(image => image.complete)"""
# Execution counts of the cells that make a live picture but show none.
NO_PICTURE = f"""{CODE}.filter(cell => /^LivePicture\\(/m.test(cell.model.sharedModel.getSource())
    && !cell.node.querySelector("{PICTURES}")).map(cell => cell.model.executionCount)"""


@dataclass
class Notebook:
    """A notebook opened in a page and run from the menu."""

    name: str
    page: Page

    @cached_property
    def lives(self) -> list[Live]:
        """Its live pictures, from top to bottom."""
        images = self.page.query_selector_all(PICTURES)
        return [Live(f"{self.name} picture {i}", self.page, image) for i, image in enumerate(images, 1)]

    def wait(self, condition: str, seconds: int = HANGS) -> None:
        self.page.wait_for_function(condition, timeout=seconds * 1000, polling=200)

    def start(self) -> None:
        """Opens it in JupyterLab and chooses Run All Cells."""
        self.page.evaluate(OPEN, f"{self.name}.ipynb")
        self.run_all()

    def run_all(self) -> None:
        self.wait(IDLE)
        self.page.evaluate(FORGET)
        for _ in range(20):  # JupyterLab says it is ready a little too soon, and an early click is lost
            with contextlib.suppress(TimeoutError):
                self.page.click(".lm-MenuBar-item:has-text('Run')", timeout=5000)
                self.page.click(".lm-Menu-item:has-text('Run All Cells')", timeout=5000)
                return self.wait(f"{BUSY} || {COUNTS}.some(Boolean)", seconds=10)
        raise RuntimeError(f"{self.name} cannot be run from the menu")

    def finish(self) -> None:
        """Waits until all cells have run and all widgets are there."""
        self.wait(f"!{BUSY} && {IDLE} && {COUNTS}.some(Boolean)")
        with contextlib.suppress(TimeoutError):  # the checks report a widget that never loads
            self.wait(LOADED, seconds=60)

    def content(self) -> nbformat.NotebookNode:
        """The notebook as JupyterLab would save it now."""
        return nbformat.from_dict(self.page.evaluate(CONTENT))

    def use_all_threads(self) -> None:
        self.page.evaluate(EXECUTE, ALL_THREADS)

    def close(self) -> None:
        """Shuts down its kernel and removes it from the page."""
        self.page.evaluate(CLOSE)


@dataclass
class Lab:
    """A running server, and pages that show it. `folder` holds the notebooks it serves."""

    pages: list[Page]
    folder: Path
    info: dict

    @contextlib.contextmanager
    def run(self, *names: str) -> Iterator[list[Notebook]]:
        """Runs notebooks side by side, each in its own page."""
        notebooks = [Notebook(name, page) for name, page in zip(names, self.pages, strict=False)]
        for step in (Notebook.start, Notebook.finish, Notebook.use_all_threads):
            for notebook in notebooks:
                step(notebook)
        yield notebooks
        for notebook in notebooks:
            notebook.close()

    @contextlib.contextmanager
    def run_in_notebook_7(self, name: str) -> Iterator[Notebook]:
        """Runs a notebook in the same server's other front end."""
        page = self.pages[0].context.browser.new_page(viewport={"width": 1300, "height": 1000})
        page.goto(f"{self.info['url']}notebooks/{name}.ipynb?token={self.info['token']}")
        page.wait_for_function("globalThis.jupyterapp?.restored.then(() => true)")
        notebook = Notebook(name, page)
        notebook.run_all()
        notebook.finish()
        notebook.use_all_threads()
        yield notebook
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.close()


@contextlib.contextmanager
def start_lab(browser: Browser, notebooks: Path, scratch: Path, log: Path) -> Iterator[Lab]:
    """A server on loopback, with a token, that serves a copy of the notebooks and ignores the user's settings."""
    folder = scratch / "notebooks"
    shutil.copytree(notebooks, folder, ignore=shutil.ignore_patterns(".*"))
    startup = scratch / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("contrast.py"), startup)
    names = ("_CONFIG", "_DATA", "_RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")
    own = {f"JUPYTER{name}_DIR": str(scratch / name) for name in names} | {"IPYTHONDIR": str(scratch / "ipython")}
    news = scratch / "LAB_SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps(NO_NEWS))
    with log.open("wb") as to:
        # Its own session: Ctrl-C reaches only pytest, which then stops the server below.
        command = [sys.executable, *COMMAND.split(), f"--ServerApp.root_dir={folder}"]
        environment = os.environ | own | ENVIRONMENT
        server = subprocess.Popen(command, env=environment, stdout=to, stderr=to, start_new_session=True)
    try:
        told, deadline = scratch / "_RUNTIME" / f"jpserver-{server.pid}.json", time.monotonic() + HANGS
        while not (told.is_file() and told.read_text().endswith("}")):  # written once the server listens
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start, see {log}")
            time.sleep(0.1)
        info = json.loads(told.read_text())
        pages = [browser.new_page(viewport={"width": 1300, "height": 1000}) for _ in range(AT_ONCE)]
        for i, page in enumerate(pages):
            page.set_default_timeout(HANGS * 1000)
            page.goto(f"{info['url']}lab/workspaces/{i}?token={info['token']}", wait_until="commit")
        for page in pages:
            page.wait_for_function("globalThis.jupyterapp?.restored.then(() => true)")
        yield Lab(pages, folder, info)
    finally:
        server.terminate()  # it shuts down its kernels first
        server.wait()

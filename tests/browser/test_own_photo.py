"""Notebook 07 with the reader's own photo, in a real JupyterLab: a file, the camera, and what is saved."""

import io
import re

import nbformat
import numpy as np
from lab import Lab, Notebook
from PIL import Image
from playwright.sync_api import Page
from skimage.data import astronaut

NAME, LAST = "07_your_own_face", "framing,"  # the notebook, and what the last cell we use here draws
RUN_BELOW = """async text => {
    const {content} = jupyterapp.shell.currentWidget;
    content.activeCellIndex = content.widgets.findIndex(cell => cell.model.sharedModel.getSource().includes(text));
    await jupyterapp.commands.execute("notebook:run-cell-and-select-next");
    await jupyterapp.commands.execute("notebook:run-all-below");
    await jupyterapp.commands.execute("docmanager:save");
}"""


def shorter(lab: Lab) -> Notebook:
    """The notebook up to its first live picture, run in JupyterLab."""
    notebook = nbformat.read(lab.folder / f"{NAME}.ipynb", 4)
    last = next(i for i, cell in enumerate(notebook.cells) if f"LivePicture(\n    {LAST}" in cell.source)
    notebook.cells = notebook.cells[: last + 1]
    nbformat.write(notebook, lab.folder / "own.ipynb")
    opened = Notebook("own", lab.pages[0])
    opened.start()
    opened.finish()
    return opened


def words(page: Page, pattern: str) -> str:
    """The widget's words, once they match the pattern."""
    said = page.locator(".fervt-own-words", has_text=re.compile(pattern))
    said.wait_for()
    return said.inner_text()


def test_a_photo_from_a_file_or_the_camera_is_read_here_and_not_saved(lab: Lab):
    notebook = shorter(lab)
    page, asked = notebook.page, []
    page.on("request", lambda request: asked.append(request.url))
    assert "5 faces" in words(page, "faces")
    file = page.locator(".fervt-own input[type=file]")

    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the photo").click()
    assert words(page, "Now click the cell below").startswith("No face was found."), "the test camera shows no face"
    assert page.locator(".fervt-own video").is_hidden()

    file.set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
    assert "no picture that can be read" in words(page, "cannot be used")
    noise = np.random.default_rng(0).integers(0, 255, (1800, 2400, 3), np.uint8)
    noise[200:712, 300:812] = astronaut()  # a photo too large to send unchanged in one message
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    assert buffer.tell() > 10 * 2**20
    file.set_input_files({"name": "large.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    assert words(page, "1 face: happiness. Now click")

    page.evaluate(RUN_BELOW, "photo = recognise(")
    notebook.finish()
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    saved = nbformat.read(lab.folder / "own.ipynb", 4)
    outputs = [output for cell in saved.cells for output in cell.get("outputs", [])]
    assert any("face 1: happiness" in output.get("text", "") for output in outputs)
    after = outputs[next(i for i, output in enumerate(outputs) if "face 1" in output.get("text", "")) :]
    assert len(after) >= 3 and [output for output in after if "image" in str(output.get("data", {}).keys())] == []
    assert "widgets" not in saved.metadata
    assert [url for url in asked if not url.startswith((lab.info["url"], "blob:", "data:"))] == []
    notebook.close()

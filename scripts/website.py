"""Build the course as a static web site in which every slider works: python scripts/website.py [FOLDER]

The pages are the stored notebooks. We rerun only the cells that a live picture depends on, to get its numbers or to
draw pictures of its states in advance; `widget.js` is the same file that JupyterLab loads. The site fetches nothing
from elsewhere: it opens from a folder (file://) and under any address.
"""

import base64
import html
import io
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from symtable import SymbolTable, symtable
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from PIL import Image
from sphinx.cmd.build import build_main

from fervt_lib import plots
from fervt_lib.widgets import AttentionToy, LivePicture

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
# Calls that create something interactive, or fill the picture of a training run.
WORK = "LivePicture(", "AttentionToy(", "train_live(model"
MOST = 250  # states per picture to draw in advance
TITLE = "FER-VT, taken apart"

# --- live pictures of a notebook ----------------------------------------------------------------------------------


def live_pictures(path: Path) -> list[LivePicture | AttentionToy]:
    """The interactive pictures of a notebook, top to bottom, made by its own code in a separate namespace."""
    made, namespace, inits = [], {}, {kind: kind.__init__ for kind in (LivePicture, AttentionToy)}
    show = plots.show

    def noting(kind: type) -> Callable:
        def init(self, *args, **kwargs):
            inits[kind](self, *args, **kwargs)
            made.append(self)

        return init

    plots.show = lambda alt: plt.close()
    for kind in inits:
        kind.__init__ = noting(kind)
    try:
        for source in needed([cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]):
            exec(compile(source, str(path), "exec"), namespace)
    finally:
        plots.show = show
        for kind, init in inits.items():
            kind.__init__ = init
    return made


def needed(sources: list[str]) -> list[str]:
    """The cells that make or fill live pictures, plus the cells that define the names they use, and so on."""
    names, kept = set(), []
    for source in reversed(sources):
        cell = symtable(source, "cell", "exec")
        given = {symbol.get_name() for symbol in cell.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        if any(work in source for work in WORK) or given & names:
            names = names - given | (_used(cell) - given)
            kept.insert(0, source)
    return kept


def _used(scope: SymbolTable) -> set[str]:
    """The notebook's names that a cell, or a function in it, reads."""
    own = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() or scope.get_type() == "module"}
    return own.union(*map(_used, scope.get_children()))


# --- what replaces the kernel -------------------------------------------------------------------------------------


def states(live: LivePicture) -> list[dict[str, int]]:
    """States to draw in advance: all positions of lists and boxes, some of sliders, together or one at a time."""
    counts = {name: len(control.values) for name, control in live.inputs.items()}
    sliders = [name for name, control in live.inputs.items() if control.kind == "slider"]
    for most in (max(counts.values()), 24, 16, 12, 9, 7, 6, 5):
        rows = {name: _positions(counts[name], most if name in sliders else counts[name]) for name in counts}
        if np.prod([len(row) for row in rows.values()]) <= MOST:
            return _grid({name: sorted({*row, live.state[name]}) for name, row in rows.items()})
    # too many: combine the lists, and vary each slider and box alone
    alone = [name for name, control in live.inputs.items() if control.kind != "choice"]
    found = _grid({name: [live.state[name]] if name in alone else range(n) for name, n in counts.items()})
    return found + [live.state | {name: at} for name in alone for at in _positions(counts[name], 9)]


def _positions(count: int, most: int) -> list[int]:
    """At most `most` of the positions 0 to count - 1, including both ends."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def _grid(rows: dict) -> list[dict[str, int]]:
    return [dict(zip(rows, place, strict=True)) for place in itertools.product(*rows.values())]


def record(live: LivePicture | AttentionToy) -> dict:
    """Everything a page needs in place of the kernel, ready for JSON."""
    if isinstance(live, AttentionToy):
        return {name: live.get_state()[name] for name in ("alt", "names", "arrows", "values")}
    kept = {name: live.get_state()[name] for name in ("alt", "controls", "state", "words", "error")}
    kept |= {"panels": _text(live.panels), "numbers": _text(live.numbers), "colours": _text(live.colours)}
    if live.columns:
        return kept | {"picture": "", "ahead": []}
    start, ahead = dict(live.state), []
    for state in states(live):
        live.state = state
        ahead.append({"state": state, "words": live.words, "error": live.error, "picture": _small(live.picture)})
    live.state = start
    return kept | {"picture": _small(live.picture), "ahead": ahead}


def _small(picture: bytes) -> str:
    """The picture as WebP, at a fifth of the size."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(buffer, "webp", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _text(part: object) -> object:
    """Turn bytes at any depth into base64."""
    if isinstance(part, bytes):
        return base64.b64encode(part).decode()
    if isinstance(part, dict):
        return {name: _text(value) for name, value in part.items()}
    return [_text(value) for value in part] if isinstance(part, list | tuple) else part


# --- pages --------------------------------------------------------------------------------------------------------

BOOT = """
addEventListener("DOMContentLoaded", () => {
  for (const code of document.querySelectorAll("pre, .math-wrapper")) code.tabIndex = 0; // so that keys can scroll it
  for (const place of document.querySelectorAll(".fervt-live")) {
    const facts = JSON.parse(place.querySelector("script").textContent);
    place.replaceChildren();
    fervt.render({ model: fervt.withoutKernel(facts), el: place });
  }
});
"""
STYLE = """
.content { width: 56em; }
.fervt-live { margin: 1rem 0; overflow-x: auto; }
div.cell_output img { max-width: 100%; height: auto; background: white; }
"""
CONF = f"""
extensions = ["myst_nb"]
project = html_title = {TITLE!r}
html_theme = "furo"
html_static_path = ["_static"]
html_js_files = ["widget.js"]
html_css_files = ["site.css"]
html_show_sphinx = html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # it would be fetched, which a page in a folder may not
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "misc.highlighting_failure", "mystnb.unknown_mime_type"]

import docutils.nodes
import latex2mathml.converter

def formula(display):
    def visit(self, node):  # as MathML, which browsers draw themselves
        self.body.append(latex2mathml.converter.convert(node.astext(), display=display))
        raise docutils.nodes.SkipNode
    return visit, None

def setup(app):
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))

html_math_renderer = "mathml"
"""


def page(path: Path) -> nbformat.NotebookNode:
    """A notebook with live pictures that need no kernel and with folded solutions."""
    notebook, lives = nbformat.read(path, 4), iter(live_pictures(path))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(#([^)]+)\)", lambda found: f"](#{anchor(found[1])})", cell.source)
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata.tags = ["hide-cell"]
            for output in cell.outputs:
                output.get("data", {}).pop("text/html", None)  # already inside a folded cell
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("live"):
                output.data = {"text/html": element(next(lives))}
                output.metadata = {}
    if left := list(lives):
        raise SystemExit(f"{path.name}: {len(left)} live pictures are missing from its stored outputs: make notebooks")
    return notebook


def anchor(heading: str) -> str:
    """Turn JupyterLab's anchor for a heading into the form that these pages use."""
    return re.sub(r"[^\w-]", "", heading.lower())


def element(live: LivePicture) -> str:
    """A live picture in a page: a still until the script runs, plus its numbers or pictures."""
    facts = json.dumps(record(live)).replace("</", "<\\/")
    source = f"data:image/webp;base64,{_small(live.picture)}" if isinstance(live, LivePicture) else ""
    still = f'<img alt="{html.escape(live.alt)}" src="{source}">' if source else html.escape(live.alt)
    return f'<div class="fervt-live">{still}<script type="application/json">{facts}</script></div>'


def front(pages: list[Path]) -> str:
    """The front page: the opening of the README and the list of notebooks."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    opening = re.split(r"^## ", readme, maxsplit=1, flags=re.MULTILINE)[0].split("\n", 1)[1]
    opening = re.sub(r"\[([^]]+)\]\((?!https?:)[^)]+\)", r"\1", opening)  # links into the repository
    return "\n".join([f"# {TITLE}", opening, "```{toctree}", ":maxdepth: 1", "", *(path.stem for path in pages), "```"])


def build(target: Path, notebooks: list[Path]) -> None:
    with TemporaryDirectory() as name:
        source = Path(name)
        (source / "_static").mkdir()
        for path in notebooks:
            nbformat.write(page(path), source / path.name)
        (source / "index.md").write_text(front(notebooks), encoding="utf-8")
        (source / "conf.py").write_text(CONF, encoding="utf-8")
        module = (ROOT / "fervt_lib" / "widget.js").read_text(encoding="utf-8")
        script = module.replace("export default { render };", "globalThis.fervt = { render, withoutKernel };")
        (source / "_static" / "widget.js").write_text(f"(() => {{\n{script}\n{BOOT}}})();\n", encoding="utf-8")
        (source / "_static" / "site.css").write_text(STYLE, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        options = "-q", "-W", "--keep-going", "-d", str(source / "doctrees")
        if code := build_main([*options, str(source), str(target)]):
            raise SystemExit(code)


if __name__ == "__main__":
    os.environ["FERVT_DATA"] = "no-real-faces"
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site", sorted(NOTEBOOKS.glob("*.ipynb")))

"""A picture next to its controls: drawn by Python, or by the browser from numbers.

`widget.js` is the part that runs in the browser, the same in JupyterLab, in Notebook 7 and on a page without Python.
"""

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from PIL import Image

from . import plots

GAP, TITLE = 24, 22  # pixels between panels, and above each of them


@dataclass(frozen=True)
class Control:
    """A control that a reader moves; create one with `slider`, `choice` or `toggle`.

    Attributes:
        values: the values to choose from; `texts` has a label for each, and `start` is the index of the initial one.
        play: whether a button next to a slider plays it to its end.
    """

    kind: str
    values: list
    texts: list[str]
    start: int
    label: str
    play: bool


def slider(values: Iterable | dict[str, Any], start: Any, *, label: str = "", play: bool = False) -> Control:
    """A slider over values, or over the names in a dict: `slider(range(16), 5)`.

    Args:
        label: the text in front of the slider; if empty, the control's name.
        play: add a button that moves the slider; for axes such as time or depth.
    """
    texts = list(values) if isinstance(values, dict) else [_text(value) for value in values]
    values = list(values.values()) if isinstance(values, dict) else list(values)
    return Control("slider", values, texts, _place(values, start), label, play)


def choice(values: Iterable | dict[str, Any], start: Any, *, label: str = "") -> Control:
    """A drop-down list of values, or of the names in a dict."""
    return Control(**vars(slider(values, start, label=label)) | {"kind": "choice"})


def toggle(start: bool = False, *, label: str = "") -> Control:
    """A checkbox."""
    return Control("toggle", [False, True], ["off", "on"], int(start), label, False)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _place(values: list, start: Any) -> int:
    for i, value in enumerate(values):
        if value == start or (isinstance(value, float) and abs(value - start) < 1e-9):
            return i
    raise ValueError(f"{start!r} is not among the values {values}")


def to_png(picture: np.ndarray) -> bytes:
    """A picture `(h, w, 3)` uint8 as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def to_jpeg(picture: np.ndarray) -> bytes:
    """A picture `(h, w, 3)` uint8 as JPEG bytes, which are smaller than PNG and faster to make."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "jpeg", quality=95, subsampling=0)
    return buffer.getvalue()


@dataclass(frozen=True)
class Panel:
    """Numbers that the browser draws, as a map of square cells or as bars, without calling Python.

    Attributes:
        values: `(*sizes of the axes, cells)`: 1 is the mean, so that all panels share one color scale.
        axes: the controls that index the values, in the order of the array's axes.
        sides: cells per side; if a control changes it, one number for each of its positions.
        sides_of: the name of that control.
        first: the index of the first cell that the panel shows.
        faces: `(*sizes of the face's axes, h, w, 3)` uint8, drawn below the map.
        face_axes: the controls that index the faces.
        pick: the control that the pointer moves; `pick_first` is its position for the first cell.
        title: may contain controls, as in `"layer {layer}"`, and `{share}`, the sum of the shown values out of `whole`.
        room: pixels that the title needs if it is wider than the panel.
    """

    values: np.ndarray
    axes: tuple[str, ...]
    sides: tuple[int, ...]
    sides_of: str = ""
    kind: str = "map"
    first: int = 0
    faces: np.ndarray | None = None
    face_axes: tuple[str, ...] = ()
    pick: str = ""
    pick_first: int = 0
    title: str = ""
    whole: float = 1
    width: int = 320
    height: int = 320
    room: int = 0

    def cells(self, state: dict[str, int]) -> np.ndarray:
        """The values that the panel shows in a state, `(side²,)`."""
        side = self.sides[state[self.sides_of] if self.sides_of else 0]
        found = self.values[tuple(state[name] for name in self.axes)]
        return found[self.first : self.first + side**2]

    def draw(self, state: dict[str, int], opacity: float) -> np.ndarray:
        """The panel without its title, `(height, width, 3)` uint8, for the still image in a notebook before it runs."""
        cells = self.cells(state)
        mark = min(state[self.pick] - self.pick_first, len(cells) - 1) if self.pick else -1
        if self.kind == "bars":
            return plots.bars(cells, mark, self.width, self.height)
        side = round(len(cells) ** 0.5)
        heat = plots.enlarge(plots.heat_rgb(cells.reshape(side, side), *SCALE), self.height)
        if self.faces is not None:
            face = plots.enlarge(self.faces[tuple(state[name] for name in self.face_axes)], self.height)
            heat = plots.overlay(face, heat, opacity)
        return plots.mark_cell(heat, mark, side) if mark >= 0 else heat


SCALE = 0.0, 3.0
"""The color scale of every attention map: from nothing to three times the mean and more."""


class LivePicture(anywidget.AnyWidget):
    """A picture that follows its controls.

    Args:
        draw: a pure function that takes the controls' values by name and returns a picture `(h, w, 3)` uint8; or
            columns of panels, which the browser draws itself. A control named `opacity` lays their maps over the faces.
        alt: a description of the picture, to which we add the state.
        keep: store a still in the notebook, to show before it runs. False for a reader's own pictures.
        **inputs: the controls, under the names that `draw` takes.

    If `draw` fails in a later state, the error replaces the picture until the next state that works.

    Raises:
        ValueError: an axis of a panel's numbers or faces does not have one entry per position of its control.
    """

    _esm = Path(__file__).with_name("widget.js")
    alt = traitlets.Unicode().tag(sync=True)
    controls = traitlets.List().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    panels = traitlets.List().tag(sync=True)
    numbers = traitlets.List().tag(sync=True)
    colours = traitlets.Bytes().tag(sync=True)

    def __init__(
        self,
        draw: Callable[..., np.ndarray] | list[list[Panel]],
        *,
        alt: str,
        keep: bool = True,
        **inputs: Control,
    ):
        self.inputs, self.keep = inputs, keep
        self.columns, self.draw = ([], draw) if callable(draw) else (draw, self._draw_panels)
        self._check()
        named = [asdict(c) | {"name": name, "label": c.label or name.replace("_", " ")} for name, c in inputs.items()]
        specs = [{key: spec[key] for key in ("name", "label", "kind", "texts", "play")} for spec in named]
        start = {name: control.start for name, control in inputs.items()}
        super().__init__(alt=alt, controls=specs, state=start, **self._pack())
        first = self.draw(**self.values)
        self.picture, self.still, self.words = to_jpeg(first), to_png(first), f"{alt} Now: {self._said()}."
        self.observe(self._redraw, "state")

    @property
    def values(self) -> dict[str, Any]:
        """The current values of the controls, by name."""
        return {name: control.values[self.state[name]] for name, control in self.inputs.items()}

    def put(self, **values: Any) -> None:
        """Move controls, as a reader would."""
        self.state = self.state | {name: _place(self.inputs[name].values, value) for name, value in values.items()}

    def _said(self) -> str:
        return ", ".join(f"{spec['label']} {spec['texts'][self.state[spec['name']]]}" for spec in self.controls)

    def _redraw(self, _change: dict) -> None:
        with self.hold_sync():
            try:
                if not self.columns:
                    self.picture = to_jpeg(self.draw(**self.values))
                self.words, self.error = f"{self.alt} Now: {self._said()}.", ""
            except Exception as error:  # whatever a reader's own function raises
                self.words = self.error = f"{type(error).__name__}: {error} ({self._said()})"

    def _check(self) -> None:
        for _, _, panel in _places(self.columns):
            arrays = [(panel.axes, panel.values.shape[:-1])]
            arrays += [] if panel.faces is None else [(panel.face_axes, panel.faces.shape[:-3])]
            for axes, shape in arrays:
                wanted = tuple(len(self.inputs[name].values) if name in self.inputs else 0 for name in axes)
                if shape != wanted:
                    raise ValueError(f"a panel's axes {shape} do not fit the controls {axes} with {wanted} positions")

    def _pack(self) -> dict:
        """The panels in the browser's format: each array once, in 16 bits, faces as PNG, positions in pixels."""
        arrays = {id(panel.values): panel.values for column in self.columns for panel in column}
        packed = []
        for x, y, panel in _places(self.columns):
            faces = [] if panel.faces is None else panel.faces.reshape(-1, *panel.faces.shape[-3:])
            place = {"x": x, "y": y, "cells": panel.values.shape[-1], "low": SCALE[0], "high": SCALE[1]}
            plain = {key: value for key, value in vars(panel).items() if key not in ("values", "faces")}
            packed.append(
                plain | place | {"numbers": list(arrays).index(id(panel.values)), "faces": [*map(to_png, faces)]}
            )
        numbers = [np.asarray(array, dtype="<f2").tobytes() for array in arrays.values()]
        colours = plots.heat_rgb(np.arange(256.0)[None]).tobytes()
        return {"panels": packed, "numbers": numbers, "colours": colours} if packed else {}

    def _draw_panels(self, **values: Any) -> np.ndarray:
        """All panels in the current state, laid out as in the browser."""
        placed = list(_places(self.columns))
        width = max(x + max(panel.width, panel.room) for x, _, panel in placed)
        height = max(y + panel.height + TITLE for _, y, panel in placed)
        sheet = np.full((height, width, 3), 255, np.uint8)
        state = {name: _place(self.inputs[name].values, value) for name, value in values.items()}
        texts = {name: self.inputs[name].texts[at] for name, at in state.items()}
        for x, y, panel in placed:
            share = f"{100 * panel.cells(state).sum() / panel.whole:.0f} %"
            title = plots.caption(panel.title.format(share=share, **texts), max(panel.width, panel.room), TITLE)
            sheet[y : y + TITLE, x : x + title.shape[1]] = title
            picture = panel.draw(state, values.get("opacity", 1.0))
            sheet[y + TITLE : y + TITLE + panel.height, x : x + panel.width] = picture
        return sheet

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        bundle = super()._repr_mimebundle_(**kwargs) or ({}, {})
        if not self.keep:
            return bundle[0] | {"text/plain": self.alt}, {"live": True}
        still = base64.b64encode(self.still).decode()
        return bundle[0] | {"text/plain": self.alt, "image/png": still}, {"image/png": {"alt": self.alt}, "live": True}


class AttentionToy(anywidget.AnyWidget):
    """Tokens, each with a value and with two arrows to drag: a query and a key of two numbers each.

    The browser updates the scores, the weights and the mixed value of the token that asks, without a kernel.
    """

    _esm = Path(__file__).with_name("widget.js")
    alt = traitlets.Unicode("Tokens with two arrows each, a query and a key.").tag(sync=True)
    names = traitlets.List().tag(sync=True)
    arrows = traitlets.Dict().tag(sync=True)
    values = traitlets.List().tag(sync=True)

    def __init__(self, queries: list[list[float]], keys: list[list[float]], values: list[float]):
        if not len(queries) == len(keys) == len(values) <= 4:
            raise ValueError(
                f"{len(queries)} queries, {len(keys)} keys, {len(values)} values: give one of each for up to 4 tokens"
            )
        names = [f"token {i + 1}" for i in range(len(values))]
        super().__init__(names=names, arrows={"query": queries, "key": keys}, values=values)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        bundle = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return bundle[0] | {"text/plain": self.alt}, {"live": True}


def _places(columns: list[list[Panel]]) -> Iterable[tuple[int, int, Panel]]:
    """Left and top of each panel in pixels: columns from left to right, panels from top to bottom."""
    x = 0
    for column in columns:
        y = 0
        for panel in column:
            yield x, y, panel
            y += panel.height + TITLE
        x += max(max(panel.width, panel.room) for panel in column) + GAP

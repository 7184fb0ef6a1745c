"""Sliders that redraw a picture: a thin shell over a pure function (state → array)."""

import base64
import html
import io
from collections.abc import Callable

import ipyevents
import ipywidgets
import numpy as np
from PIL import Image


def to_png(picture: np.ndarray) -> bytes:
    """A picture `(h, w, 3)` uint8 as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


class LivePicture(ipywidgets.VBox):
    """Controls above a picture that is redrawn in place whenever one of them moves.

    Args:
        draw: pure function from the controls' values, by name, to a picture `(h, w, 3)` uint8.
        alt: what the picture shows, in words: its caption, and what viewers that draw no picture show.
        click: function from a place in the picture `(across, down)`, both from 0 to 1, to the new values of controls,
            by name; an empty dict where a click means nothing.
        **controls: ipywidgets with a `value`, by the names that `draw` takes.

    Its display bundle carries a still of the picture too, so that an unexecuted notebook shows one.
    """

    def __init__(
        self,
        draw: Callable[..., np.ndarray],
        *,
        alt: str,
        click: Callable[[float, float], dict] | None = None,
        **controls: ipywidgets.ValueWidget,
    ):
        self.draw, self.alt, self.click, self.controls = draw, alt, click, controls
        for name, control in controls.items():
            control.description = control.description or name.replace("_", " ")
            control.style.description_width = "9em"
            control.layout.width = "32em"
            control.observe(self._redraw, "value")
        self.picture = ipywidgets.Image(value=self._png(), format="png")
        self.picture.layout.object_fit = "contain"
        self.picture.layout.align_self = "flex-start"
        if click:
            self.picture.add_class("fervt-clickable")
            self._events = ipyevents.Event(source=self.picture, watched_events=["click"])
            self._events.on_dom_event(self._clicked)
        # ipywidgets gives a picture no alternative text (a tooltip on it breaks its view), so the words stand below it.
        caption = ipywidgets.HTML(f"<em>{html.escape(alt)}</em>")
        super().__init__([*controls.values(), self.picture, caption])

    def _png(self) -> bytes:
        return to_png(self.draw(**{name: control.value for name, control in self.controls.items()}))

    def _redraw(self, _change: dict) -> None:
        self.picture.value = self._png()

    def _clicked(self, event: dict) -> None:
        across = event["relativeX"] / event["boundingRectWidth"]
        down = event["relativeY"] / event["boundingRectHeight"]
        for name, value in self.click(across, down).items():
            self.controls[name].value = value

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        bundle = super()._repr_mimebundle_(**kwargs)
        still = base64.b64encode(self.picture.value).decode()
        return bundle | {"text/plain": self.alt, "image/png": still}, {"image/png": {"alt": self.alt}}

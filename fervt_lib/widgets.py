"""Sliders that redraw a picture: a thin shell over a pure function (state → array)."""

import base64
import io
from collections.abc import Callable

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
        alt: what the picture shows, in words: for screen readers and for viewers that draw no picture.
        **controls: ipywidgets with a `value`, by the names that `draw` takes.

    Its display bundle carries a still of the picture too, so that an unexecuted notebook shows one.
    """

    def __init__(self, draw: Callable[..., np.ndarray], *, alt: str, **controls: ipywidgets.ValueWidget):
        self.draw, self.alt, self.controls = draw, alt, controls
        for name, control in controls.items():
            control.description = control.description or name.replace("_", " ")
            control.style.description_width = "9em"
            control.layout.width = "32em"
            control.observe(self._redraw, "value")
        self.picture = ipywidgets.Image(value=self._png(), format="png")
        self.picture.layout.object_fit = "contain"
        self.picture.layout.align_self = "flex-start"
        super().__init__([*controls.values(), self.picture])

    def _png(self) -> bytes:
        return to_png(self.draw(**{name: control.value for name, control in self.controls.items()}))

    def _redraw(self, _change: dict) -> None:
        self.picture.value = self._png()

    def _repr_mimebundle_(self, **kwargs) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs)
        still = base64.b64encode(self.picture.value).decode()
        return bundle | {"text/plain": self.alt, "image/png": still}

"""The live pictures of a page and their controls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import ElementHandle, Page

PICTURES = ".fervt-view img, .fervt-view canvas"
BYTES = """async picture => {
    const drawn = () => new Promise(done => picture.toBlob(done));
    const blob = picture.toBlob ? await drawn() : await (await fetch(picture.src)).blob();
    const bytes = new Uint8Array(await blob.arrayBuffer());
    return bytes.reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "");
}"""
# `moved`: when a key was pressed or an option chosen; `drawn`: how long after that each new picture came; `asked`:
# messages that the kernel is still working on.
WATCH = """picture => {
    const {asked, drawn} = picture.fervt = {moved: 0, drawn: [], asked: new Set()};
    for (const event of ["keydown", "input"])
        addEventListener(event, () => picture.fervt.moved = performance.now(), true);
    for (const event of ["load", "painted"])
        picture.addEventListener(event, () => drawn.push(performance.now() - picture.fervt.moved));
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    kernel.anyMessage.connect((_, {msg, direction}) => {
        if (direction == "send") asked.add(msg.header.msg_id);
        if (msg.content.execution_state == "idle") asked.delete(msg.parent_header.msg_id);
    });
}"""
# A slider moved while the kernel is busy sends its last value only afterwards, so we wait for two rests in a row.
SETTLE = """async picture => {
    for (let rests = 0; rests < 2; rests = picture.fervt.asked.size ? 0 : rests + 1)
        await new Promise(done => setTimeout(done, 5));
    await picture.decode?.().catch(() => null);
    for (let frames = 0; picture.toBlob && frames < 2; frames++) await new Promise(requestAnimationFrame);
    return picture.fervt.drawn.splice(0).at(-1);
}"""
# A fixed piece of work for the kernel, similar to what a picture takes: a convolution and a JPEG.
PREPARE = """
import io as _io, torch as _torch
from PIL import Image as _Image
_noise = _torch.randint(0, 256, (480, 640, 3), dtype=_torch.uint8, generator=_torch.Generator().manual_seed(0)).numpy()
_maps, _kernels = _torch.ones(1, 64, 48, 48), _torch.ones(64, 64, 3, 3)
"""
WORK = """
_Image.fromarray(_noise).save(_io.BytesIO(), "jpeg", quality=95)
_torch.conv2d(_maps, _kernels)
"""
EXECUTE = """async code => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel, start = performance.now();
    await kernel.requestExecute({code, silent: true, store_history: false}).done;
    return performance.now() - start;
}"""
POSITION = "e => e.selectedIndex ?? (e.type == 'range' ? +e.value : +e.checked)"
PUT = """(e, at) => {
    e.localName == "select" ? e.selectedIndex = at : e.type == "range" ? e.value = at : e.checked = at;
    e.dispatchEvent(new Event("input"));
    e.dispatchEvent(new Event("change"));
}"""
KEYS = {"forward": "ArrowRight", "back": "ArrowLeft", "first": "Home", "last": "End"}


@dataclass
class Control:
    """A slider, a list of options or a checkbox; `kind` is its element's type: range, select-one or checkbox."""

    label: str
    kind: str
    handle: ElementHandle

    def position(self) -> int:
        """Counts from 0, one more with each step forward."""
        return self.handle.evaluate(POSITION)

    def move(self, to: str) -> None:
        """Moves forward, back, or to the first or last position, without a mouse."""
        if self.kind == "select-one":  # chosen by number, because its keys work differently across systems
            at, last = self.position(), self.handle.evaluate("select => select.length - 1")
            index = {"forward": min(at + 1, last), "back": max(at - 1, 0), "first": 0, "last": last}[to]
            self.handle.select_option(index=index)
        elif self.kind == "range" or to in ("forward", "back") or self.position() != (to == "last"):
            self.handle.press(KEYS[to] if self.kind == "range" else "Space")

    def put(self, position: int) -> None:
        """Puts it back where it was."""
        self.handle.evaluate(PUT, position)
        assert self.position() == position, f"{self.label} is at {self.position()}, not at {position}"


@dataclass
class Live:
    """A picture and the controls beside it, in page order."""

    name: str
    page: Page
    image: ElementHandle

    def __post_init__(self) -> None:
        self.image.evaluate(WATCH)
        self.page.evaluate(EXECUTE, PREPARE)
        self.box = self.image.evaluate_handle("picture => picture.closest('.fervt')").as_element()
        self.is_canvas = self.image.evaluate("picture => picture.localName") == "canvas"
        handles = self.box.query_selector_all("input, select")
        described = ((h.evaluate("e => e.labels[0].textContent"), h.evaluate("e => e.type"), h) for h in handles)
        self.controls = [Control(*each) for each in described]

    def settle(self) -> float | None:
        """Waits until everything asked for is drawn. Returns the milliseconds from the last key press to its picture;
        None if there is no new picture since the last call."""
        return self.image.evaluate(SETTLE)

    def echo(self) -> float:
        """Milliseconds until the kernel has done a fixed piece of work: how slow the machine is right now."""
        return self.page.evaluate(EXECUTE, WORK)

    def picture(self) -> bytes:
        """The bytes of the image that is drawn."""
        self.settle()
        return bytes.fromhex(self.image.evaluate(BYTES))

    @contextmanager
    def dragged(self, slider: Control) -> Iterator[None]:
        """Drags a slider to its farther end with the mouse, and puts it back afterwards."""
        mouse, start = self.page.mouse, slider.position()
        for _ in range(5):  # a page that has just scrolled may shift under the mouse
            slider.handle.scroll_into_view_if_needed()
            box, last = slider.handle.bounding_box(), slider.handle.evaluate("e => +e.max")
            y, ends = box["y"] + box["height"] / 2, (box["x"] + 4, box["x"] + box["width"] - 4)
            mouse.move(ends[0] + (ends[1] - ends[0]) * start / last, y)
            mouse.down()
            mouse.move(ends[0] if start > last / 2 else ends[1], y, steps=15)
            mouse.up()
            if slider.position() != start:
                break
        yield
        slider.put(start)

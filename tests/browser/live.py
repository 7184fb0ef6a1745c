"""The live pictures of a page: move their controls, read what is drawn and how fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from playwright.sync_api import ElementHandle, Page

HASH = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).join();
}"""
# The greatest difference to the first pixel, in any colour.
CONTRAST = """image => {
    const canvas = new OffscreenCanvas(image.naturalWidth || 1, image.naturalHeight || 1);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - pixels[i % 4])), 0);
}"""
# `moved`: when a key was pressed or an option chosen; `drawn`: how long after it each new picture was there; `asked`:
# messages that the kernel has not done with.
WATCH = """image => {
    const {asked, drawn} = image.fervt = {moved: 0, drawn: [], asked: new Set()};
    for (const event of ["keydown", "input"])
        addEventListener(event, () => image.fervt.moved = performance.now(), true);
    image.addEventListener("load", () => drawn.push(performance.now() - image.fervt.moved));
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    kernel.anyMessage.connect((_, {msg, direction}) => {
        if (direction == "send") asked.add(msg.header.msg_id);
        if (msg.content.execution_state == "idle") asked.delete(msg.parent_header.msg_id);
    });
}"""
# A slider that is moved while the kernel is busy sends its last value only afterwards: hence two rests in a row.
SETTLE = """async image => {
    const end = performance.now() + 60000;
    for (let rests = 0; rests < 2; rests = image.fervt.asked.size ? 0 : rests + 1) {
        if (performance.now() > end) throw new Error("the kernel does not answer");
        await new Promise(done => setTimeout(done, 5));
    }
    await image.decode().catch(() => null);
}"""
# How long the last press took, then a rest as short as between the repeats of a held key.
LATENCY = f"""async image => {{
    await ({SETTLE})(image);
    await new Promise(done => setTimeout(done, 30));
    return image.fervt.drawn.splice(0).at(-1);
}}"""


@dataclass
class Control:
    """What a reader moves. Its value grows with each step forward; a jump takes it to the first or the last value."""

    label: str
    handle: ElementHandle
    page: Page

    def put(self, value: float) -> None:
        """Steps to a value that it had before."""
        while (now := self.value()) != value:
            self.step(forward=value > now)
            assert self.value() != now, f"{self.label} cannot be moved from {now} to {value}"

    def press(self, key: str) -> None:
        """One key, with the keyboard's focus on this control."""
        self.handle.focus()
        self.page.keyboard.press(key)


class Slider(Control):
    """Of numbers or of options: arrow keys, Home and End, or the mouse."""

    def value(self) -> float:
        now = "e => +e.closest('.noUi-target').noUiSlider.get(true).toFixed(6)"  # aria-valuenow has one digit
        return self.handle.evaluate(now)

    def step(self, forward: bool) -> None:
        self.press("ArrowRight" if forward else "ArrowLeft")

    def jump(self, last: bool) -> None:
        self.press("End" if last else "Home")

    @contextmanager
    def dragged(self) -> Iterator[None]:
        """Held by the mouse at the end that is farther away, then let go where it was."""
        self.handle.hover()
        at = self.handle.bounding_box()
        track = self.handle.evaluate_handle("e => e.closest('.noUi-target')").as_element().bounding_box()
        x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
        left, right = track["x"], track["x"] + track["width"]
        self.page.mouse.down()
        self.page.mouse.move(left if x - left > right - x else right, y, steps=5)
        yield
        self.page.mouse.move(x, y)
        self.page.mouse.up()


class Dropdown(Control):
    """Options are chosen: what its keys do differs between systems."""

    def value(self) -> int:
        return self.handle.evaluate("select => select.selectedIndex")

    def step(self, forward: bool) -> None:
        self.choose(self.value() + (1 if forward else -1))

    def jump(self, last: bool) -> None:
        self.choose(self._last() if last else 0)

    def choose(self, index: int) -> None:
        self.handle.select_option(index=min(max(index, 0), self._last()))

    def _last(self) -> int:
        return self.handle.evaluate("select => select.length - 1")


class Checkbox(Control):
    """Ticked or not: the space bar."""

    def value(self) -> bool:
        return self.handle.is_checked()

    def step(self, forward: bool) -> None:
        self.press("Space")

    def jump(self, last: bool) -> None:
        if self.value() != last:
            self.press("Space")


KINDS = {"div": Slider, "select": Dropdown, "input": Checkbox}  # by the tag of their handle


@dataclass
class Live:
    """A picture and the controls above it."""

    name: str
    page: Page
    image: ElementHandle

    def __post_init__(self) -> None:
        self.image.evaluate(WATCH)

    @cached_property
    def box(self) -> ElementHandle:
        return self.image.evaluate_handle("image => image.closest('.widget-vbox') ?? image").as_element()

    @cached_property
    def controls(self) -> list[Control]:
        """In the order in which they stand. Raises KeyError at a kind that no class above can move."""
        return [self._control(handle) for handle in self.box.query_selector_all(".noUi-handle, select, input, button")]

    def _control(self, handle: ElementHandle) -> Control:
        label = handle.evaluate("e => e.closest('.widget-inline-hbox').querySelector('label:last-of-type').textContent")
        return KINDS[handle.evaluate("e => e.localName")](label, handle, self.page)

    def settle(self) -> None:
        """Waits until everything is drawn that was asked for."""
        self.image.evaluate(SETTLE)

    def picture(self) -> str:
        """The hash of what is drawn, once it is drawn."""
        self.settle()
        return self.image.evaluate(HASH)

    def contrast(self) -> int:
        """Between pixels, from 0 (one flat colour) to 255."""
        return self.image.evaluate(CONTRAST)

    def outputs(self) -> int:
        """How many outputs the cell has: 0 when the picture is no longer in the page."""
        count = "image => image.closest('.jp-CodeCell')?.querySelectorAll('.jp-OutputArea-child').length ?? 0"
        return self.image.evaluate(count)

    def clickable(self) -> bool:
        return "fervt-clickable" in self.image.get_attribute("class")

    def click(self, across: float, down: float) -> None:
        """On a place of the picture, both from 0 to 1."""
        box = self.image.bounding_box()
        self.image.click(position={"x": across * box["width"], "y": down * box["height"]})

    def latency(self) -> float | None:
        """Milliseconds that the last press took until its picture was there; None when it changed nothing."""
        return self.image.evaluate(LATENCY)


class Press(NamedTuple):
    """A key press that drew a new picture; `new`: for a value that the control had not had before."""

    milliseconds: float
    new: bool


def presses(live: Live, control: Control, wanted: int) -> list[Press]:
    """Steps a control up, then down, until so many new pictures came or too many did not; then it is put back."""
    live.latency()  # of what was done before
    start = value = control.value()
    found, seen, forward = [], {start}, True
    for _ in range(2 * wanted):
        control.step(forward)
        milliseconds, before, value = live.latency(), value, control.value()
        if value == before:
            forward = not forward
        if milliseconds is not None:
            found.append(Press(milliseconds, value not in seen))
            seen.add(value)
        if len(found) == wanted:
            break
    control.put(start)
    return found

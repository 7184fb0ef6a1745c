"""The live pictures of a page and their controls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import ElementHandle, Page

BYTES = """async image => new Uint8Array(await (await fetch(image.src)).arrayBuffer())
    .reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "")"""
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
    for (let rests = 0; rests < 2; rests = image.fervt.asked.size ? 0 : rests + 1)
        await new Promise(done => setTimeout(done, 5));
    await image.decode().catch(() => null);
    return image.fervt.drawn.splice(0).at(-1);
}"""
LABEL = "e => e.closest('.widget-inline-hbox').querySelector('label:last-of-type').textContent"
POSITION = """e => {
    if (e.localName != "div") return e.selectedIndex ?? +e.checked;
    const slider = e.closest(".noUi-target").noUiSlider;
    return Math.round((slider.get(true) - slider.options.range.min) / slider.options.step);
}"""
TRACK = "e => { const {left, right} = e.closest('.noUi-target').getBoundingClientRect(); return [left, right]; }"
KEYS = {"forward": "ArrowRight", "back": "ArrowLeft", "first": "Home", "last": "End"}


@dataclass
class Control:
    """A slider, a list of options or a checkbox; `kind` is the tag of its element: div, select or input."""

    label: str
    kind: str
    handle: ElementHandle

    def position(self) -> int:
        """From 0, one more with each step forward."""
        return self.handle.evaluate(POSITION)

    def move(self, to: str) -> None:
        """Forward, back, or to the first or the last position, without a mouse."""
        if self.kind == "select":  # chosen by number: what its keys do differs between systems
            at, last = self.position(), self.handle.evaluate("select => select.length - 1")
            index = {"forward": min(at + 1, last), "back": max(at - 1, 0), "first": 0, "last": last}[to]
            self.handle.select_option(index=index)
        elif self.kind == "div" or to in ("forward", "back") or self.position() != (to == "last"):
            self.handle.press(KEYS[to] if self.kind == "div" else "Space")

    def put(self, position: int) -> None:
        """Back to where it was before; the page keys are five steps of a slider."""
        steps = position - self.position()
        if self.kind == "div":
            for _ in range(abs(steps) // 5):
                self.handle.press("PageUp" if steps > 0 else "PageDown")
        for _ in range(abs(steps) % 5 if self.kind == "div" else abs(steps)):
            self.move("forward" if steps > 0 else "back")
        assert self.position() == position, f"{self.label} is at {self.position()}, not at {position}"


@dataclass
class Live:
    """A picture and the controls above it, in the order in which they stand."""

    name: str
    page: Page
    image: ElementHandle

    def __post_init__(self) -> None:
        self.image.evaluate(WATCH)
        self.box = self.image.evaluate_handle("image => image.closest('.widget-vbox') ?? image").as_element()
        handles = self.box.query_selector_all(".noUi-handle, select, input")
        self.controls = [Control(h.evaluate(LABEL), h.evaluate("e => e.localName"), h) for h in handles]

    def settle(self) -> float | None:
        """Waits until all is drawn that was asked for. Returns the milliseconds from the last key press to its picture;
        None when there was no new picture since the last time."""
        return self.image.evaluate(SETTLE)

    def picture(self) -> bytes:
        """What is drawn, as PNG."""
        self.settle()
        return bytes.fromhex(self.image.evaluate(BYTES))

    @contextmanager
    def dragged(self, slider: Control) -> Iterator[None]:
        """A slider held by the mouse at the end that is farther away, then put back where it was."""
        mouse, start = self.page.mouse, slider.position()
        for _ in range(5):  # a page that has just scrolled may shift below the mouse
            slider.handle.hover()
            at, track = slider.handle.bounding_box(), slider.handle.evaluate(TRACK)
            x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
            mouse.down()
            mouse.move(max(track, key=lambda end: abs(end - x)), y, steps=5)
            if slider.position() != start:
                break
            mouse.up()
        yield
        mouse.move(x, y)
        mouse.up()
        slider.put(start)

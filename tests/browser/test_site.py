"""The static site, opened from a folder or at a URL: it fetches nothing, every control works with keys, mouse and
touch, and axe finds nothing serious."""

import runpy
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from checks import axe_faults
from live import BYTES, PICTURES, POSITION, PUT
from playwright.sync_api import Browser, ElementHandle, Page

from fervt_lib import data
from fervt_lib.data import load

ROOT = Path(__file__).parents[2]
HEAVIEST = 12 * 2**20  # bytes per page
LAST = "e => e.localName == 'select' ? e.length - 1 : e.type == 'range' ? +e.max : 1"
DRAWN = "picture => picture.decode?.().catch(() => null) ?? new Promise(requestAnimationFrame)"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site; notebook 04 trains on fewer faces and fewer pictures are drawn in advance, so that it takes seconds."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_DATA", "no-real-faces")
        patch.setattr(data, "load", lambda *which, **how: load(*which, **how | _few(how)))
        script = runpy.run_path(str(ROOT / "scripts" / "website.py"))
        script["states"].__globals__["MOST"] = 24
        script["build"](folder, sorted(script["NOTEBOOKS"].glob("*.ipynb")))
    return folder


def _few(how: dict) -> dict:
    return {"count": 160} if how.get("count", 0) > 1000 else {}


@pytest.fixture(scope="module")
def page(browser: Browser, site: Path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 900}, has_touch=True)
    page.asked, page.errors = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("[0A]*.html"))


def open_page(page: Page, path: Path) -> list[ElementHandle]:
    """Opens a page from its folder; returns its live pictures."""
    page.goto(path.as_uri())
    page.wait_for_function("[...document.querySelectorAll('.fervt-live')].every(e => e.querySelector('.fervt-words'))")
    return page.query_selector_all(PICTURES)


def test_every_page_is_light_and_fetches_nothing(site, page):
    assert len(pages(site)) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    for path in [site / "index.html", *pages(site)]:
        open_page(page, path)
        assert path.stat().st_size < HEAVIEST, path.name
    assert [url for url in page.asked if not url.startswith((site.as_uri(), "data:", "blob:"))] == []
    assert page.errors == []


def ends(page: Page, control: ElementHandle) -> Iterator[None]:
    """Moves a control to its end with keys, to its start with the mouse, to its end by touch."""
    kind = control.evaluate("e => e.type")
    if kind == "select-one":  # the system draws its list, so a test cannot reach it by mouse or touch
        for key in ("End", "Home", "End"):
            yield control.press(key)
        return
    control.evaluate(PUT, 0)
    yield control.press("End" if kind == "range" else "Space")
    box = control.bounding_box()
    yield control.click(position={"x": 4, "y": box["height"] / 2})
    box = control.bounding_box()  # the words beside the picture may have grown
    yield page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)


def test_every_control_changes_its_picture_by_keys_mouse_and_touch(site, page):
    idle, count = [], 0
    for path in pages(site):
        for picture in open_page(page, path):
            box = picture.evaluate_handle("e => e.closest('.fervt')").as_element()
            for control in box.query_selector_all("input, select"):
                start, seen = control.evaluate(POSITION), []
                for _ in ends(page, control):
                    picture.evaluate(DRAWN)
                    seen.append((control.evaluate(POSITION), picture.evaluate(BYTES)))
                control.evaluate(PUT, start)
                count += 1
                last = control.evaluate(LAST)
                if [at for at, _ in seen] != [last, 0, last] or seen[0][1] == seen[1][1] or seen[2] != seen[0]:
                    idle.append((path.stem, control.evaluate("e => e.labels[0].textContent"), [at for at, _ in seen]))
    assert idle == [] and count == 56 and page.errors == []


@pytest.mark.parametrize("notebook", ["02", "03"])
def test_a_map_follows_the_mouse_and_a_click_or_a_touch_keeps_the_cell(site, page, notebook):
    (canvas,) = open_page(page, next(site.glob(f"{notebook}*.html")))
    words = canvas.evaluate_handle("e => e.parentElement.querySelector('.fervt-words')").as_element()
    canvas.scroll_into_view_if_needed()
    box, said = canvas.bounding_box(), [words.inner_text()]
    for across in (40, 250):
        page.mouse.move(box["x"] + across, box["y"] + 150)
        said.append(words.inner_text())
    page.mouse.move(box["x"] + across, box["y"] - 20)
    assert len(set(said)) == 3 and words.inner_text() == said[0], "the earlier words come back when the mouse leaves"
    page.mouse.click(box["x"] + 40, box["y"] + 150)
    page.mouse.move(box["x"] + 40, box["y"] - 20)
    assert words.inner_text() == said[1]
    page.touchscreen.tap(box["x"] + 250, box["y"] + 150)
    assert words.inner_text() == said[2]


def test_play_moves_a_slider_to_its_end_and_slowly_where_little_motion_is_wanted(site, page):
    steps = {}
    for wish in ("reduce", "no-preference"):
        page.emulate_media(reduced_motion=wish)
        open_page(page, next(site.glob("04*.html")))
        slider = page.query_selector("input[name=step]")
        slider.evaluate(PUT, 0)
        page.get_by_role("button", name="Play").first.click()
        page.wait_for_timeout(1000)
        steps[wish] = slider.evaluate(POSITION)
    assert steps["reduce"] == 0 and steps["no-preference"] > 1
    page.wait_for_function("slider => slider.value == slider.max", arg=slider)
    page.get_by_role("button", name="Play").first.wait_for()


@pytest.fixture
def address(site) -> Iterator[str]:
    """The site's URL on a plain file server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=site.parent))
    server.RequestHandlerClass.log_message = lambda *_: None
    Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}/{site.name}"
    server.shutdown()


def test_below_an_address_pages_link_to_each_other_and_search_finds_words(site, page, address):
    for start in (site.as_uri(), address):
        del page.asked[:]
        page.goto(f"{start}/index.html")
        for path in pages(site):  # in order, through the link at the bottom of each page
            page.click(".next-page")
            assert page.url.endswith(path.name)
        page.click(".prev-page")
        assert page.url.endswith(pages(site)[-2].name)
        page.goto(f"{start}/search.html?q=rollout")
        page.wait_for_selector("#search-results li a")
        assert "03_vit_head" in page.locator("#search-results").inner_html()
        assert [url for url in page.asked if not url.startswith((start, "data:", "blob:"))] == []


def test_formulas_are_drawn_and_solutions_folded(site, page):
    open_page(page, next(site.glob("02*.html")))
    assert page.locator("math").count() > 20
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth)")
    solution = page.locator("details.hide").first
    code = solution.locator("pre").first
    assert not code.is_visible()
    solution.locator("summary").click()
    assert code.is_visible()


def test_a_slider_ends_at_the_last_region(site, page):
    open_page(page, next(site.glob("02*.html")))
    grid, region = (page.query_selector(f"input[name={name}]") for name in ("grid_size", "region"))
    region.evaluate(PUT, 15)
    grid.evaluate(PUT, 1)  # 2×2 regions
    assert (region.evaluate(LAST), region.evaluate(POSITION)) == (3, 3)
    grid.evaluate(PUT, 5)
    assert region.evaluate(LAST) == 63


def test_axe_finds_nothing_serious_in_light_and_dark(site, page):
    found = []
    for path in [site / "index.html", *pages(site)]:
        open_page(page, path)
        found += [(path.stem, fault) for fault in axe_faults(page, {"exclude": [["pre"]]})]
    open_page(page, next(site.glob("02*.html")))  # here with its code, whose colors are the same everywhere
    found += [("light", fault) for fault in axe_faults(page)]
    for _ in range(3):
        if page.evaluate("document.body.dataset.theme") != "dark":
            page.locator(".theme-toggle:visible").first.click()
    assert page.evaluate("getComputedStyle(document.querySelector('.fervt')).colorScheme") == "dark"
    found += [("dark", fault) for fault in axe_faults(page)]
    page.evaluate("localStorage.clear()")
    assert found == []


def test_the_attention_toy_follows_mouse_and_keys(site, page):
    open_page(page, next(site.glob("03*.html")))
    toy, tip = page.locator(".fervt-toy"), page.locator(".fervt-toy circle").first

    def weights() -> list[float]:
        return [float(text) for text in toy.locator("td:nth-of-type(3)").all_inner_texts()]

    seen = [weights()]
    tip.hover()
    box = tip.bounding_box()
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"], steps=5)
    page.mouse.up()
    seen.append(weights())
    tip.press("ArrowUp")
    seen.append(weights())
    assert all(sum(each) == pytest.approx(1, abs=0.002) for each in seen)
    assert seen[1][0] > seen[0][0] + 0.05, "a longer query puts more weight on its key"
    assert seen[2] != seen[1] and page.errors == []

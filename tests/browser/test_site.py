"""The static site, opened from a folder: nothing is fetched, every control works, axe finds nothing serious."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from live import BYTES, PICTURES, POSITION, PUT
from playwright.sync_api import Browser, ElementHandle, Page

from fervt_lib import data
from fervt_lib.data import load

ROOT = Path(__file__).parents[2]
HEAVIEST = 12 * 2**20  # bytes of a page
LAST = "e => e.localName == 'select' ? e.length - 1 : e.type == 'range' ? +e.max : 1"
DRAWN = "picture => picture.decode?.().catch(() => null) ?? new Promise(requestAnimationFrame)"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site; what notebook 04 trains on is cut, so that it takes seconds."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERVT_DATA", "no-real-faces")
        patch.setattr(data, "load", lambda *which, **how: load(*which, **how | _few(how)))
        script = runpy.run_path(str(ROOT / "scripts" / "website.py"))
        script["build"](folder, sorted(script["NOTEBOOKS"].glob("*.ipynb")))
    return folder


def _few(how: dict) -> dict:
    return {"count": 160} if how.get("count", 0) > 1000 else {}


@pytest.fixture(scope="module")
def page(browser: Browser, site: Path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.asked, page.errors = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("0*.html"))


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


def test_every_control_changes_its_picture_without_a_kernel(site, page):
    idle, count = [], 0
    for path in pages(site):
        for picture in open_page(page, path):
            box = picture.evaluate_handle("e => e.closest('.fervt')").as_element()
            for control in box.query_selector_all("input, select"):
                start, seen = control.evaluate(POSITION), set()
                for at in (0, control.evaluate(LAST)):
                    control.evaluate(PUT, at)
                    picture.evaluate(DRAWN)
                    seen.add(picture.evaluate(BYTES))
                control.evaluate(PUT, start)
                count += 1
                if len(seen) == 1:
                    idle.append((path.stem, control.evaluate("e => e.labels[0].textContent")))
    assert idle == [] and count == 40 and page.errors == []


def test_a_slider_ends_at_the_last_region(site, page):
    open_page(page, next(site.glob("02*.html")))
    grid, region = (page.query_selector(f"input[name={name}]") for name in ("grid_size", "region"))
    region.evaluate(PUT, 15)
    grid.evaluate(PUT, 1)  # 2×2 regions
    assert (region.evaluate(LAST), region.evaluate(POSITION)) == (3, 3)
    grid.evaluate(PUT, 5)
    assert region.evaluate(LAST) == 63


def test_axe_finds_nothing_serious(site, page):
    found = []
    for path in [site / "index.html", *pages(site)]:
        open_page(page, path)
        violations = Axe().run(page).response["violations"]
        found += [
            (path.stem, v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")
        ]
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
    assert seen[1][0] > seen[0][0] + 0.05, "a longer query is surer of its key"
    assert seen[2] != seen[1] and page.errors == []

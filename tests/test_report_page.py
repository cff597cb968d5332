"""The page in a browser: what the script and the styles make of it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import browser
import pytest
from test_report_html import HOSTILE, bundle, hostile

from slimpack import gate
from slimpack.gate import Budget, Budgets
from slimpack.report.html import html

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from browser import Browser

    from slimpack.gate import Review

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium, to look at the page with")

MIB = 2**20
READY = "!document.getElementById('map').hidden"
FOCUSED = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
SAID = "document.getElementById('said').textContent"
CELLS = "[...document.querySelectorAll('#cells button')].map((one) => one.getAttribute('aria-label').split(' ')[0])"
CRUMBS = "[...document.querySelectorAll('#crumbs a')].map((one) => one.textContent)"
LISTED = "[...document.querySelectorAll('#listing tbody th')].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(chromium: Browser) -> Iterator[Browser]:
    chromium.look()
    yield chromium
    chromium.run("0")  # what has happened before is told before this is answered
    assert chromium.seen("Runtime.exceptionThrown") == []


def reviewed() -> Review:
    return gate.review(bundle(more=120))


def compared() -> Review:
    budgets = Budgets(packages={"pkg": Budget(warn=MIB)})
    return gate.review(bundle(library=50 * MIB), budgets, baseline=bundle(name="main.zip", more=20))


def shown(page: Browser, folder: Path, review: Review | None = None, until: str | None = READY) -> Browser:
    file = folder / "page.html"
    file.write_text(html(reviewed() if review is None else review), encoding="utf-8")
    page.open(file, until=until)
    return page


def test_the_largest_package_is_the_first_cell_and_the_only_one_in_the_order_of_tabs(
    page: Browser, tmp_path: Path
) -> None:
    shown(page, tmp_path)

    assert page.run(CELLS) == ["pkg", "more", "(app)"][: len(page.run(CELLS))]
    assert page.run("document.querySelectorAll('#cells [tabindex=\"0\"]').length") == 1
    assert page.run("document.querySelector('#cells [tabindex=\"0\"]').getAttribute('aria-label')") == (
        "pkg 54.0 MiB, 100.0 %, 5 files"
    )


def test_enter_opens_what_has_the_focus_and_escape_goes_back_to_it(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("document.querySelector('#cells button').focus()")

    page.press("Enter")
    page.wait(f"({CRUMBS}).length === 2")
    assert page.run(CRUMBS) == ["app.zip", "pkg"]
    assert page.run(CELLS) == ["pkg", "web/page.html"]
    assert page.run(FOCUSED) == "pkg 51.0 MiB, 94.4 %, 4 files"
    assert page.run(SAID) == "pkg: 5 files, 54.0 MiB"
    assert page.run("location.hash") == "#/pkg"

    page.press("ArrowRight")
    assert page.run(FOCUSED) == "web/page.html 3.0 MiB, 5.6 %, file"
    page.press("Escape")
    page.wait(f"({CRUMBS}).length === 1")
    assert page.run(FOCUSED) == "pkg 54.0 MiB, 100.0 %, 5 files"
    page.press("Escape")
    assert page.run(CRUMBS) == ["app.zip"]


def test_arrows_reach_every_cell_and_stop_at_the_edges(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("location.hash = '#/more/more'")
    page.wait(f"({CELLS}).length > 50")
    page.run("document.querySelector('#cells button').focus()")

    boxes = page.run(
        "[...document.querySelectorAll('#cells > .cell')].map((one) => one.getBoundingClientRect())"
        ".map(({left, top, right, bottom}) => [left, top, right, bottom])"
    )
    reached = page.run(
        """(() => {
          const cells = [...document.querySelectorAll('#cells button')];
          const seen = new Set([cells[0]]), queue = [cells[0]];
          while (queue.length) {
            const cell = queue.pop();
            for (const key of ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown']) {
              cell.focus();
              cell.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
              if (!seen.has(document.activeElement)) queue.push(document.activeElement);
              seen.add(document.activeElement);
            }
          }
          return seen.size;
        })()"""
    )

    assert reached == len(boxes)
    page.press("End")
    last = page.run(FOCUSED)
    page.press("Home")
    largest = page.run(FOCUSED)
    assert largest != last
    page.press("ArrowLeft", "ArrowUp")  # it is at the upper left
    assert page.run(FOCUSED) == largest


def test_what_has_the_focus_keeps_it_when_the_window_changes(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("location.hash = '#/pkg'")
    page.wait(f"({CRUMBS}).length === 2")
    page.press("End")
    page.run("document.activeElement.is_old = true")

    page.look(width=700)

    page.wait("!document.querySelector('#cells button').is_old && !document.activeElement.is_old")
    assert page.run(FOCUSED) == "web/page.html 3.0 MiB, 5.6 %, file"


def test_a_file_that_is_opened_tells_what_happened_to_it_and_why(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("location.hash = '#/pkg/pkg/tests/c.py'")
    page.wait(f"({CRUMBS}).length === 4")

    detail = page.run("document.getElementById('detail').innerText")

    assert "pkg/pkg/tests/c.py" in detail
    assert "In the bundle 1.0 MiB · Plain install 1.0 MiB" in detail
    assert "kept, because kept code needs it: pkg/a.py:3 (import of pkg.tests.c)" in detail


def test_the_way_there_can_be_linked_to_and_gone_back(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("document.querySelector('#cells button').click()")
    page.wait(f"({CRUMBS}).length === 2")
    page.run("history.back()")
    page.wait(f"({CRUMBS}).length === 1")

    for nowhere in ("#/no/such/place", "#/%E0%A4%A"):
        page.run(f"location.hash = {json.dumps(nowhere)}")
        page.wait(f"({CRUMBS}).length === 1 && ({CELLS}).length > 0")


def test_a_click_opens_the_folder_that_it_hits(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("document.getElementById('cells').scrollIntoView()")
    box = page.run(
        "[document.querySelector('#cells span.frame').getBoundingClientRect()].flatMap(({x, y}) => [x, y])"
    )

    for kind in ("mousePressed", "mouseReleased"):
        page.call(
            "Input.dispatchMouseEvent", type=kind, x=box[0] + 9, y=box[1] + 9, button="left", clickCount=1
        )

    page.wait(f"({CRUMBS}).length === 3")
    assert page.run(CRUMBS) == ["app.zip", "pkg", "pkg"]


def test_the_search_marks_lists_and_announces_what_it_finds(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)

    page.press("/")
    page.press(*"Tests")
    assert page.run(LISTED) == ["pkg/pkg/tests"]
    assert page.run(SAID) == "Found: 2 files, 1.0 MiB"
    assert page.run("document.querySelectorAll('#cells .hit').length") == 1
    assert page.run("getComputedStyle(document.querySelector('#cells .hit .label')).visibility") == "visible"

    page.press("Enter")
    assert page.run(FOCUSED) == "pkg/pkg/tests"
    page.press("Enter")
    page.wait(f"({CRUMBS}).length === 4")
    assert page.run(CRUMBS)[-1] == "tests"


def test_all_words_of_a_search_must_be_in_the_path(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("document.getElementById('query').focus()")

    page.press(*"pkg .so")
    assert page.run(LISTED) == ["pkg/pkg/c.so"]
    page.press(*"x")
    assert page.run(LISTED) == []
    assert page.run(SAID) == "Nothing has “pkg .sox” in its path."


def test_a_long_list_is_shown_in_part_until_all_of_it_is_asked_for(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)
    page.run("location.hash = '#/more/more'")
    page.wait(f"({LISTED}).length === 100")

    page.run("document.getElementById('more').click()")

    assert len(page.run(LISTED)) == 120


def test_area_and_colour_can_be_switched(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path, compared())

    def choose(control: str, value: str) -> None:
        page.run(f"document.getElementById('{control}').value = '{value}'")
        page.run(f"document.getElementById('{control}').dispatchEvent(new Event('change'))")

    def legend() -> Any:  # noqa: ANN401 -- JSON
        return page.run("[...document.querySelectorAll('#legend li')].map((one) => one.textContent)")

    assert legend() == ["grown or new", "shrunk or gone", "as it was"]
    choose("colour", "what")
    assert legend() == ["kept as it came", "compacted"]
    choose("measure", "saved")
    assert legend() == ["compacted", "removed"]
    assert page.run("document.querySelector('#cells button').getAttribute('aria-label')").startswith(
        "pkg 25.0 MiB"
    )
    choose("measure", "change")
    assert page.run("document.querySelector('#cells button').getAttribute('aria-label')").startswith(
        "pkg +10.0 MiB"
    )


def test_tables_are_sorted_by_a_click_and_their_sums_stay_last(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path, compared())
    rows = (
        "[...document.querySelectorAll('#changes ~ .wide tbody tr')].map((one) => one.cells[0].textContent)"
    )
    click = "document.querySelectorAll('#changes ~ .wide thead button')[{}].click()"
    sort = "[...document.querySelectorAll('#changes ~ .wide thead th')].map((one) => one.getAttribute('aria-sort'))"

    assert page.run(rows) == ["pkg", "more removed", "1 unchanged"]
    page.run(click.format(0))
    assert page.run(rows) == ["more removed", "pkg", "1 unchanged"]
    assert page.run(sort)[0] == "ascending"
    page.run(click.format(4))
    assert page.run(rows) == ["pkg", "more removed", "1 unchanged"]
    assert page.run(sort)[0] is None
    assert page.run(sort)[4] == "descending"


def test_a_package_in_a_table_leads_to_its_place_in_the_map(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)

    page.run(
        "[...document.querySelectorAll('#packages ~ .wide a')].find((one) => one.textContent === 'more').click()"
    )

    page.wait(f"({CRUMBS}).at(-1) === 'more'")
    assert page.run(FOCUSED) == "more 7.0 KiB, 100.0 %, 120 files"


def test_without_a_script_the_tables_are_there_and_the_map_is_not(page: Browser, tmp_path: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        shown(page, tmp_path, until=None)
        words = page.run("document.body.innerText")
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)

    assert "The map of the files needs JavaScript" in words
    assert "Find a package or path" not in words
    assert "tests" in words
    assert "54.0 MiB" in words


def test_nothing_is_loaded_and_the_policy_keeps_it_so(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)

    asked = page.seen("Network.requestWillBeSent")
    assert {one["request"]["url"].split(":")[0] for one in asked} <= {"file", "about"}
    assert page.seen("Log.entryAdded") == []
    blocked = page.run(
        "new Promise((done) => { addEventListener('securitypolicyviolation', (one) => done(one.effectiveDirective)); "
        "new Image().src = 'https://index.example/x.png'; })"
    )
    assert blocked == "img-src"


def test_names_of_strangers_run_nothing_and_are_drawn_as_they_are(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path, hostile(marks=HOSTILE))

    page.run("document.getElementById('query').focus()")
    page.press(*"<")

    assert page.seen("Page.javascriptDialogOpening") == []
    assert page.run("document.querySelectorAll('img, iframe, object, #cells svg').length") == 0
    assert page.run("document.scripts.length") == 2
    assert "<script>alert(1)</script>" in page.run("document.getElementById('cells').textContent")


CONTRAST = """
(() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const light = (color) => {
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((one) => one / 255)
      .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' ? behind(one.parentElement) : color;
  };
  const ratio = (one) => {
    const [low, high] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const least = {};
  while (words.nextNode()) {
    const one = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !one.checkVisibility() || one.closest('script, style, select')) continue;
    const name = one.tagName + '.' + one.className;
    least[name] = Math.min(least[name] ?? 99, ratio(one));
  }
  return least;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("colour", ["change", "what", "part"])
def test_every_word_can_be_told_from_what_is_behind_it(
    page: Browser, tmp_path: Path, scheme: str, colour: str
) -> None:
    page.look(prefers_color_scheme=scheme)
    shown(page, tmp_path, compared())
    page.run(f"document.getElementById('colour').value = '{colour}'")
    page.run("document.getElementById('colour').dispatchEvent(new Event('change'))")

    ratios = page.run(CONTRAST)

    assert len(ratios) > 15
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 28)")


@pytest.mark.parametrize("width", [320, 400, 768, 800])
def test_a_narrow_screen_is_not_too_narrow(page: Browser, tmp_path: Path, width: int) -> None:
    page.look(width=width)
    shown(page, tmp_path, compared())

    assert page.run("document.scrollingElement.scrollWidth") == width
    assert page.run(
        "[...document.querySelectorAll('.wide')].every((one) => one.scrollWidth <= one.clientWidth)"
    )
    assert page.run(
        "[...document.querySelectorAll('table')].every((one) => one.getAttribute('role') === 'table')"
    )


def test_print_has_whole_tables_and_no_controls(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path, compared())
    page.look(media="print", prefers_color_scheme="dark")
    page.run("dispatchEvent(new Event('beforeprint'))")

    visible = "[...document.querySelectorAll('{}')].filter((one) => one.checkVisibility()).length"
    assert page.run(visible.format("input, select, #detail, #keys, .skip")) == 0
    assert page.run(visible.format("details table")) == 1
    assert page.run(visible.format("#packages ~ .wide tbody td")) == page.run(
        "document.querySelectorAll('#packages ~ .wide tbody td').length"
    )
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize(("preference", "moves"), [("reduce", 0), ("no-preference", 1)])
def test_nothing_moves_for_those_who_want_it_so(
    page: Browser, tmp_path: Path, preference: str, moves: int
) -> None:
    page.look(prefers_reduced_motion=preference)
    shown(page, tmp_path)
    page.run("document.getElementById('cells').animate = () => { window.moved = (window.moved ?? 0) + 1; }")

    page.run("document.querySelector('#cells button').click()")
    page.wait(f"({CRUMBS}).length === 2")

    assert page.run("window.moved ?? 0") == moves


def test_those_who_listen_have_landmarks_names_and_tables(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path, compared())

    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    heard = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
    ]

    assert {"banner", "main", "contentinfo", "search", "status"} <= {role for role, _ in heard}
    named = {"Map", "Findings", "Budgets", "Changes", "Packages", "Rules"}
    assert named <= {name for role, name in heard if role == "region"}
    assert ("group", "Map") in heard
    assert ("button", "pkg 64.0 MiB, 100.0 %, 5 files") in heard
    assert ("table", "Largest first") in heard
    assert ("rowheader", "pkg") in heard
    assert ("columnheader", "Before") in heard
    assert not [
        role for role, name in heard if role in {"button", "link", "textbox", "combobox"} and not name
    ]


def test_the_first_tab_leads_past_everything_to_the_tables(page: Browser, tmp_path: Path) -> None:
    shown(page, tmp_path)

    page.press("Tab")

    assert page.run(FOCUSED) == "To the packages"
    assert page.run("document.activeElement.getBoundingClientRect().left") >= 0
    page.press("Enter")
    page.wait("location.hash === '#packages'")
    assert page.run("document.activeElement.id") == "packages"


def test_a_bundle_of_one_empty_file_has_a_map_that_says_so(page: Browser, tmp_path: Path) -> None:
    account = bundle()
    empty = dataclasses.replace(account, files=(), size=0, manifest=None, distributions=())

    shown(page, tmp_path, gate.review(empty))

    assert not page.run(
        "document.getElementById('measure').checkVisibility()"
    )  # there is one thing to measure
    assert "Nothing to draw" in page.run("document.getElementById('cells').textContent")

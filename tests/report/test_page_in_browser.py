"""The page does what it says in a browser: sorts, filters, shows records, downloads, and fetches nothing."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from small_page import ATTACK, SVG, small_document, small_items, small_records

from ablate.report.page import page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt install chromium)")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

CSV = {
    "contrasts.csv": 'arm,gain\nimage,"a ""quoted"" cell"\r\n</script><!--,\u00e9\u2028\U0001f600\n',
    "scores.csv": "",
}
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 640}


@dataclass
class Visit:
    """A page that is open, and what it did that a page should not do."""

    page: "playwright.Page"
    faults: list[str] = field(default_factory=list)
    """Console messages, uncaught errors, and violations of the policy."""
    requests: list[str] = field(default_factory=list)

    def column(self, table: str, place: int) -> list[str]:
        """The cells of a column that are shown, top to bottom."""
        rows = self.page.locator(f"#{table} tbody tr:not([hidden])")
        return rows.evaluate_all("(rows, at) => rows.map((row) => row.cells[at].textContent)", place)

    def head(self, table: str, title: str) -> "playwright.Locator":
        return self.page.locator(f"#{table} thead button", has_text=title)

    def cell(self, table: str, row: int, place: int) -> "playwright.Locator":
        return self.page.locator(f"#{table} tbody tr >> nth={row}").locator("th, td").nth(place)

    def records(self) -> list[list[str]]:
        return self.page.locator("#records table tr").evaluate_all(
            "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
        )

    def focused(self) -> str:
        return self.page.evaluate("document.activeElement.textContent")


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a page from disk; fails the test if it complained or asked for anything but itself."""
    visits, contexts = [], []

    def opened(text: str | None = None, **settings) -> Visit:
        path = tmp_path / f"page{len(visits)}.html"
        path.write_text(written() if text is None else text, encoding="utf-8")
        context = browser.new_context(**({"viewport": DESKTOP, "accept_downloads": True} | settings))
        contexts.append(context)
        one = Visit(context.new_page())
        visits.append(one)
        one.page.on("console", lambda message: one.faults.append(message.text))
        one.page.on("pageerror", lambda error: one.faults.append(str(error)))
        one.page.on("dialog", lambda shown: one.faults.append(shown.message))
        context.route("**/*", lambda route: (one.requests.append(route.request.url), route.continue_()))
        one.page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"
        )
        one.page.goto(path.as_uri())
        return one

    yield opened
    faults = [fault for one in visits for fault in one.faults]
    asked = [url for one in visits for url in one.requests]
    for context in contexts:
        context.close()
    assert faults == []
    assert asked == [(tmp_path / f"page{place}.html").as_uri() for place in range(len(visits))]


def written(name: str = "fabricated", arm: str = "image") -> str:
    figures = {"forest": SVG, "decomposition": SVG}
    return page(
        small_document(name, arm), figures, small_records(arm), CSV, f"study: {name}", small_items(arm)
    )


GAINS, ITEMS, SCORES = "confirmatory-0-table", "items-table", "scores-3-table"


def test_a_fault_in_the_page_would_be_seen(visit):
    """The other tests can fail: a style that the policy forbids, and a request, are both noticed."""
    broken = written().replace(
        "<main>", '<main><p style="color: red"></p><img src="http://127.0.0.1:9/x.png">'
    )
    one = visit(broken)
    one.page.wait_for_timeout(100)
    assert any("style-src" in fault for fault in one.faults)
    assert any("img-src" in fault for fault in one.faults)
    one.faults.clear()


def test_it_opens_from_disk_without_a_complaint_or_a_request(visit):
    one = visit()
    assert one.page.title() == "fabricated: report"
    first = one.page.locator("main > *").first
    assert first.get_attribute("class") == "verdict"
    assert "image helps (grounding: helps)" in first.inner_text()


def test_a_header_sorts_up_then_down_then_as_it_was_numbers_by_size(visit):
    one = visit()
    before = one.column(GAINS, 3)
    head = one.head(GAINS, "mean gain")
    head.click()
    up = one.column(GAINS, 3)
    assert up == ["-0.12", "0.02", "+0.1", *["0.5"] * 4, "+0.9", "+10.5", "–"]
    assert head.locator("..").get_attribute("aria-sort") == "ascending"
    head.click()
    assert one.column(GAINS, 3) == ["+10.5", "+0.9", *["0.5"] * 4, "+0.1", "0.02", "-0.12", "–"]
    assert head.locator("..").get_attribute("aria-sort") == "descending"
    assert "by mean gain, descending" in one.page.locator("[role=status]").first.inner_text()
    head.click()
    assert one.column(GAINS, 3) == before
    assert head.locator("..").get_attribute("aria-sort") == "none"


def test_text_sorts_by_its_letters_and_one_column_at_a_time(visit):
    one = visit()
    one.head(GAINS, "mean gain").click()
    one.head(GAINS, "contrast").click()
    assert one.column(GAINS, 1)[:4] == [f"filler {place}" for place in range(4)]
    sorted_by = one.page.locator(f"#{GAINS} th[aria-sort=ascending]").all_inner_texts()
    assert [text.strip() for text in sorted_by] == ["contrast"]
    one.head(ITEMS, "item").click()
    assert one.column(ITEMS, 0) == [f"q{place}" for place in range(12)]


def test_items_are_filtered_by_words_and_by_cluster_and_the_count_says_so(visit):
    one = visit()
    section = one.page.locator(f"section:has(#{ITEMS})")
    section.get_by_label("Filter").fill("Q1")
    assert one.column(ITEMS, 0) == ["q1", "q10", "q11"]
    section.get_by_label("Cluster").select_option("island 1")
    assert one.column(ITEMS, 0) == ["q1", "q10"]
    assert section.locator("[role=status]").inner_text() == "2 of 12 rows"
    section.get_by_label("Filter").fill("nothing like it")
    assert one.column(ITEMS, 0) == []
    section.get_by_label("Filter").fill("")
    section.get_by_label("Cluster").select_option("")
    assert len(one.column(ITEMS, 0)) == 12


def test_a_cell_opens_the_records_behind_it_and_escape_closes_them(visit):
    one = visit()
    one.cell(GAINS, 0, 3).click()
    assert one.page.locator("#records").evaluate("(dialog) => dialog.open && dialog.matches(':modal')")
    head, *rows = one.records()
    assert head[:5] == ["arm", "seed", "planted/accuracy", "status", "record"]
    assert [row[:5] for row in rows] == [
        ["image", "0", "0.9333333333333333", "finished", "records/image-seed0.json"],
        ["image", "1", "0.94", "finished", "records/image-seed1.json"],
        ["text", "0", "0.12", "finished", "records/text-seed0.json"],
        ["text", "1", "0.13", "finished", "records/text-seed1.json"],
    ]
    assert rows[0][5:] == ["image/0", "c0ffee", "cpu", "0"]
    one.page.keyboard.press("Escape")
    assert not one.page.locator("#records").evaluate("(dialog) => dialog.open")
    assert one.focused() == "+0.9"


def test_a_cell_of_one_seed_or_one_arm_shows_its_own_records_alone(visit):
    one = visit()
    one.cell(SCORES, 0, 3).click()
    assert [row[:3] for row in one.records()[1:]] == [["text", "1", "0.13"]]
    one.page.get_by_role("button", name="Close").click()
    one.cell(ITEMS, 0, 4).click()
    head, *rows = one.records()
    assert {row[0] for row in rows} == {"image"}
    assert rows[1][head.index("item scores")] == "items/image-seed1.parquet"


def test_everything_can_be_done_by_keyboard(visit):
    one = visit()
    press = one.page.keyboard.press
    press("Tab")
    assert one.focused() == "Skip to the verdict"
    press("Enter")
    assert one.focused() == "Verdict"
    one.head(GAINS, "mean gain").focus()
    press("Enter")
    assert one.column(GAINS, 3)[0] == "-0.12"
    for _ in range(4):  # past the three other headers, into the rows
        press("Tab")
    assert one.page.evaluate("document.activeElement.matches('tbody th')")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowDown"):
        press(key)
    assert one.focused() == "0.02"
    outline = one.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press("Enter")
    assert one.page.locator("#records-title").inner_text() == "mean gain: 0.02"
    press("Escape")
    assert one.focused() == "0.02"
    press("End")
    press("ArrowRight")
    assert one.focused() == "fabricated 5"
    # One tab stop a table: the next is outside it.
    press("Tab")
    assert not one.page.evaluate("document.activeElement.closest('table')")


def test_a_filter_that_hides_the_tab_stop_moves_it(visit):
    one = visit()
    one.page.locator(f"section:has(#{GAINS})").get_by_label("Filter").fill("filler 2")
    assert one.page.locator(f"#{GAINS} tbody [tabindex='0']").count() == 1
    assert one.page.locator(f"#{GAINS} tbody tr:not([hidden]) [tabindex='0']").count() == 1


@pytest.mark.parametrize("name", CSV)
def test_a_download_is_the_csv_byte_for_byte(visit, tmp_path, name):
    one = visit()
    with one.page.expect_download() as waiting:
        one.page.locator(f"#downloads ~ ul button[data-file='{name}']").click()
    assert waiting.value.suggested_filename == name
    waiting.value.save_as(tmp_path / name)
    assert (tmp_path / name).read_bytes() == CSV[name].encode()


def test_names_that_carry_scripts_are_shown_and_do_nothing(visit):
    one = visit(written(ATTACK, ATTACK))
    assert one.page.locator("h1").evaluate("(head) => head.textContent") == ATTACK
    assert one.page.locator("img").count() == 0
    one.cell(GAINS, 0, 1).click()
    rows = one.records()[1:]
    assert [row[0] for row in rows] == [ATTACK, ATTACK, "text", "text"]
    assert [row[2] for row in rows[:2]] == ["0.9333333333333333", "0.94"]
    for link in one.page.locator("#records a").all():
        assert link.get_attribute("href").startswith("records/")
        target = link.evaluate("(link) => link.href")
        assert Path(target).parent == Path(one.page.url).parent / "records"


def test_an_endpoint_called_as_a_property_of_objects_has_its_own_scores(visit):
    for endpoint in ("constructor", "__proto__"):
        document, records = small_document(endpoint=endpoint), small_records(endpoint=endpoint)
        one = visit(page(document, {}, records, {}, "", None))
        one.cell(GAINS, 0, 3).click()
        assert [row[2] for row in one.records()[1:]] == ["0.9333333333333333", "0.94", "0.12", "0.13"]
        records = small_records(endpoint="other/accuracy")
        one = visit(page(document, {}, records, {}, "", None))
        one.cell(GAINS, 0, 3).click()
        assert {row[2] for row in one.records()[1:]} == {"no score"}


@pytest.mark.parametrize("arm", ["image", "a" * 90, ATTACK])
def test_a_phone_scrolls_tables_and_not_the_page(visit, arm):
    one = visit(written(arm, arm), viewport=PHONE)
    one.page.locator("details summary").click()
    one.page.evaluate("document.querySelectorAll('.part').forEach((part) => part.scrollIntoView())")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = one.page.locator(f".scroll:has(#{GAINS})")
    assert wide.evaluate("(box) => { box.scrollLeft = 60; return box.scrollLeft }") == 60
    # A section clips what sticks out of it, so nothing but a scrolling box may be wider than the screen.
    sticking_out = one.page.locator("body *").evaluate_all(
        """(all) => all.filter((one) => !one.closest("table, svg, pre, caption, .skip, option"))
        .filter((one) => one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML)"""
    )
    assert sticking_out == []
    one.cell(GAINS, 0, 0).click()
    box = one.page.locator("#records").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    assert one.page.locator("#records-close").bounding_box()["y"] >= 0


def test_the_dark_page_is_dark_and_its_figures_stay_on_white(visit):
    painted = {}
    for scheme in ("light", "dark"):
        one = visit(color_scheme=scheme)
        painted[scheme] = [
            one.page.locator(place).first.evaluate("(element) => getComputedStyle(element).backgroundColor")
            for place in ("body", ".verdict", ".figure")
        ]
    assert painted["light"][0] == "rgb(255, 255, 255)"
    assert painted["dark"][:2] == ["rgb(21, 24, 28)", "rgb(32, 37, 42)"]
    assert painted["light"][2] == painted["dark"][2] == "rgb(255, 255, 255)"


def test_paper_is_light_shows_the_recipe_and_no_controls(visit):
    one = visit(color_scheme="dark")
    assert not one.page.locator("details").evaluate("(one) => one.open")
    one.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert one.page.locator("details").evaluate("(one) => one.open")
    one.page.emulate_media(media="print")
    background = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    for hidden in ("nav", ".tools >> nth=0", "#downloads"):
        assert not one.page.locator(hidden).is_visible()
    assert one.page.locator("pre").is_visible()
    one.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not one.page.locator("details").evaluate("(one) => one.open")
    assert one.page.pdf().startswith(b"%PDF")


def test_figures_are_drawn_as_their_files_say(visit):
    one = visit()
    stroke = one.page.locator(".figure svg path[clip-path]").first
    assert stroke.evaluate("(path) => getComputedStyle(path).stroke") == "rgb(0, 114, 178)"
    assert stroke.evaluate("(path) => getComputedStyle(path).strokeWidth") == "2px"
    named = one.page.get_by_role("img", name="Forest plot of fabricated")
    assert named.count() == 1


def test_without_scripts_the_numbers_are_still_there(visit):
    one = visit(java_script_enabled=False)
    assert one.page.locator(f"#{GAINS} tbody tr").count() == 10
    assert not one.page.locator(".tools").first.is_visible()
    assert "Without scripts" in one.page.locator("main").inner_text()

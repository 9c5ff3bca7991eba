"""The page says what the document says, alone and inert, whatever the names in it."""

import base64
import hashlib
import html
import json
import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from fabricated import run
from small_page import ATTACK, SVG, small_document, small_items, small_records

import ablate.report
from ablate.report.document import Document, Section
from ablate.report.page import MOST_ROWS, embedded_json, page, without_drawings
from ablate.report.tables import Table, run_names

FOLDER = Path(ablate.report.__file__).parent / "page"
CSV = {"contrasts.csv": "arm,gain\r\n</script><!--,1\u2028\n", "scores.csv": "é,\ud800\n"}
VOID = {"meta", "link", "input", "br", "img"}


class Parsed(HTMLParser):
    """Elements with attributes, text of cells by table, and the raw text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag in ("script", "style"):
            self.raw.append((dict(attrs), ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)
        else:
            self.text += data
        if {"td", "th"} & set(self.open) and "script" not in self.open:
            self.tables[-1][-1][-1] += data

    def data(self, name: str):
        return next(json.loads(text) for attributes, text in self.raw if attributes.get("id") == name)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def made(
    name: str = "fabricated", arm: str = "image", figures: dict[str, str] | None = None, downloads=CSV
) -> str:
    figures = {"forest": SVG, "decomposition": SVG} if figures is None else figures
    return page(
        small_document(name, arm), figures, small_records(arm), downloads, f"study: {name}", small_items(arm)
    )


def test_the_verdict_comes_first_then_the_plan_then_the_parts_in_order():
    text = html.unescape(made())
    parts = ["<h1>", 'id="verdict"', "image helps (grounding: helps):", "Plan locked", "Deviation:"]
    parts += ['id="confirmatory-0"', 'id="forest-1"', 'id="decomposition-2"', 'id="scores-3"']
    parts += ["Items</h2>", 'id="disclosures"', 'id="recipe"', 'id="downloads"', ">Provenance<"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_same_arguments_give_the_same_bytes_in_any_order_of_the_records():
    again = page(
        small_document(),
        {"decomposition": SVG, "forest": SVG},
        small_records()[::-1],
        CSV,
        "study: fabricated",
        small_items(),
    )
    assert made() == again


def test_every_cell_of_every_table_is_in_the_page_and_no_other():
    document, items = small_document(), small_items()
    tables = Parsed(made()).tables
    expected = [section.table for section in document.sections] + [items.table]
    assert len(tables) == len(expected) + 1  # and the empty one of the dialog
    for found, table in zip(tables, expected, strict=False):
        shown = [["–" if cell is None else str(cell) for cell in row] for row in table.rows]
        assert found == [table.columns, *shown]


@pytest.mark.parametrize("attack", [ATTACK, "a\x00b\ud800c\x1bd", "\u202egnp.exe", "__proto__", " "])
def test_names_that_carry_markup_are_text(attack):
    parsed = Parsed(made(attack, attack, downloads=CSV | {attack: attack}))
    plain = Parsed(made(downloads=CSV | {"more.csv": "x"}))
    # A long name is not set in bold, and makes a wide column.
    shape, expected = (
        [(tag, found.keys() - {"class"}) for tag, found in one.elements if tag != "strong"]
        for one in (parsed, plain)
    )
    assert shape == expected
    for _, attributes in parsed.elements:
        assert not any(key.startswith("on") or key == "style" for key in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    shown = re.sub("[\x00-\x1f\ud800]", "\ufffd", attack)
    assert shown in parsed.text
    assert parsed.data("provenance")["arm"]["values"] == sorted({shown, "text"})
    made(attack).encode("utf-8")


def test_only_the_pages_own_style_and_script_are_allowed_to_run():
    parsed = Parsed(made(ATTACK, ATTACK))
    policy = next(meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "nonce" not in policy
    runs_as_code = [text for attributes, text in parsed.raw if attributes.get("type") != "application/json"]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in runs_as_code]
    assert [rules["style-src"], rules["script-src"]] == [f"'sha256-{digest}'" for digest in digests]
    # The policy forbids inline styles, so a style attribute would be a fault in the console.
    assert not any("style" in attributes for _, attributes in parsed.elements)


def test_style_and_script_cannot_end_their_own_element():
    for name in ("page.css", "page.js"):
        assert not re.search("</|<!--|<script", (FOLDER / name).read_text(encoding="utf-8"))


def test_downloads_are_in_the_page_byte_for_byte():
    parsed = Parsed(made())
    files = {one["data-file"]: json.loads(text) for one, text in parsed.raw if one.get("class") == "file"}
    assert files == CSV
    buttons = {one["data-file"] for one in parsed.all("button") if "data-file" in one}
    assert buttons == set(CSV)


def test_a_float_of_fewer_digits_changes_nothing_but_itself():
    """Another processor may write 0.1 where this one writes 0.09999999999999999."""
    long, short = (
        page(small_document(), {}, [], {"fit.csv": f"gain\n{gain}\n"}, "", None)
        for gain in ("0.09999999999999999", "0.1")
    )
    assert long.replace("0.09999999999999999", "0.1") == short
    assert "2 lines" in short


def test_embedded_json_holds_no_markup_and_comes_back():
    value = {"</script>": ["<!--", "&amp;", "\u2028\u2029", 0.1, None]}
    text = embedded_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def expanded(ranges: str) -> list[int]:
    ends = [[int(end) for end in part.split("-")] for part in ranges.split(",") if part]
    return [number for end in ends for number in range(end[0], end[-1] + 1)]


def test_every_row_leads_to_the_records_that_it_was_made_of():
    document = small_document()
    records = {f"{record.arm}-seed{record.seed}": record for record in small_records()}
    parsed = Parsed(made())
    known = parsed.data("provenance")
    arms = [known["arm"]["values"][at] for at in known["arm"]["at"]]
    names = [f"{arm}-seed{seed}" for arm, seed in zip(arms, known["seed"], strict=True)]
    rows = iter([int(row["data-runs"]) for row in parsed.all("tr") if "data-runs" in row])
    for section in document.sections:
        for sources in section.table.sources:
            assert [names[at] for at in expanded(known["groups"][next(rows)])] == list(sources)
    scores = known["scores"]["planted/accuracy"]
    for at, value in zip(expanded(scores["at"]), scores["values"], strict=True):
        record = records[names[at]]
        assert value == record.scores["planted/accuracy"].value
        assert known["identity"][at] == record.identity
        assert known["commit"]["values"][known["commit"]["at"][at]] == "c0ffee"


def test_a_source_without_a_record_is_shown_as_such_and_a_score_of_nan_as_text():
    table = Table(["endpoint", "arm"])
    table.add(["prose/bits", "image"], ["image-seed0", "image-seed7", "nonsense"])
    document = Document("a", "b", [], [], [Section("x", "X", table)], [], "")
    records = [run("image", 0, {"prose/bits": float("nan")})]
    known = Parsed(page(document, {}, records, {}, "", None)).data("provenance")
    statuses = [known["status"]["values"][at] for at in known["status"]["at"]]
    assert statuses == ["finished", "no record", "no record"]
    assert known["seed"] == [0, 7, None]
    assert known["scores"]["prose/bits"]["values"] == ["nan", None, None]


def test_a_table_of_more_rows_than_a_page_holds_says_so_and_names_the_whole():
    table = Table(["arm", "gain"])
    for place in range(MOST_ROWS + 5):
        table.add([f"arm{place}", "0"])
    for downloads, whole in (
        ({"more.csv": "x"}, "all are in more.csv"),
        ({}, "all are in the study's tables beside this page"),
    ):
        document = Document("a", "b", [], [], [Section("more", "More", table)], [], "")
        text = page(document, {}, [], downloads, "", None)
        assert len(Parsed(text).tables[0]) == 1 + MOST_ROWS
        assert f"The first 2,000 of 2,005 rows are here; {whole}" in " ".join(Parsed(text).text.split())


def test_a_picture_that_was_not_drawn_leaves_its_description():
    parsed = Parsed(made(figures={}))
    assert "This figure is not here. Where the gain comes from." in parsed.text
    assert parsed.all("svg") == []


def test_two_figures_share_no_identifier_and_each_has_a_name_and_a_description():
    parsed = Parsed(made())
    names = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    for svg in parsed.all("svg"):
        assert svg["role"] == "img"
        assert set(svg["aria-labelledby"].split()) <= set(names)
    for element in (attributes for _, attributes in parsed.elements):
        for reference in re.findall(r"url\(#(.+?)\)", element.get("clip-path") or ""):
            assert reference in names
        if (element.get("href") or "").startswith("#"):
            assert element["href"][1:] in names


def test_a_page_without_its_drawings_is_the_same_whatever_drew_them():
    other = {"forest": SVG.replace("40 20", "30 10"), "decomposition": SVG}
    assert made() != made(figures=other)
    assert without_drawings(made()) == without_drawings(made(figures=other))


def test_the_page_can_be_found_around_in_without_seeing_it():
    parsed = Parsed(made())
    assert parsed.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer", "nav", "h1"):
        assert len(parsed.all(landmark)) == 1, landmark
    assert next(iter(parsed.all("a"))) == {"class": "skip", "href": "#verdict"}
    names = {attributes.get("id") for _, attributes in parsed.elements}
    for _, attributes in parsed.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(key) or "").split()) <= names
    assert len(parsed.all("caption")) == len(parsed.all("table")) - 1
    text = made()
    for control in re.findall(r"<(?:input|select)\b", text):
        assert re.search(rf"<label>\w+ {control}", text)


def colours(css: str, block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", re.search(block, css, re.DOTALL)[1]))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("block", [r"^\n:root \{(.*?)\}", r"scheme: dark\) \{(.*?)\}"])
def test_text_and_controls_stand_out_as_wcag_aa_asks(block):
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    found = colours(css, block)
    for paper in ("paper", "card"):
        for ink in ("ink", "soft", "accent"):
            assert contrast(found[ink], found[paper]) >= 4.5, (ink, paper)
        assert contrast(found["line"], found[paper]) >= 3, ("line", paper)
    assert contrast(found["on-accent"], found["accent"]) >= 4.5
    # Every colour of the page is one of these, or the white card of a figure.
    rest = re.sub(r":root \{.*?\}", "", css, flags=re.DOTALL)
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", rest)) == {"#ffffff", "#000000"}
    assert set(re.findall(r"var\(--([\w-]+)\)", css)) == found.keys()


def test_headings_do_not_skip_a_level():
    levels = [int(tag[1]) for tag, _ in Parsed(made()).elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ten_thousand_records_make_a_small_page_in_little_time():
    arms, seeds = [f"image{place}" for place in range(100)], range(100)
    endpoints = [f"task{place}/accuracy" for place in range(5)]
    values = dict.fromkeys(endpoints, 0.123456789)
    records = [run(arm, seed, values, identity=f"{seed:032x}") for arm in arms for seed in seeds]
    table = Table(["endpoint", "contrast", *(f"column {place}" for place in range(12))])
    for endpoint in endpoints:
        for arm in arms:
            cells = [endpoint, f"{arm} vs image0", *["[+0.123, +0.456]"] * 12]
            table.add(cells, run_names([arm, "image0"], seeds))
    sections = [Section(f"part{place}", "Part", table) for place in range(3)]
    document = Document("large", "?", [], [], [*sections], [], "")
    begun = time.process_time()
    text = page(document, {}, records, {}, "", None)
    assert time.process_time() - begun < 3
    assert len(text) < 5e6
    assert len(embedded_json(Parsed(text).data("provenance"))) < 2e6

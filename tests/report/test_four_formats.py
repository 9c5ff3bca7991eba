"""The numbers in Markdown, LaTeX, HTML and CSV are the same numbers: all four are parsed and compared."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, ledger, run
from large_study import write_large_study
from markdown_it import MarkdownIt
from read_latex import latex_tables

from ablate.report.analysis import analyse, read_study
from ablate.report.document import compose
from ablate.report.study import render

INTERVAL95, INTERVAL90 = ["ci95_low", "ci95_high"], ["ci90_low", "ci90_high"]
CONTRAST = (["endpoint", "contrast"], ["endpoint", "arm vs reference"])
CSV_OF = {
    "confirmatory": (
        "contrasts.csv",
        *CONTRAST,
        {
            "n": ["n"],
            "mean gain": ["mean_gain"],
            "95% CI": INTERVAL95,
            "90% CI": INTERVAL90,
            "p differs": ["p_difference_adjusted"],
            "p equivalent": ["p_equivalence_adjusted"],
            "margin": ["margin"],
        },
    ),
    "precision": (
        "contrasts.csv",
        *CONTRAST,
        {
            "sd": ["sd"],
            "Welch 95%": ["welch95_low", "welch95_high"],
            "r": ["correlation"],
            "bootstrap 95%": ["bootstrap95_low", "bootstrap95_high"],
            "s.e. seeds": ["se_seeds"],
            "s.e. items": ["se_items"],
            "p sign flip": ["p_sign_flip"],
            "detectable at 80%": ["detectable_80"],
            "at 90%": ["detectable_90"],
        },
    ),
    "decomposition": (
        "decomposition.csv",
        ["endpoint", "part", "contrast"],
        ["endpoint", "part", "treated vs reference"],
        {"n": ["n"], "mean gain": ["mean_gain"], "95% CI": INTERVAL95},
    ),
    "equivalents": (
        "equivalents.csv",
        *CONTRAST,
        {
            "n": ["n"],
            "gain": ["gain"],
            "fresh text tokens": ["tokens"],
            "95% CI": ["tokens95_low", "tokens95_high"],
            "tokens per media position": ["rate"],
            "95% CI of it": ["rate95_low", "rate95_high"],
        },
    ),
}
CSV_OF["exploratory"] = CSV_OF["confirmatory"]
"""Section to its file, the columns that name a row there and here, and shown column to exact columns."""

NUMBER = re.compile(r"[<~]?[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")


def fabricated():
    """Names that every format has to escape, missing pairs, a diverged run, a ladder, six controls' worth."""
    arms = {arm.replace("image", "image_%&<b>|"): values for arm, values in PLANTED.items()}
    arms |= {"*half* $x$": [0.11, 0.12, 0.10, 0.13, 0.11], "ladder_1": [0.105, 0.12, 0.1, 0.12, 0.115]}
    records = []
    for arm, values in arms.items():
        for seed, value in enumerate(values):
            spent = ledger(
                40_000 if "image" in arm else 0, text_tokens=450_000 if "ladder" in arm else 900_000
            )
            scores = {
                ACCURACY: value,
                BITS: 2.0 - value / 3 + seed / 1e3,
                "prose/bits_per_byte/a": 1.0 + value,
            }
            records.append(run(arm, seed, scores, spent=spent))
    plan = header(
        records, {ACCURACY: 0.05, BITS: 0.004}, ladder={"ladder_1": 0.5}, study="a_study & <b>more</b>"
    )
    return analyse(plan, [record for record in records if (record.arm, record.seed) != ("*half* $x$", 2)])


@pytest.fixture(scope="module", params=["fabricated", "with items"])
def study(request, tmp_path_factory):
    if request.param == "fabricated":
        return fabricated()
    folder = tmp_path_factory.mktemp("large") / "study"
    write_large_study(folder, arms=3, seeds=4, rows=100)
    return read_study(folder)


@pytest.fixture(scope="module")
def files(study):
    return render(study).files


@pytest.fixture(scope="module")
def shown(study):
    """Section to its rows as the document has them, the column names first."""
    return {
        section.key: [
            [" ".join(("–" if cell is None else str(cell)).split()) for cell in row]
            for row in [section.table.columns, *section.table.rows]
        ]
        for section in compose(study).sections
    }


def markdown_tables(text):
    """Title to rows, by a parser of CommonMark with GitHub's tables."""
    tables, title, at, within = {}, "", "", False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "heading_open":
            at = "title"
        elif token.type == "tr_open":
            tables.setdefault(title, []).append([])
        elif token.type in ("table_open", "table_close"):
            within = token.type == "table_open"
        elif token.type == "inline":
            words = "".join(child.content for child in token.children)
            assert {child.type for child in token.children} <= {"text", "text_special"} or not within
            if within:
                tables[title][-1].append(words)
            elif at == "title":
                title = words
            at = ""
    return tables


class Tables(HTMLParser):
    """Key of a section to the rows of its table."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tables, self.rows, self.cell = {}, None, None

    def handle_starttag(self, tag, attributes):
        found = re.fullmatch(r"(.+)-\d+-table", dict(attributes).get("id") or "")
        if tag == "table" and found:
            self.rows = self.tables.setdefault(found[1], [])
        elif self.rows is not None and tag == "tr":
            self.rows.append([])
        elif self.rows is not None and tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag == "table":
            self.rows = None
        elif tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append(" ".join(self.cell.split()))
            self.cell = None


def test_the_fabricated_study_has_every_section_that_numbers_are_compared_in():
    keys = {section.key for section in compose(fabricated()).sections}
    assert CSV_OF.keys() | {"scores", "compute", "missing", "chance"} <= keys


def test_markdown_shows_the_numbers_of_the_document(study, shown, files):
    found = markdown_tables(files["table.md"])
    titles = {section.key: section.title for section in compose(study).sections}
    assert found.keys() == set(titles.values())
    for key, rows in shown.items():
        assert found[titles[key]] == rows


def test_latex_shows_the_numbers_of_the_document(shown, files):
    found = latex_tables(files["table.tex"])
    assert found == shown


def test_the_page_shows_the_numbers_of_the_document(shown, files):
    parser = Tables()
    parser.feed(files["report.html"])
    assert {key: parser.tables[key] for key in shown} == shown


def csv_rows(text):
    # Text that a spreadsheet would run stands behind an apostrophe.
    return [
        {name: value.removeprefix("'") for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def agrees(cell, exact):
    """Whether the numbers in ``cell`` are those of ``exact``, rounded as shown; an absent one is absent."""
    told = [value for value in exact if value != ""]
    numbers = NUMBER.findall(cell.replace(" to ", "  "))
    if cell == "–" or not told:
        return cell == "–" and not told
    return len(numbers) == len(told) and all(map(_rounds_to, numbers, told))


def _rounds_to(number, exact):
    if number.startswith("<"):
        return float(exact) < float(number[1:])
    digits, _, power = number.replace(",", "").partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(float(digits) * 10.0 ** int(power or 0) - float(exact)) <= unit * (0.5 + 1e-6)


@pytest.mark.parametrize("key", CSV_OF)
def test_csv_holds_the_shown_numbers_unrounded(key, shown, files):
    if key not in shown:
        pytest.skip(f"this study has no section {key}")
    name, named, columns, exact = CSV_OF[key]
    rows = {
        tuple(" vs ".join(row[part] for part in column.split(" vs ")) for column in columns): row
        for row in csv_rows(files[name])
    }
    head, *body = shown[key]
    compared = 0
    for cells in body:
        row = dict(zip(head, cells, strict=True))
        source = rows[tuple(row[column] for column in named)]
        for column, sources in exact.items():
            cell = row[column].partition(" (")[0] if column == "n" else row[column]
            if column == "n":
                cell = cell.partition(" of ")[0]
            assert agrees(cell, [source[one] for one in sources]), (key, row, column, source)
            compared += 1
    assert compared >= len(exact)


def test_csv_holds_every_score_unrounded(shown, files):
    exact = {(row["endpoint"], row["arm"], row["seed"]): row for row in csv_rows(files["scores.csv"])}
    head, *body = shown["scores"]
    for cells in body:
        row = dict(zip(head, cells, strict=True))
        values = []
        for column in head:
            if column.startswith("seed "):
                source = exact[row["endpoint"], row["arm"], column.removeprefix("seed ")]
                values.append(source["value"])
                if source["value"]:
                    assert agrees(row[column], [source["value"]])
                else:
                    assert row[column] == source["missing"]
        if all(values):
            assert agrees(row["mean"], [str(sum(map(float, values)) / len(values))])
        else:
            assert row["mean"] == "–"


def test_csv_holds_what_arms_spent_unrounded(shown, files):
    exact = {row["arm"]: row for row in csv_rows(files["compute.csv"])}
    columns = {"steps": "steps", "positions": "positions", "text tokens": "text_tokens"}
    columns |= {"media positions": "media_positions", "wall seconds": "wall_seconds"}
    columns |= {"FLOPs executed": "flops_executed", "parameters": "parameters"}
    head, *body = shown["compute"]
    for cells in body:
        row = dict(zip(head, cells, strict=True))
        for column, name in columns.items():
            ends = [exact[row["arm"]][f"{name}_{end}"] for end in ("min", "max")]
            assert agrees(row[column], ends if " to " in row[column] else ends[:1]), (row, column)


def test_a_number_that_is_not_the_same_is_seen():
    assert agrees("+0.845 [+0.800, +0.890]", ["0.8451", "0.7999", "0.8902"])
    assert not agrees("+0.845", ["0.8456"])
    assert not agrees("0.845", ["-0.845"])
    assert not agrees("–", ["0.1"])
    assert not agrees("0.1", [""])
    assert agrees("<0.001", ["1e-9"])
    assert not agrees("<0.001", ["0.002"])
    assert agrees("2.649e12", ["2648545689600"])
    assert agrees("614,110 to 614,136", ["614110", "614136"])

"""A report as an article: it compiles as it stands, nothing runs off the page, and no name is a command."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_latex import latex_tables, plain

from ablate.report.document import Document, Picture, Section
from ablate.report.latex import latex
from ablate.report.latex_text import breakable, escape, pieces, text_width
from ablate.report.tables import ABSENT, Table

needs_tex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed (Debian: texlive-latex-recommended)"
)

HOSTILE = [
    r"\input{/etc/passwd}",
    r"\write18{touch pwned}",
    r"\immediate\write18{touch pwned}\end{document}",
    "100% of $x$ {a} #1 & b_c ^ ~ \\",
    '[start] *star* --- `quotes\' "double" <tag> |pipe| ?` !`',
    "αβγ ΑΩ ς − ± × ≤ …",
    "naïve Åland Straße łódź ő ç",
    "中文 and 🙂 and \u202e and \x07",
    "a_name_without_any_space_that_is_far_longer_than_a_column_of_a_table_should_ever_have_to_be" * 2,
]


def document(sections=(), **changes):
    parts = {
        "title": "a study",
        "question": "Does it?",
        "verdict": ["It does."],
        "registration": [],
        "parts": list(sections),
        "disclosures": [],
        "provenance": "12 records.",
    }
    return Document(**(parts | changes))


def compiled(text, folder):
    """Compile ``text`` in ``folder`` twice; the log, with lines unwrapped."""
    (folder / "table.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    for _ in range(2):
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            check=False,
            env={"max_print_line": "1000", "PATH": PATH},
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]
    return (folder / "table.log").read_text(errors="replace")


PATH = "/usr/local/bin:/usr/bin:/bin"


def overfull(log):
    """Points by which boxes stick out of the page, those of more than two."""
    return [float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(found) > 2]


@needs_tex
def test_names_of_strangers_are_set_as_text_and_run_nothing(tmp_path):
    table = Table(["arm", "\\input{/etc/passwd}"], [[name, name] for name in HOSTILE])
    text = latex(
        document(
            [Section("hostile", HOSTILE[0], table, HOSTILE[3]), Picture("forest", HOSTILE[1], HOSTILE[5])],
            title=HOSTILE[0],
            question=HOSTILE[3],
            verdict=HOSTILE,
            registration=HOSTILE,
            disclosures=HOSTILE,
            provenance=" ".join(HOSTILE),
        )
    )
    log = compiled(text, tmp_path)
    assert "root:" not in log
    assert "(/etc/passwd" not in log
    assert not (tmp_path / "pwned").exists()
    assert "LaTeX Error" not in log
    assert overfull(log) == []


@needs_tex
def test_wide_and_long_tables_stay_on_the_page(tmp_path):
    seeds = Table(
        ["endpoint", "arm", *(f"seed {seed}" for seed in range(100)), "mean", "sd"],
        [["planted/accuracy", f"arm{at}.captions_only", *["0.1234"] * 100, "0.1", "0.2"] for at in range(4)],
    )
    note = "about 62 pairs would show equivalence, were there no difference (power 0.8)"
    long = Table(["endpoint", "contrast", "mean gain", "95% CI", "note"])
    for at in range(150):
        contrast = f"image{at} vs image{at}.captions_only"
        long.add(["prose/bits_per_byte/prose", contrast, "-0.003", "[-0.017, +0.012]", note * (at % 3)])
    spent = Table(
        ["arm", *(f"quantity number {at}" for at in range(16))],
        [["image.captions_only", *["614,110 to 614,136"] * 16]],
    )
    sections = [Section("scores", "Scores", seeds), Section("long", "Long", long, "Legend.")]
    log = compiled(latex(document([*sections, Section("spent", "Spent", spent)])), tmp_path)
    assert overfull(log) == []
    pages = int(re.search(r"Output written on table.pdf \((\d+) pages", log)[1])
    assert pages >= 6


@needs_tex
def test_a_table_can_be_pasted_into_a_paper_that_loads_the_named_packages(tmp_path):
    table = Table(["arm", "gain"], [["image_%", "-0.5"], ["[text]", ABSENT]])
    text = latex(document([Section("scores", "Scores", table, "Positive is better.")]))
    found = re.search(r"% begin table scores\n% (\\usepackage\S+)\n(.*)% end table scores", text, re.DOTALL)
    paper = f"\\documentclass{{article}}\n{found[1]}\n\\begin{{document}}\n{found[2]}\\end{{document}}\n"
    assert overfull(compiled(paper, tmp_path)) == []


@needs_tex
def test_a_figure_is_taken_from_the_file_beside_the_article_where_there_is_one(tmp_path):
    from ablate.report.figures import new_figure, png

    text = latex(document([Picture("forest", "Forest plot", "Two contrasts.")]))
    assert "forest.png, " not in compiled(text, tmp_path)
    (tmp_path / "forest.png").write_bytes(png(new_figure("forest", 3.0, 2.0), "x"))
    assert "<./forest.png>" in compiled(text, tmp_path).replace("<forest.png>", "<./forest.png>")


def test_tables_read_back_as_they_were_whatever_is_in_them():
    rows = [[name, "-0.5", "[+0.1, +0.2]", ABSENT] for name in HOSTILE]
    table = Table(["arm & more", "gain", "95% CI", "none"], rows)
    text = latex(document([Section("hostile", "Hostile", table)]))
    found = latex_tables(text)["hostile"]
    as_text = [[" ".join(cell.split()) for cell in row] for row in [table.columns, *rows]]
    assert [[cell.replace("−", "-") for cell in row] for row in as_text] == [
        [_composed(cell).replace("−", "-") for cell in row] for row in found
    ]


def _composed(text):
    """Accent commands and Greek as the characters that they set."""
    import unicodedata

    from ablate.report.latex_text import ACCENTS, GREEK, LATIN_CAPITALS

    for mark, command in ACCENTS.items():
        pattern = rf"\\{re.escape(command)}\{{([A-Za-z])\}}"
        text = re.sub(pattern, lambda found, mark=mark: unicodedata.normalize("NFC", found[1] + mark), text)
    for character, letter in LATIN_CAPITALS.items():
        text = text.replace(f"$\\mathrm{{{letter}}}$", character)

    def greek(found):
        if found[1] == "varsigma":
            return "ς"
        assert GREEK.fullmatch(found[1])
        size = "SMALL" if found[1].islower() else "CAPITAL"
        return unicodedata.lookup(f"GREEK {size} LETTER {found[1].upper().replace('LAMBDA', 'LAMDA')}")

    return re.sub(r"\$\\([A-Za-z]+)\$", greek, text)


@given(st.text(alphabet=st.characters(max_codepoint=126), max_size=30))
def test_no_character_of_a_text_reaches_tex_as_a_command(text):
    written = escape(text)
    assert plain(written) == " ".join(text.split())
    bare = re.sub(
        r"\\(textbackslash\{\}|char3[46]\{\}|[{}%&#_]|[\^~]\{\})|\$[<>|-]\$|\{[`']?\}|\{'\}", "", written
    )
    assert not re.search(r"[\\{}$%&#_^~]", bare)


@given(st.text(max_size=40))
def test_what_pdflatex_cannot_set_is_named_by_its_code_point(text):
    assert escape(text).isascii()


@given(st.text(alphabet="abcWM_/.-19 ", max_size=60), st.floats(2.0, 20.0))
def test_no_part_between_two_breaks_is_wider_than_the_column(text, width):
    for part in re.split(r"\\allowbreak\{\}| ", breakable(text, width)):
        assert text_width(plain(part)) <= max(width, 1.03)


def test_numbers_and_intervals_are_not_broken_inside():
    assert pieces("[+0.800, -1.2e-05]") == ["[+0.800,", "-1.2e-05]"]
    assert pieces("image.captions_only") == ["image.", "captions_", "only"]


def test_a_hyphen_is_a_minus_before_a_number_and_a_hyphen_in_a_name():
    assert escape("-0.5") == "$-$0.5"
    assert escape("[-0.5, +1]") == "[$-$0.5, +1]"
    assert escape("flickr8k-30") == "flickr8k-30"
    assert escape("1.2e-05") == "1.2e-05"
    assert escape("a--b") == "a-{}-b"

"""Whether files of studies and sweeps are what their records say: all is rendered again and compared.

The rule, which `examine` follows:

1. Tables (Markdown, LaTeX, HTML, CSV) have to be the same text. Numbers that agree to nine digits, in text
   that is otherwise the same, are remarked on and are no difference: another processor may round the last
   digits of a sum otherwise.
2. Figures (SVG, PNG) have to be the same bytes. Where they are not, the digest of the plotted numbers that
   both formats carry (`ablate.report.figures.number_digest`) decides: another digest is a difference.
   With the same digest, the figure was drawn by another matplotlib, as the file says, or looks the same
   (every coordinate of an SVG within a point, all but a hundredth of the pixels of a PNG): then it is
   remarked on. Else it is a difference: somebody edited the picture.
3. A file that is missing, and a table or figure that no rendering makes, are differences.

Nothing is written.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from ablate.report.analysis import read_study
from ablate.report.figures import drawn_by
from ablate.report.load import HEADER_FILE
from ablate.report.page import without_drawings
from ablate.report.price import render_price
from ablate.report.price_runs import RUNS_FILE
from ablate.report.study import render
from ablate.report.sweep import render_results
from ablate.report.sweep_analysis import read_results
from ablate.report.sweep_file import SWEEP_FILE

RENDERED = frozenset({".md", ".tex", ".html", ".csv", ".svg", ".png"})
"""Endings of files that a report is made of; any such file that no rendering makes is stale."""

OWN = frozenset({"README.md"})
"""Files that a person may put beside a report."""

AGREEMENT = 1e-9
"""Relative difference up to which two numbers are the same but for rounding."""

NEAR_POINTS = 1.0
NEAR_SHADE, FAR_PIXELS = 48, 0.01
"""What looks the same: SVG coordinates, shades of 255, and the share of pixels that may differ by more."""

SHOWN = 120
"""Characters of a differing line that a message quotes."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_STAMP = re.compile(r"numbers ([0-9a-f]{32}); (matplotlib [^<]+)<")


@dataclass(frozen=True)
class Check:
    """What a comparison found, in words."""

    differences: list[str] = field(default_factory=list)
    """Files that are not what the records say."""
    remarks: list[str] = field(default_factory=list)
    """Files that say the same and are not the same bytes."""


def check(folders: Sequence[Path] = (Path("results"),)) -> list[str]:
    """The differences between the files of all studies under ``folders`` and their records; see `examine`."""
    return examine(folders).differences


def examine(folders: Sequence[Path] = (Path("results"),)) -> Check:
    """Render every study, sweep and measured price under ``folders`` in memory and compare it with its files
    on disk.

    What cannot be rendered, and a folder without a study, are differences and not errors.
    """
    found = Check()
    for folder in folders:
        studies, sweeps, prices = studies_under(folder), sweeps_under(folder), prices_under(folder)
        if not studies and not sweeps and not prices:
            found.differences.append(f"{folder}: there is no study here, no {HEADER_FILE}")
        for study in studies:
            _examine_folder(study, lambda place: render(read_study(place)).files, found)
        for sweep in sweeps:
            _examine_folder(sweep, lambda place: render_results(read_results(place)).files, found)
        for price in prices:
            _examine_folder(price, render_price, found)
    return found


def studies_under(folder: Path) -> list[Path]:
    """The folders of studies in ``folder``, itself included, without those that were displaced."""
    paths = sorted(path.parent for path in folder.rglob(HEADER_FILE))
    return [path for path in paths if "displaced" not in path.relative_to(folder).parts]


def sweeps_under(folder: Path) -> list[Path]:
    """The folders of sweeps in ``folder``, itself included."""
    return sorted(path.parent for path in folder.rglob(SWEEP_FILE))


def prices_under(folder: Path) -> list[Path]:
    """The folders of measured prices in ``folder``, itself included."""
    return sorted(path.parent for path in folder.rglob(RUNS_FILE))


def _examine_folder(
    folder: Path, files_of: Callable[[Path], Mapping[str, str | bytes]], found: Check
) -> None:
    """Compare the files of ``folder`` with what ``files_of`` renders of it."""
    try:
        files = files_of(folder)
    except (ValueError, OSError) as error:
        found.differences.append(f"{folder}: cannot be rendered: {error}")
        return
    drawings_moved = False
    # Figures first: a page is judged by whether the figures in it are.
    for name, content in sorted(files.items(), key=lambda item: Path(item[0]).suffix not in (".svg", ".png")):
        path = folder / name
        expected = content if isinstance(content, bytes) else content.encode("utf-8")
        if not path.is_file():
            found.differences.append(f"{path}: missing; the records make it")
            continue
        on_disk = path.read_bytes()
        if on_disk == expected:
            continue
        if path.suffix in (".svg", ".png"):
            same = _examine_figure(path, on_disk, expected, found)
            drawings_moved |= same
        else:
            _examine_text(path, on_disk, expected, drawings_moved, found)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in RENDERED and path.name not in files.keys() | OWN:
            found.differences.append(f"{path}: no rendering makes this file; it is stale, delete it")


def _examine_text(path: Path, on_disk: bytes, expected: bytes, drawings_moved: bool, found: Check) -> None:
    try:
        old = on_disk.decode("utf-8")
    except UnicodeDecodeError as error:
        found.differences.append(f"{path}: not UTF-8 ({error})")
        return
    new = expected.decode("utf-8")
    if path.suffix == ".html" and drawings_moved:
        old, new = without_drawings(old), without_drawings(new)
    if old == new:
        found.remarks.append(f"{path}: only the figures in it are drawn otherwise; the numbers agree")
    elif _agree(old, new, relative=AGREEMENT, absolute=1e-12):
        found.remarks.append(f"{path}: numbers differ after the ninth digit only (another processor?)")
    else:
        found.differences.append(f"{path}, {_first_difference(old, new)}")


def _first_difference(old: str, new: str) -> str:
    """The first line that differs, from both sides."""
    pairs = zip_longest(old.split("\n"), new.split("\n"))
    for at, (mine, theirs) in enumerate(pairs, start=1):
        if mine != theirs:
            return f"line {at}: on disk {_quoted(mine, theirs)}, from the records {_quoted(theirs, mine)}"
    return "the same lines"


def _quoted(line: str | None, other: str | None) -> str:
    """``line`` around the first character in which it differs from ``other``."""
    if line is None:
        return "nothing"
    same = next(
        (at for at, (a, b) in enumerate(zip(line, other or "", strict=False)) if a != b),
        min(len(line), len(other or "")),
    )
    start = max(0, same - SHOWN // 2) if len(line) > SHOWN else 0
    part = line[start : start + SHOWN]
    return f"{'...' if start else ''}{part!r}{'...' if start + SHOWN < len(line) else ''}"


def _agree(old: str, new: str, relative: float, absolute: float) -> bool:
    """Whether two texts are the same but for their numbers, and these nearly so."""
    if _NUMBER.sub("0", old) != _NUMBER.sub("0", new):
        return False
    return all(
        mine == theirs or math.isclose(float(mine), float(theirs), rel_tol=relative, abs_tol=absolute)
        for mine, theirs in zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    )


def _examine_figure(path: Path, on_disk: bytes, expected: bytes, found: Check) -> bool:
    """Judge a figure whose bytes differ by the rule above; whether it shows the same numbers."""
    stamp = _svg_stamp if path.suffix == ".svg" else _png_stamp
    (numbers, drawer), (wanted, _) = stamp(on_disk), stamp(expected)
    if numbers is None:
        found.differences.append(f"{path}: carries no digest of its numbers; `ablate report` writes it anew")
    elif numbers != wanted:
        found.differences.append(f"{path}: shows other numbers or words than the records make")
    elif drawer != drawn_by():
        found.remarks.append(f"{path}: drawn by {drawer}, here is {drawn_by()}; the numbers agree")
        return True
    elif (_svg_looks if path.suffix == ".svg" else _png_looks)(on_disk, expected):
        found.remarks.append(f"{path}: drawn slightly otherwise (another platform?); the numbers agree")
        return True
    else:
        found.differences.append(
            f"{path}: the numbers agree, and the picture differs from what {drawn_by()} draws: was it edited?"
        )
    return False


def _svg_stamp(content: bytes) -> tuple[str | None, str | None]:
    """Digest of the numbers, and what drew them."""
    stamp = _STAMP.search(content.decode("utf-8", "replace"))
    return (stamp[1], stamp[2]) if stamp else (None, None)


def _png_stamp(content: bytes) -> tuple[str | None, str | None]:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            said = dict(picture.info)
    except (OSError, ValueError, SyntaxError):
        return None, None
    return said.get("Numbers"), said.get("Software")


def _svg_looks(on_disk: bytes, expected: bytes) -> bool:
    """Whether every coordinate is near where it belongs, and everything else is the same."""
    old, new = (content.decode("utf-8", "replace") for content in (on_disk, expected))
    return _agree(old, new, relative=0.0, absolute=NEAR_POINTS)


def _png_looks(on_disk: bytes, expected: bytes) -> bool:
    """Whether nearly all pixels have nearly the same colour."""
    try:
        old, new = (
            np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.int16)
            for content in (on_disk, expected)
        )
    except (OSError, ValueError, SyntaxError):
        return False
    if old.shape != new.shape:
        return False
    return bool((np.abs(old - new).max(axis=2) > NEAR_SHADE).mean() <= FAR_PIXELS)

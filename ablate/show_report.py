"""What the command line prints of reports: verdicts, agreements, checks. No numbers are made here."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ablate.show import console, titled_table

if TYPE_CHECKING:
    from ablate.report.load import StudyHeader
    from ablate.report.study import RenderedStudy
    from ablate.report.sweep import RenderedSweep


def show_report(folder: Path) -> "RenderedStudy":
    """Render the study, write its files, and print verdict and summary."""
    from ablate.report.load import read_header
    from ablate.report.sentences import verdict_sentences
    from ablate.report.study import render_study
    from ablate.show_screen import show_screen
    from ablate.study.store import disk_errors

    if read_header(folder).purpose == "screen":
        return show_screen(folder)
    with disk_errors(folder):
        rendered = render_study(folder)
    out = console()
    out.print(summary_table(rendered))
    for sentence in verdict_sentences(rendered.contrasts, rendered.header):
        out.print(_inert(sentence))
    if rendered.study.registration.locked_at is not None:
        for sentence in rendered.study.registration.sentences():
            out.print(_inert(sentence))
    if rendered.header.note:
        out.print(_inert(f"Note: {rendered.header.note}"))
    out.print(Text(f"Written: {', '.join(str(folder / name) for name in rendered.files)}"), soft_wrap=True)
    return rendered


def show_sweep_report(folder: Path) -> "RenderedSweep":
    """Render the sweep and the studies of its settings, write their files, and print what the sweep says."""
    from ablate.report.sweep import render_sweep
    from ablate.study.store import disk_errors

    with disk_errors(folder):
        rendered = render_sweep(folder)
    out = console()
    document = rendered.document
    for sentence in [*document.verdict, *document.registration]:
        out.print(_inert(sentence))
    if rendered.result.sweep.note:
        out.print(_inert(f"Note: {rendered.result.sweep.note}"))
    out.print(Text(f"Written: {', '.join(str(folder / name) for name in rendered.files)}"), soft_wrap=True)
    return rendered


def show_deviations(folder: Path, header: "StudyHeader") -> None:
    """Before anything is trained: what differs from the plan that was locked for this study, if one was."""
    from ablate.report.registration import read_registration

    found = read_registration(folder, header, [])
    if found.deviations:
        console().print(_inert(found.sentences()[0]))


def _inert(text: str) -> Text:
    """Text of a study, without what a terminal would take for a command."""
    return Text(re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text))


def show_undecided(rendered: "RenderedStudy", most: int) -> bool:
    """Say what keeps the study going after a look; whether anything does, and it may go on."""
    from ablate.stats.contrasts import undecided

    header, out = rendered.header, console()
    open_ones = undecided(rendered.contrasts, header.primary)
    seeds = len(header.seeds)
    if not open_ones:
        out.print(Text(f"Decided after {seeds} of at most {most} seeds."))
        return False
    named = ", ".join(f"{one.arm} vs {one.reference}" for one in open_ones)
    goes_on = seeds < most
    said = "more seeds are trained" if goes_on else "these were the last, so it stays inconclusive"
    out.print(Text(f"Not decided after {seeds} of at most {most} seeds ({named}): {said}."))
    return goes_on


def summary_table(rendered: "RenderedStudy") -> Table:
    """The primary endpoint at a glance: one row an arm."""
    from ablate.report.study import SUMMARY_COLUMNS, summary_rows

    table = titled_table(f"{rendered.header.study}: {rendered.header.primary}", *SUMMARY_COLUMNS)
    for row in summary_rows(rendered):
        table.add_row(*map(_inert, row))
    return table


def show_agreement(fresh: Path, committed: Path) -> bool:
    """Whether the verdicts of two folders agree, contrast by contrast."""
    from ablate.report.study import compare_verdicts
    from ablate.report.sweep import is_sweep, studies_of

    out, agree = console(), True
    pairs = [(fresh, committed)]
    if is_sweep(fresh):
        pairs = [(study, committed / study.name) for study in studies_of(fresh)]
    for mine, theirs in pairs:
        lines = compare_verdicts(mine, theirs)
        out.print(Text(f"{mine} beside {theirs}:"))
        for line in lines:
            out.print(_inert(f"  {line}"))
        agree = agree and not any(line.startswith("DIFFER") for line in lines)
    return agree


def show_check(folders: Sequence[Path]) -> bool:
    """Render all that lies under ``folders`` again, in memory; whether the disk holds that."""
    from ablate.report.calibration import SETTINGS_FILE, outdated
    from ablate.report.check import examine, prices_under, studies_under, sweeps_under

    places = {
        folder: sorted({path.parent for path in folder.rglob(SETTINGS_FILE)} - {*prices_under(folder)})
        for folder in folders
    }
    # A folder may hold a calibration and no study.
    found = examine(
        [
            one
            for one in folders
            if studies_under(one) or sweeps_under(one) or prices_under(one) or not places[one]
        ]
    )
    stale = []
    calibrations = list(dict.fromkeys(place for own in places.values() for place in own))
    for place in calibrations:
        try:
            stale += [f"{place / name}: not what its settings and records give" for name in outdated(place)]
        except (ValueError, OSError) as error:
            stale.append(f"{place}: cannot be rendered: {error}")
    out = console()
    for line in [*found.differences, *stale, *found.remarks]:
        out.print(_inert(line), soft_wrap=True)
    sound = not found.differences and not stale
    if sound:
        studies, sweeps, prices = (
            sum(len(under(one)) for one in folders) for under in (studies_under, sweeps_under, prices_under)
        )
        counted = [f"{studies} studies", f"{sweeps} sweeps" if sweeps else ""]
        counted.append(f"{prices} measured prices" if prices else "")
        said = ", ".join(one for one in counted if one)
        out.print(f"{said} and {len(calibrations)} calibrations are what their records give.")
    return sound


def show_comparison(folders: Sequence[Path], out_file: Path | None) -> None:
    """Studies side by side, as Markdown: on the terminal, or in a file."""
    from ablate.report.compare import compare
    from ablate.whole_file import write_whole

    text = compare(folders).markdown
    if out_file is None:
        print(text, end="")
        return
    write_whole(out_file, text)
    console().print(Text(f"Written: {out_file}"), soft_wrap=True)

"""The calibration page: what the instrument says where the truth is known.

Three sources, kept apart: disjoint A/A studies of real runs, planted studies of real runs, and simulation.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ablate.report.calibration_page import PLANTED_SIZES, AAStudy, Simulation, page, sentences
from ablate.report.calibration_plot import calibration_svg
from ablate.report.calibration_tables import (
    aa_study_rows,
    calibration_rows,
    looks_rows,
    simulation_rows,
)
from ablate.report.load import StudyError, load_records, read_header
from ablate.report.text import csv_text
from ablate.stats.calibration import PlantedPower, calibrate_aa, planted_power, whole_aa
from ablate.stats.contrasts import Contrast
from ablate.stats.coverage import COVERAGE_FILE, COVERAGE_FORMAT
from ablate.stats.sequential_simulation import PLANS, simulate_looks
from ablate.stats.simulation import (
    POPULATIONS,
    RESIDUALS,
    SEED,
    SIZES,
    STUDIES,
    residual_population,
    simulate,
    simulate_family,
)
from ablate.whole_file import write_whole

AA_SIZES = (5, 2, 3, 10, 20)
"""Seeds in a disjoint A/A study; the first is the one the page is about."""

FAMILIES = (1, 4, 8, 16)
"""Contrasts that share a baseline, in the simulation of Holm's adjustment."""

LOOKED_AT = ("normal", "skewed", RESIDUALS)
"""Populations on which sequential plans are simulated."""

SETTINGS_FILE = "settings.json"
SETTINGS_FORMAT = 1


@dataclass(frozen=True)
class RenderedCalibration:
    """The page, and what it was made of."""

    aa: AAStudy | None
    powers: list[PlantedPower]
    simulation: Simulation
    sentences: list[str]
    """What the page says first, as plain text."""
    files: dict[str, str]
    """File name to text."""


def calibrate(
    folder: Path | None,
    out: Path,
    studies: int = STUDIES,
    planted: Sequence[Path] = (),
    seed: int = SEED,
) -> RenderedCalibration:
    """Judge the A/A study in ``folder`` and the planted studies, simulate, and write the page to ``out``.

    Args:
        folder: an A/A study; None for simulation alone.
        out: gets `table.md`, `calibration.csv`, `aa_studies.csv`, `simulation.csv`, `looks.csv`,
            `calibration.svg` and `settings.json`, by which `recalibrate` makes the page again.
        studies: simulated studies of each population and size.
        planted: folders of studies with planted effects.
        seed: of the simulation.

    Raises:
        StudyError, RecordError: a study cannot be read or believed.
        CalibrationError: ``folder`` is no A/A study, or a planted study has nothing planted.
    """
    rendered = render_calibration(folder, studies, planted, seed)
    out.mkdir(parents=True, exist_ok=True)
    relative = [None if path is None else Path(os.path.relpath(path, out)) for path in (folder, *planted)]
    settings = {
        "settings_format": SETTINGS_FORMAT,
        "aa": None if relative[0] is None else relative[0].as_posix(),
        "planted": [path.as_posix() for path in relative[1:] if path is not None],
        "studies": studies,
        "seed": seed,
    }
    rendered.files[SETTINGS_FILE] = json.dumps(settings, indent=1) + "\n"
    for name, text in rendered.files.items():
        write_whole(out / name, text)
    return rendered


def recalibrate(out: Path) -> RenderedCalibration:
    """Make the page in ``out`` again from its `settings.json`, in memory: nothing is written.

    Raises:
        StudyError: there are no settings, or they cannot be read.
    """
    path = out / SETTINGS_FILE
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
        found, folder, planted = raw["settings_format"], raw["aa"], raw["planted"]
        studies, seed = int(raw["studies"]), int(raw["seed"])
        aa, others = None if folder is None else out / folder, [out / name for name in planted]
    except FileNotFoundError:
        raise StudyError(f"{path}: no calibration here; `ablate calibrate` makes one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: not the settings of a calibration ({error!r})") from error
    if found != SETTINGS_FORMAT:
        raise StudyError(f"{path}: settings_format is {found!r}, this version reads {SETTINGS_FORMAT}")
    rendered = render_calibration(aa, studies, others, seed)
    rendered.files[SETTINGS_FILE] = text
    return rendered


def outdated(out: Path) -> list[str]:
    """Files of the page in ``out`` that differ from what its settings and records make now, by name.

    Raises:
        StudyError, RecordError: as `recalibrate`.
    """
    made = recalibrate(out).files
    return sorted(
        name
        for name, text in made.items()
        if not (out / name).is_file() or (out / name).read_text(encoding="utf-8") != text
    )


def render_calibration(
    folder: Path | None, studies: int = STUDIES, planted: Sequence[Path] = (), seed: int = SEED
) -> RenderedCalibration:
    """The page in memory, without `settings.json`; see `calibrate`."""
    aa = None if folder is None else read_aa(folder)
    powers = [power for path in planted for power in _read_planted(path)]
    simulation = run_simulation(studies, seed, aa.whole if aa else None)
    said = sentences(aa, powers, simulation)
    files = {
        "table.md": page(said, aa, powers, simulation),
        "calibration.csv": csv_text(
            calibration_rows(aa.cut if aa else [], powers, aa.header.study if aa else "")
        ),
        "aa_studies.csv": csv_text(aa_study_rows(aa.cut if aa else [])),
        "simulation.csv": csv_text(simulation_rows(simulation.simulated, simulation.families, seed)),
        "looks.csv": csv_text(looks_rows(simulation.looks, seed)),
        "calibration.svg": calibration_svg(simulation.simulated, aa.cut[0] if aa else None),
    }
    return RenderedCalibration(aa, powers, simulation, said, files)


def read_aa(folder: Path) -> AAStudy:
    """The A/A study in ``folder``, cut into studies of the `AA_SIZES`.

    Raises:
        StudyError, RecordError, CalibrationError: as `calibrate`.
    """
    header = read_header(folder)
    records = load_records(folder, header)
    cut = [calibrate_aa(records, header, n) for n in AA_SIZES]
    return AAStudy(header, records, cut, whole_aa(records, header))


def _read_planted(folder: Path) -> list[PlantedPower]:
    header = read_header(folder)
    records = load_records(folder, header)
    return [one for n in PLANTED_SIZES for one in planted_power(records, header, n, header.study)]


def run_simulation(studies: int = STUDIES, seed: int = SEED, whole: Contrast | None = None) -> Simulation:
    """Simulate every population and size, residuals of the A/A contrast ``whole`` included, and families."""
    populations, remark = list(POPULATIONS), ""
    if whole is not None:
        try:
            populations.append(residual_population(whole.sample.gains.tolist()))
        except ValueError as error:
            remark = f"The residuals of the A/A study are not simulated: {error}"
    simulated = [simulate(one, n, studies, seed) for one in populations for n in SIZES]
    looked = [
        simulate_looks(one, plan, studies, seed)
        for one in populations
        if one.name in LOOKED_AT
        for plan in PLANS
    ]
    families = [simulate_family(contrasts, 5, studies, seed) for contrasts in FAMILIES]
    return Simulation(simulated, families, looked, studies, seed, remark)


def coverage_json(simulation: Simulation) -> str:
    """The text of `ablate/stats/measured_coverage.json`: covered studies by population and n."""
    rows = [
        {
            "population": one.population,
            "n": one.n,
            "covered": one.coverage95.count,
            "of": one.coverage95.of,
        }
        for one in simulation.simulated
    ]
    raw: dict[str, Any] = {
        "coverage_format": COVERAGE_FORMAT,
        "command": "python -m ablate.report.calibration results/calibration",
        "interval": "95% paired t interval over n differences",
        "studies": simulation.studies,
        "seed": simulation.seed,
    }
    listed = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    return json.dumps(raw, indent=1)[:-2] + f',\n "rows": [\n{listed}\n ]\n}}\n'


def main(arguments: Sequence[str]) -> None:
    """Write the package's measured coverage: that of the page in the folder given, or by simulation alone."""
    simulation = recalibrate(Path(arguments[0])).simulation if arguments else run_simulation()
    with resources.as_file(resources.files("ablate.stats").joinpath(COVERAGE_FILE)) as path:
        write_whole(path, coverage_json(simulation))


if __name__ == "__main__":
    main(sys.argv[1:])

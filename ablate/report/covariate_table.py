"""Gains adjusted by a study's control variate, beside the plain ones."""

from collections.abc import Sequence

from ablate.report.contrast_tables import contrast_sources, pairs_text
from ablate.report.load import StudyHeader
from ablate.report.tables import ABSENT, Cell, Table, endpoint_places, interval_text, number, run_names
from ablate.stats.contrasts import Contrast
from ablate.stats.covariate import smallest_r_squared


def adjusted_table(contrasts: Sequence[Contrast], header: StudyHeader) -> Table:
    """The contrasts with a margin, plain and adjusted; no rows in a study without a control variate."""
    places = endpoint_places(contrasts)
    columns = [
        "endpoint",
        "contrast",
        "n",
        "further seeds",
        "slope",
        "R squared",
        "plain gain",
        "plain 95% CI",
    ]
    table = Table([*columns, "adjusted gain", "adjusted 95% CI", "variance", "note"])
    for one in contrasts:
        if not header.covariate or one.margin is None:
            continue
        found, digits = one.adjusted, places[one.endpoint]
        row: list[Cell] = [one.endpoint, f"{one.arm} vs {one.reference}", pairs_text(one)]
        row += [str(len(header.baseline_seeds)), number(found.slope if found else None, 3, signed=True)]
        row += [number(found.r_squared if found else None, 2)]
        row += [number(one.estimate.mean_gain, digits, signed=True)]
        row += [interval_text(one.estimate.interval95, digits)]
        row += [number(found.mean_gain if found else None, digits, signed=True)]
        row += [interval_text(found.interval95 if found else None, digits)]
        row += [number(found.variance_ratio if found else None, 2), one.not_adjusted or ABSENT]
        sources = contrast_sources(one)
        sources += [
            name for name in run_names([header.baseline], header.baseline_seeds) if name not in sources
        ]
        table.add(row, sources)
    return table


def adjusted_legend(contrasts: Sequence[Contrast], header: StudyHeader) -> str:
    """What was adjusted by what, and whether a verdict rests on it."""
    rests = any(one.rests_on_adjusted for one in contrasts)
    said = [
        f"Control variate: {header.covariate} of the baseline's run, which no arm can move; its mean comes "
        "from the "
        f"pairs and {len(header.baseline_seeds)} further seeds of the baseline (double sampling, Cochran "
        "1977, "
        "section 12.6). Variance: squared standard error over that of the plain gain.",
        "The locked plan declares it: verdicts, intervals and p values rest on the adjusted gains."
        if rests
        else "No verdict rests on it: only a plan locked before the first run can declare that.",
    ]
    least = smallest_r_squared(len(header.seeds), len(header.baseline_seeds))
    if header.covariate_slope is None:
        said.append(
            "No correlation makes up for the slope that so few pairs estimate."
            if least is None
            else f"Its slope is estimated, which pays where R squared is above {least:.2f} with these seeds."
        )
    return " ".join(said)

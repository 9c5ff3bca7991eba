"""What the seeds and margins of a planned study can decide, in words."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablate.report.load import StudyHeader
    from ablate.stats.contrasts import Contrast


def power_lines(header: "StudyHeader", aa: Path | None) -> list[str]:
    """One line per endpoint with a margin: the largest sd of paired differences that the seeds can decide
    with, or, given the folder of an A/A study, what its sd lets them decide.

    Raises:
        StudyError, RecordError: the A/A study cannot be read.
    """
    if len(header.seeds) < 2:
        return ["One seed decides nothing: there is no interval. State more seeds."]
    expected = {} if aa is None else _differences(aa)
    return [
        _expected(header, endpoint, expected[endpoint], aa)
        if endpoint in expected
        else _unknown(header, endpoint, aa)
        for endpoint in header.margins
    ]


def family_size(header: "StudyHeader") -> int:
    """Confirmatory contrasts that Holm will run over."""
    from ablate.stats.samples import comparisons

    planned = [one for one in comparisons(header, {}) if one.kind in ("total", "grounding")]
    return max(1, len(planned) * len(header.margins))


def _unknown(header: "StudyHeader", endpoint: str, aa: Path | None) -> str:
    from ablate.stats.power import largest_sd
    from ablate.stats.verdict import ALPHA

    pairs, margin, family = len(header.seeds), header.margins[endpoint], family_size(header)
    where = "an A/A study of this size and task measures it, as recipes/aa.yaml does for prose (--aa FOLDER)"
    if aa is not None:
        where = f"{aa} has no such endpoint"
    return (
        f"{pairs} seeds declare {endpoint} equivalent within {margin:g} with power 0.8 while the sd of "
        f"paired differences stays below {largest_sd(pairs, margin):.2g}, or below "
        f"{largest_sd(pairs, margin, alpha=ALPHA / family):.2g} at the strictest step of Holm over {family} "
        f"contrasts; {where}."
    )


def _expected(header: "StudyHeader", endpoint: str, measured: "Contrast", aa: Path | None) -> str:
    from ablate.stats.power import detectable_difference, seeds_needed, tost_power
    from ablate.stats.verdict import ALPHA

    pairs, margin, family = len(header.seeds), header.margins[endpoint], family_size(header)
    sd, alpha = measured.estimate.sd, ALPHA / family
    if not sd:
        return f"{aa}: the differences of {endpoint} do not vary, so that nothing can be expected of them."
    needed = seeds_needed(sd, margin, alpha=alpha)
    power, seen = tost_power(pairs, sd, margin, alpha=alpha), detectable_difference(pairs, sd, 0.8, alpha)
    return (
        f"{endpoint}: {measured.estimate.n} A/A pairs of {aa} differ with an sd of {sd:.2g}. With that, at "
        f"the strictest step of Holm over {family} contrasts, {pairs} seeds declare equivalence within "
        f"{margin:g} with power {power:.2g} and see a difference of {seen:.2g} with power 0.8; equivalence "
        f"with power 0.8 takes {'more than a million' if needed is None else needed} seeds."
    )


def _differences(aa: Path) -> "dict[str, Contrast]":
    """Endpoint to the contrast of the two arms of an A/A study."""
    from ablate.report.load import load_records, read_header
    from ablate.stats.contrasts import contrasts

    header = read_header(aa)
    found = contrasts(load_records(aa, header), header)
    return {one.endpoint: one for one in found if one.kind == "total" and one.estimate.n > 1}

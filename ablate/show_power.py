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
        StudyError, RecordError, CalibrationError: the A/A study cannot be read, or is none.
    """
    if len(header.seeds) < 2:
        return ["One seed decides nothing: there is no interval. State more seeds."]
    expected = {} if aa is None else _differences(aa)
    said = [
        _expected(header, endpoint, expected[endpoint], aa)
        if endpoint in expected
        else _unknown(header, endpoint, aa)
        for endpoint in header.margins
        if endpoint not in header.screened
    ]
    said += [
        f"Screened out, in no confirmatory contrast: {name}, {why}." for name, why in header.screened.items()
    ]
    return said if aa is None else said + _other_size(header, aa)


def family_size(header: "StudyHeader") -> int:
    """Confirmatory contrasts that Holm will run over."""
    from ablate.stats.samples import comparisons

    planned = [one for one in comparisons(header, {}) if one.kind in ("total", "grounding")]
    return max(1, len(planned) * (len(header.margins) - len(header.screened)))


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
    """Endpoint to the contrast of the two arms of an A/A study.

    Raises:
        CalibrationError: the study is none.
    """
    from ablate.report.load import load_records, read_header
    from ablate.stats.calibration import aa_arm
    from ablate.stats.contrasts import contrasts

    header = read_header(aa)
    records = load_records(aa, header)
    arm = aa_arm(records, header)
    found = contrasts(records, header)
    return {
        one.endpoint: one for one in found if (one.arm, one.kind) == (arm, "total") and one.estimate.n > 1
    }


def _other_size(header: "StudyHeader", aa: Path) -> list[str]:
    """Which settings of model, training and budget the A/A study has otherwise: its sd is of its own size."""
    from ablate.report.load import read_header
    from ablate.report.recipe_text import leaves

    mine, theirs = (leaves(recipe) or {} for recipe in (header.recipe, read_header(aa).recipe))
    blocks = ("model", "train", "budget", "tokenizer")
    own = (key for key in dict.fromkeys([*mine, *theirs]) if key.split(".")[0] in blocks)
    keys = [key for key in own if mine.get(key) != theirs.get(key)]
    said = f"{aa} is of another size, and its sd may be too: it differs in {', '.join(keys)}."
    return [said] if keys else []

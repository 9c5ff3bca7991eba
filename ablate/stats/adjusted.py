"""The declared control variate of a study: its values in the baseline's runs, and the adjusted contrast."""

from collections.abc import Mapping

from ablate.record import RunRecord
from ablate.stats.covariate import AdjustedEstimate, CovariateError, adjust
from ablate.stats.paired import PairedSample
from ablate.stats.samples import LARGEST_SCORE, StudyDesign

SCORE = "score"
LOSS = "loss@"
"""`loss@SHARE`: the training loss that was logged last up to this share of the steps."""


def adjusted_estimate(
    sample: PairedSample,
    runs: Mapping[tuple[str, int], RunRecord],
    header: StudyDesign,
    endpoint: str,
    margin: float | None,
) -> tuple[AdjustedEstimate | None, str]:
    """The mean gain of ``sample`` adjusted by the study's covariate, or None and why there is none.

    The covariate is that of the baseline's run of each seed, whichever two arms are compared; its mean comes
    from these and from the baseline's runs of `baseline_seeds`, all of which have to be there.
    """
    if not header.covariate:
        return None, ""
    try:
        paired = [covariate_value(runs, header, seed, endpoint) for seed in sample.seeds]
        further = [covariate_value(runs, header, seed, endpoint) for seed in header.baseline_seeds]
        _refuse_other_baselines(runs, header, sample)
        gains = [float(gain) for gain in sample.gains]
        return adjust(gains, paired, further, header.covariate_slope, margin), ""
    except CovariateError as error:
        return None, f"not adjusted by {header.covariate}: {error}"


def covariate_value(
    runs: Mapping[tuple[str, int], RunRecord], header: StudyDesign, seed: int, endpoint: str
) -> float:
    """The covariate of one seed.

    Raises:
        CovariateError: the baseline's run is missing or diverged, or has no such score or loss.
    """
    run = runs.get((header.baseline, seed))
    if run is None or run.status == "diverged":
        found = "has no record" if run is None else "diverged"
        raise CovariateError(f"{header.baseline}, seed {seed}, {found}")
    if header.covariate == SCORE:
        score = run.scores.get(endpoint)
        if score is None or not abs(score.value) < LARGEST_SCORE:
            raise CovariateError(f"{header.baseline}, seed {seed}, has no score on {endpoint}")
        return score.value
    last = float(header.covariate.removeprefix(LOSS)) * run.spent.steps
    logged = [point.loss for point in run.curve if point.step <= last]
    if not logged:
        raise CovariateError(
            f"{header.baseline}, seed {seed}, logged no loss up to step {last:g}; lower train.log_every"
        )
    return logged[-1]


def _refuse_other_baselines(
    runs: Mapping[tuple[str, int], RunRecord], header: StudyDesign, sample: PairedSample
) -> None:
    """Further runs are of the same training and data as the pairs' own baseline runs."""
    first = runs[header.baseline, sample.seeds[0]]
    for seed in header.baseline_seeds:
        other = runs[header.baseline, seed]
        if other.resolved != first.resolved or other.data_digests != first.data_digests:
            raise CovariateError(
                f"{header.baseline}, seed {seed}, was trained or scored otherwise than seed {first.seed}"
            )

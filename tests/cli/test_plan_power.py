"""What `ablate plan` says of the seeds and margins before anything is trained."""

from pathlib import Path

import numpy as np
import pytest
from own_study import OwnStudy
from test_cli import Run

from ablate.report.load import load_records, read_header
from ablate.show_power import family_size
from ablate.stats.contrasts import contrasts
from ablate.stats.power import detectable_difference, largest_sd, seeds_needed, tost_power

AA = Path(__file__).parents[2] / "results" / "calibration" / "aa"


def said(ablate: Run, own: OwnStudy, cache: Path, *words: object) -> str:
    ran = ablate("plan", own.recipe, "seeds=[0, 1, 2, 3, 4]", *words, "--cache", cache, "--slots", 1)
    assert (ran.code, ran.err) == (0, "")
    return " ".join(ran.out.split())


def test_without_an_aa_study_a_plan_says_how_small_the_sd_has_to_be(
    ablate: Run, own: OwnStudy, cache: Path
) -> None:
    out = said(ablate, own, cache)
    assert f"stays below {largest_sd(5, 0.1):.2g}, or below" in out
    assert "Holm over 1 contrasts" in out


def test_with_an_aa_study_a_plan_says_whether_its_seeds_can_decide(
    ablate: Run, own: OwnStudy, cache: Path
) -> None:
    own.rewrite("{questions/accuracy: 0.1}", "{questions/accuracy: 0.1, prose/bits_per_byte: 0.01}")
    header = read_header(AA)
    own_scores = {
        (record.arm, record.seed): record.scores["prose/bits_per_byte"].value
        for record in load_records(AA, header)
    }
    differences = [own_scores["other", seed] - own_scores["text", seed] for seed in header.seeds]
    sd, alpha = float(np.std(differences, ddof=1)), 0.05 / 2
    out = said(ablate, own, cache, "--aa", AA)
    assert f"100 A/A pairs of {AA} differ with an sd of {sd:.2g}" in out
    assert f"within 0.01 with power {tost_power(5, sd, 0.01, alpha=alpha):.2g}" in out
    assert f"a difference of {detectable_difference(5, sd, 0.8, alpha):.2g} with power 0.8" in out
    assert f"takes {seeds_needed(sd, 0.01, alpha=alpha)} seeds" in out
    assert f"{AA} has no such endpoint" in out
    named = out.partition(f"{AA} is of another size, and its sd may be too: it differs in ")[2]
    assert {"model.width", "model.context_length"} <= set(
        named.partition(" Locked")[0].rstrip(".").split(", ")
    )


def test_a_study_whose_arms_differ_is_not_taken_for_an_aa_study(
    ablate: Run, own: OwnStudy, cache: Path
) -> None:
    ran = ablate("plan", own.recipe, "--cache", cache, "seeds=[0, 1]", "--aa", AA.parents[1] / "quickstart")
    ran.refuses("an A/A study has a baseline and one arm like it")


def test_one_seed_is_said_to_decide_nothing(ablate: Run, own: OwnStudy, cache: Path) -> None:
    ran = ablate("plan", own.recipe, "--cache", cache, "--slots", 1)
    assert "One seed decides nothing" in ran.out


@pytest.mark.parametrize("study", ["quickstart", "planted_all", "text_vs_image_cpu"])
def test_the_family_that_a_plan_counts_is_the_one_that_the_report_adjusts_over(study: str) -> None:
    folder = AA.parents[1] / study
    header = read_header(folder)
    found = contrasts(load_records(folder, header), header)
    (size,) = {one.family for one in found if one.confirmatory}
    assert family_size(header) == size

"""What is compared, what is refused, and what a verdict has to carry."""

import dataclasses
import math

import numpy as np
import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, ledger, run, runs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.record import Pairing, RecordError, Score
from ablate.stats.contrasts import contrasts
from ablate.stats.pairing import PairingError, check_pair
from ablate.stats.power import pairs_to_detect, seeds_needed


def by_name(records, plan=None):
    found = contrasts(records, plan or header(records))
    return {(one.arm, one.reference, one.endpoint): one for one in found}


def changed(records, arm, seed, **changes):
    return [
        dataclasses.replace(record, **changes) if (record.arm, record.seed) == (arm, seed) else record
        for record in records
    ]


def test_a_planted_study_helps_and_is_grounded():
    found = by_name(runs(PLANTED))
    total = found["image", "text", ACCURACY]
    assert (total.kind, total.confirmatory, total.verdict) == ("total", True, "helps")
    assert total.printed_verdict == "helps (grounding: helps)"
    assert found["image", "image.shuffled", ACCURACY].kind == "grounding"
    assert found["image", "image.shuffled", ACCURACY].confirmatory
    assert found["image", "image.captions_only", ACCURACY].kind == "control"
    assert not found["image", "image.captions_only", ACCURACY].confirmatory
    placebos = {key[0] for key, one in found.items() if one.kind == "placebo"}
    assert placebos == {"image.captions_only", "image.shuffled"}
    assert len(found) == 5


def test_an_effect_that_shuffled_pictures_have_too_is_not_sold_as_grounded():
    values = PLANTED | {"image.shuffled": [0.93, 0.94, 0.92, 0.94, 0.92]}
    total = by_name(runs(values))["image", "text", ACCURACY]
    assert total.printed_verdict == "helps (grounding: equivalent)"


def test_without_a_shuffled_control_the_verdict_says_grounding_was_not_measured():
    values = {name: PLANTED[name] for name in ("text", "image", "image.captions_only")}
    found = by_name(runs(values))
    assert found["image", "text", ACCURACY].printed_verdict == "helps (grounding not measured)"
    assert found["image", "image.captions_only", ACCURACY].printed_verdict == "helps (grounding not measured)"


def test_an_arm_of_text_needs_no_grounding():
    found = by_name(runs({"text": PLANTED["text"], "more_text": PLANTED["image"]}))
    assert found["more_text", "text", ACCURACY].printed_verdict == "helps"


def test_fewer_bits_per_byte_help():
    better, worse = [1.90, 1.91, 1.89, 1.90, 1.92], [2.00, 2.02, 2.01, 1.99, 2.00]
    records = runs({"text": worse, "more_text": better}, BITS)
    one = by_name(records, header(records, {BITS: 0.01}, primary=BITS))["more_text", "text", BITS]
    assert one.verdict == "helps"
    assert one.estimate.mean_gain == pytest.approx(np.mean(worse) - np.mean(better))


def test_holm_runs_over_the_confirmatory_contrasts_alone():
    values = PLANTED | {"image": [0.13, 0.15, 0.14, 0.15, 0.13]}
    found = by_name(runs(values), header(runs(values), {ACCURACY: 1e-6}))
    family = [one for one in found.values() if one.confirmatory]
    assert len(family) == 2
    raw = sorted(one.estimate.p_difference for one in family)
    expected = [min(1, 2 * raw[0]), min(1, max(2 * raw[0], raw[1]))]
    assert sorted(one.p_difference_adjusted for one in family) == pytest.approx(expected)


def test_benjamini_and_hochberg_runs_over_the_exploratory_contrasts_alone():
    found = by_name(runs(PLANTED), header(runs(PLANTED)))
    loose = [one for one in found.values() if not one.confirmatory]
    raw = [one.estimate.p_difference for one in loose]
    assert len(raw) >= 3
    expected = multipletests(raw, method="fdr_bh")[1]
    assert [one.p_difference_adjusted for one in loose] == pytest.approx(list(expected))
    assert {one.family for one in loose} == {len(loose)}


def test_an_endpoint_without_a_margin_gets_numbers_and_no_verdict():
    records = [
        run(arm, seed, {ACCURACY: v, "planted/probability": v})
        for arm in ("text", "other")
        for seed, v in enumerate(PLANTED["text" if arm == "text" else "image"])
    ]
    one = by_name(records)["other", "text", "planted/probability"]
    assert one.verdict is None
    assert one.printed_verdict == ""
    assert not one.confirmatory
    assert one.estimate.interval95 is not None


def test_equivalence_prints_the_sign():
    base = [0.50, 0.51, 0.49, 0.50, 0.52]
    found = by_name(
        runs(
            {
                "text": base,
                "up": [v + d for v, d in zip(base, [0.001, 0.002, 0.0, 0.001, 0.002], strict=True)],
                "down": [v - d for v, d in zip(base, [0.001, 0.002, 0.0, 0.001, 0.002], strict=True)],
            }
        )
    )
    assert found["up", "text", ACCURACY].printed_verdict == "equivalent (+)"
    assert found["down", "text", ACCURACY].printed_verdict == "equivalent (-)"


def test_a_seed_missing_from_one_arm_is_named_not_averaged_over():
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image", 3)]
    found = by_name(records)
    total = found["image", "text", ACCURACY]
    assert total.verdict == "inconclusive"
    assert [(lost.seed, lost.reason) for lost in total.excluded] == [(3, "image has no record")]
    assert "seed 3: image has no record" in total.note
    assert "pairs are missing" in total.note
    assert total.sample.seeds == (0, 1, 2, 4)
    assert total.estimate.mean_gain == pytest.approx(np.mean([0.81, 0.81, 0.80, 0.80]))
    assert total.p_difference_adjusted is None
    assert found["image.shuffled", "text", ACCURACY].complete


def test_an_incomplete_contrast_keeps_its_place_in_the_family():
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image.shuffled", 0)]
    found = by_name(records)
    total = found["image", "text", ACCURACY]
    assert total.p_difference_adjusted == pytest.approx(2 * total.estimate.p_difference)
    assert total.printed_verdict == "helps (grounding: inconclusive)"


def test_a_diverged_run_is_named():
    records = changed(runs(PLANTED), "image", 2, status="diverged", scores={})
    total = by_name(records)["image", "text", ACCURACY]
    assert total.verdict == "inconclusive"
    assert "seed 2: image diverged" in total.note


def test_an_arm_without_any_record_is_contrasted_and_named():
    records = runs({"text": PLANTED["text"]})
    plan = header(records, arms=["text", "image", "image.shuffled"], controls={"image": ["image.shuffled"]})
    found = by_name(records, plan)
    assert found["image", "text", ACCURACY].estimate.n == 0
    assert found["image", "image.shuffled", ACCURACY].kind == "grounding"
    assert found["image", "text", ACCURACY].verdict == "inconclusive"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_a_number_is_named_and_never_averaged(bad):
    records = changed(runs(PLANTED), "text", 1, scores={ACCURACY: Score(bad, 256, True, 0.125)})
    total = by_name(records)["image", "text", ACCURACY]
    assert f"seed 1: text scored {bad}" in total.note
    assert total.verdict == "inconclusive"
    assert math.isfinite(total.estimate.mean_gain)


def test_a_missing_score_is_named():
    records = changed(runs(PLANTED), "text", 1, scores={})
    assert "seed 1: text has no score" in by_name(records)["image", "text", ACCURACY].note


def test_one_seed_decides_nothing_and_says_so():
    one = by_name(runs({"text": [0.1], "image": [0.9]}))["image", "text", ACCURACY]
    assert one.verdict == "inconclusive"
    assert "one pair" in one.note
    assert one.estimate.mean_gain == pytest.approx(0.8)


def test_arms_that_tie_on_every_item_are_inconclusive_and_say_why():
    one = by_name(runs({"text": [0.125] * 5, "other": [0.125] * 5}))["other", "text", ACCURACY]
    assert one.verdict == "inconclusive"
    assert "differences are equal" in one.note


def test_an_inconclusive_contrast_says_how_many_pairs_it_would_take():
    values = {"text": [0.50, 0.52, 0.48], "other": [0.53, 0.49, 0.50]}
    one = by_name(runs(values))["other", "text", ACCURACY]
    assert one.verdict == "inconclusive"
    assert one.seeds_to_decide.equivalent == seeds_needed(one.estimate.sd, 0.05)
    assert f"about {one.seeds_to_decide.equivalent} pairs" in one.note
    assert one.seeds_to_decide.detect == pairs_to_detect(one.estimate.sd, one.estimate.mean_gain)


def test_a_difference_that_adjustment_takes_away_is_not_called_unknown():
    values = {"text": [0.50, 0.51, 0.49, 0.50], "a": [0.52, 0.535, 0.50, 0.53]}
    values |= {f"b{k}": [0.50, 0.47 + k / 100, 0.53, 0.48] for k in range(9)}
    one = by_name(runs(values), header(runs(values), {ACCURACY: 1e-3}))["a", "text", ACCURACY]
    assert one.estimate.p_difference < 0.05
    assert one.verdict == "inconclusive"
    assert "differs before adjustment over 10 contrasts" in one.note


def test_two_records_of_one_run_that_disagree_are_refused():
    records = runs(PLANTED)
    forged = dataclasses.replace(records[0], scores={ACCURACY: Score(0.99, 256, True, 0.125)})
    with pytest.raises(RecordError, match="arm 'text', seed 0 disagree in scores"):
        contrasts([*records, forged], header(records))
    assert contrasts([*records, records[0]], header(records)) == contrasts(records, header(records))


def test_records_that_disagree_on_the_direction_of_an_endpoint_are_refused():
    records = changed(runs(PLANTED), "image", 0, scores={ACCURACY: Score(0.9, 256, False, 0.125)})
    with pytest.raises(RecordError, match="arm 'image', seed 0: endpoint 'planted/accuracy'"):
        contrasts(records, header(records))


def pair(**changes):
    return run("image", 7, {}, **changes), run("text", 7, {})


def test_a_sound_pair_passes():
    for match in ("flops", "text_tokens", "positions"):
        check_pair(*pair(), match)


def test_runs_with_different_initial_backbones_are_not_a_pair():
    other = Pairing("elsewhere", run("text", 7, {}).pairing.text_rows)
    with pytest.raises(PairingError, match="image and text, seed 7: initial backbones differ"):
        check_pair(*pair(pairing=other), "flops")


def test_one_differing_text_row_is_enough():
    rows = {"10": {"0": "a7", "1": "b7"}, "20": {"0": "another"}}
    with pytest.raises(PairingError, match="text rows differ by step 20 in column 0"):
        check_pair(*pair(pairing=Pairing("backbone-7", rows)), "flops")


def test_columns_and_steps_that_only_one_arm_ran_are_not_compared():
    rows = {"10": {"0": "a7", "9": "own"}, "30": {"0": "own"}}
    check_pair(*pair(pairing=Pairing("backbone-7", rows)), "flops")


@pytest.mark.parametrize("rows", [{}, {"99": {"0": "a7"}}, {"10": {"5": "a7"}}])
def test_runs_with_no_text_row_in_common_prove_nothing(rows):
    with pytest.raises(PairingError, match="no step and row column"):
        check_pair(*pair(pairing=Pairing("backbone-7", rows)), "flops")


def test_seeds_differ():
    with pytest.raises(PairingError, match="seeds 7 and 8"):
        check_pair(run("image", 7, {}), run("text", 8, {}), "flops")


@pytest.mark.parametrize(
    ("match", "inside", "outside"),
    [
        ("flops", ledger(flops=1_009_000_000_000), ledger(flops=1_011_000_000_000)),
        ("text_tokens", ledger(text_tokens=891_001), ledger(text_tokens=890_000)),
        ("positions", ledger(positions=990_000), ledger(positions=989_000)),
    ],
)
def test_a_budget_off_by_more_than_one_percent_is_refused(match, inside, outside):
    check_pair(*pair(spent=inside), match)
    with pytest.raises(PairingError, match=f"{match} differ by .*allowed 1%"):
        check_pair(*pair(spent=outside), match)


def test_what_is_not_matched_may_differ():
    check_pair(*pair(spent=ledger(flops=2 * 10**12)), "text_tokens")


def test_a_refused_pair_leaves_the_contrast_with_its_reason():
    records = changed(runs(PLANTED), "image", 4, pairing=Pairing("elsewhere", {}))
    total = by_name(records)["image", "text", ACCURACY]
    assert [lost.refused for lost in total.excluded] == [True]
    assert "initial backbones differ" in total.note
    assert total.verdict == "inconclusive"
    assert total.sample.seeds == (0, 1, 2, 3)


def test_when_every_pair_is_refused_no_number_is_left():
    records = [
        dataclasses.replace(r, spent=ledger(40_000, flops=2 * 10**12)) if r.arm == "image" else r
        for r in runs(PLANTED)
    ]
    total = by_name(records)["image", "text", ACCURACY]
    assert total.estimate.n == 0
    assert total.estimate.mean_gain is None
    assert total.printed_verdict == "inconclusive"


def test_false_claims_over_whole_studies_stay_below_alpha():
    """600 A/A studies of 5 seeds, image with a shuffled control, through records and pairing."""
    rng = np.random.default_rng(1)
    false = 0
    for scores in rng.normal(0.5, 0.01, size=(600, 3, 5)):
        records = runs(dict(zip(("text", "image", "image.shuffled"), scores.tolist(), strict=True)))
        found = contrasts(records, header(records, {ACCURACY: 1e-6}))
        false += any(one.verdict != "inconclusive" for one in found if one.confirmatory)
    assert false <= stats.binom.ppf(0.99, 600, 0.05)


@pytest.mark.parametrize("key", ["tokenizer", "stream/prose", "task/planted"])
def test_runs_on_other_data_under_one_name_are_no_pair(key):
    digests = {"tokenizer": "t", "stream/prose": "s", "task/planted": "p"}
    reference = run("text", 7, {}, data_digests=digests)
    with pytest.raises(PairingError, match=f"image and text, seed 7: digests of {key} differ"):
        check_pair(run("image", 7, {}, data_digests=digests | {key: "other"}), reference, "flops")


def test_streams_that_only_one_arm_reads_do_not_undo_a_pair():
    reference = run("text", 7, {}, data_digests={"tokenizer": "t", "stream/prose": "s"})
    treated = run("image", 7, {}, data_digests={"tokenizer": "t", "stream/pictures": "i"})
    check_pair(treated, reference, "flops")


def test_scores_over_differing_numbers_of_items_are_refused_for_that_endpoint_alone():
    records = [
        run(arm, seed, {ACCURACY: Score(0.5 + seed / 100, 256, True, 0.125), BITS: 2.0 + seed / 100})
        for arm in ("text", "other")
        for seed in range(3)
    ]
    scores = records[-1].scores | {ACCURACY: Score(0.6, 255, True, 0.125)}
    found = by_name(changed(records, "other", 2, scores=scores))
    (lost,) = found["other", "text", ACCURACY].excluded
    assert (lost.seed, lost.refused) == (2, True)
    assert lost.reason == "other and text, seed 2: planted/accuracy was scored on 255 and 256 items"
    assert found["other", "text", ACCURACY].sample.seeds == (0, 1)
    assert found["other", "text", ACCURACY].verdict == "inconclusive"
    assert found["other", "text", BITS].complete

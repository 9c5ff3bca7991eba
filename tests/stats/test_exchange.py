"""Effects in tokens of fresh text: exact where theory is, covered where it is estimated, else declined."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from fabricated import ACCURACY, BITS, header, ledger, run
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.record import Pairing, RunRecord, Score
from ablate.report.load import StudyHeader
from ablate.stats.exchange import Equivalent, exchanges
from ablate.stats.fieller import fieller
from ablate.stats.paired import PairedSample
from ablate.stats.slope import missing_ladder, slopes
from ablate.stats.worth import difference_of_worth

TEXT = 1_000_000
STUDIES, SEEDS = 2000, 5
SPENT = {
    "text": ledger(text_tokens=TEXT, text_epochs=0.5),
    "text.x0.25": ledger(text_tokens=TEXT // 4, text_epochs=0.1),
    "text.x0.5": ledger(text_tokens=TEXT // 2, text_epochs=0.2),
    "text.x2.0": ledger(text_tokens=2 * TEXT, text_epochs=0.9),
    "image": ledger(media=40_000, text_tokens=600_000, caption_tokens=90_000),
    "image.shuffled": ledger(media=40_000, text_tokens=600_000, caption_tokens=90_000),
}
"""Invented accounts; the arm with media gave 400,000 text tokens away for 40,000 media positions."""
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
"""Hours of sleep that ten patients gained by two drugs (Student 1908, Biometrika 6:20)."""

Values = Mapping[str, Sequence[float]]


def study(values: Values, endpoint: str = ACCURACY) -> tuple[list[RunRecord], StudyHeader]:
    """Runs of a laddered study: arms to their score by seed."""
    records = [
        run(arm, seed, {endpoint: value}, spent=SPENT[arm])
        if not arm.startswith("text.")
        else run(arm, seed, {endpoint: value}, spent=SPENT[arm], control=None, mirrors=None)
        for arm, scores in values.items()
        for seed, value in enumerate(scores)
    ]
    ladder = {arm: float(arm.partition(".x")[2]) for arm in values if arm.startswith("text.")}
    controls = {"image": ["image.shuffled"]} if "image.shuffled" in values else {}
    plan = header(records, {endpoint: 0.05}, primary=endpoint, ladder=ladder, controls=controls)
    return records, plan


def found_in(values: Values, endpoint: str = ACCURACY) -> dict[str, Equivalent]:
    return {f"{one.arm} vs {one.reference}": one for one in exchanges(*study(values, endpoint))}


def told(values: Values, endpoint: str = ACCURACY) -> Equivalent:
    return found_in(values, endpoint)["image vs text"]


def on_line(slope: float, noise: Sequence[float], rungs: Sequence[str] = ("text", "text.x0.5")) -> Values:
    """Rungs on a line in ln(text tokens), moved by ``noise`` per seed."""
    return {
        arm: [0.5 + slope * math.log(SPENT[arm].text_tokens / TEXT) + shift for shift in noise]
        for arm in rungs
    }


def test_an_effect_worth_half_as_much_text_again_is_told_as_such() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    gain = 0.1 * math.log(1.5)
    scores = {**base, "image": [value + gain for value in base["text"]]}
    one = told(scores)
    assert one.tokens == pytest.approx(0.5 * TEXT)
    # 0.5 M tokens of gain, and 0.4 M of text that the arm never read, over 40,000 positions.
    assert one.rate == pytest.approx((500_000 + 400_000) / 40_000)
    assert one.interval95 is None
    assert "do not vary over seeds" in one.note


def test_a_loss_of_all_but_half_the_text_is_told_as_missing_text() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    one = told({**base, "image": base["text.x0.5"]})
    assert one.tokens == pytest.approx(-0.5 * TEXT)
    assert one.rate == pytest.approx((-500_000 + 400_000) / 40_000)


def test_bits_that_fall_with_text_give_the_same_answer_as_accuracy_that_rises() -> None:
    rng = np.random.default_rng(3)
    base = on_line(0.1, list(rng.normal(0, 0.01, 4)))
    noisy = {arm: [value + rng.normal(0, 0.002) for value in scores] for arm, scores in base.items()}
    rising = {**noisy, "image": [value + 0.03 + rng.normal(0, 0.002) for value in noisy["text"]]}
    falling = {arm: [2.0 - value for value in scores] for arm, scores in rising.items()}
    first, second = told(rising), told(falling, BITS)
    assert first.tokens is not None
    assert first.tokens == pytest.approx(second.tokens)
    assert first.interval95 == pytest.approx(second.interval95)
    assert first.rate95 == pytest.approx(second.rate95)


def test_grounding_alone_is_told_without_the_text_that_was_given_away() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    scores = {
        **base,
        "image": [value + 0.02 for value in base["text"]],
        "image.shuffled": [value - 0.01 for value in base["text"]],
    }
    found = found_in(scores)
    one = found["image vs image.shuffled"]
    assert one.kind == "grounding"
    assert one.tokens == pytest.approx(TEXT * math.expm1(0.3))
    # Worth of the arm less that of its control, each against the baseline: less than at the baseline's text.
    assert one.rate == pytest.approx(TEXT * (math.exp(0.2) - math.exp(-0.1)) / 40_000)
    given_away = (TEXT - one.arm_tokens) / 40_000
    total = found["image vs text"]
    assert total.rate == pytest.approx(TEXT * math.expm1(0.2) / 40_000 + given_away)
    placebo = found["image.shuffled vs text"]
    assert placebo.tokens == pytest.approx(TEXT * math.expm1(-0.1))
    assert placebo.rate is None


def test_caption_tokens_are_printed_and_counted_with_the_media() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    one = told({**base, "image": base["text"]})
    assert one.caption_tokens == 90_000
    assert one.arm_tokens == 600_000
    assert "9e+04 caption tokens is counted with the media positions" in one.note


# Fieller's interval


def test_fieller_is_the_ratios_that_a_paired_t_test_does_not_reject() -> None:
    interval = fieller(DEXTRO, LAEVO)
    assert interval is not None
    for ratio, p in ((interval[0], 0.05), (interval[1], 0.05), (0.75 / 2.33, 1.0)):
        left = np.asarray(DEXTRO) - ratio * np.asarray(LAEVO)
        assert stats.ttest_1samp(left, 0.0).pvalue == pytest.approx(p, abs=1e-6)


def test_fieller_agrees_with_the_textbook_form() -> None:
    """Finney 1978, Statistical Method in Biological Assay, with g = t^2 v_bb / b^2."""
    a, b = np.mean(DEXTRO), np.mean(LAEVO)
    (v_aa, v_ab), (_, v_bb) = np.cov(DEXTRO, LAEVO) / 10
    t = stats.t.ppf(0.975, 9)
    g, ratio = t**2 * v_bb / b**2, a / b
    half = t / b * math.sqrt(v_aa - 2 * ratio * v_ab + ratio**2 * v_bb - g * (v_aa - v_ab**2 / v_bb))
    ends = [(ratio - g * v_ab / v_bb + side * half) / (1 - g) for side in (-1, 1)]
    assert fieller(DEXTRO, LAEVO) == pytest.approx(tuple(ends), rel=1e-9)


def test_where_the_denominator_is_far_from_zero_fieller_is_the_interval_of_the_logarithm() -> None:
    """The paired example of R's statpsych 1.7 (`ci.ratio.mean.ps`), a delta interval of ln(ratio)."""
    first = [3.3, 3.6, 3.0, 3.1, 3.9, 4.2, 3.5, 3.3]
    second = [3.0, 3.1, 2.7, 2.6, 3.2, 3.8, 3.2, 3.0]
    assert fieller(first, second) == pytest.approx((1.09417, 1.175583), abs=2e-3)


def test_with_little_noise_fieller_is_the_delta_method() -> None:
    rng = np.random.default_rng(11)
    a, b = 0.3 + 1e-5 * rng.normal(size=6), 0.1 + 1e-5 * rng.normal(size=6)
    ratio = a.mean() / b.mean()
    error = np.std(a - ratio * b, ddof=1) / math.sqrt(6) / b.mean()
    half = stats.t.ppf(0.975, 5) * error
    assert fieller(a.tolist(), b.tolist()) == pytest.approx((ratio - half, ratio + half), abs=1e-3 * half)


# Smaller ones would make the test's own squares underflow.
finite = st.floats(-1e6, 1e6).map(lambda x: x if abs(x) > 1e-100 else 0.0)


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=8))
def test_fieller_is_none_where_the_denominator_may_be_zero_and_else_holds_the_ratio(
    pairs: list[tuple[float, float]],
) -> None:
    numerators, denominators = [a for a, _ in pairs], [b for _, b in pairs]
    interval = fieller(numerators, denominators)
    mean, sd = float(np.mean(denominators)), float(np.std(denominators, ddof=1))
    t = abs(mean) / (sd / math.sqrt(len(pairs))) if sd else math.inf
    limit = float(stats.t.ppf(0.975, len(pairs) - 1))
    if mean and t > 1.0001 * limit:
        assert interval is not None
        ratio = float(np.mean(numerators)) / mean
        slack = 1e-6 * (1e-12 + abs(ratio) + abs(interval[0]) + abs(interval[1]))
        assert interval[0] - slack <= ratio <= interval[1] + slack
    elif t < 0.9999 * limit:
        assert interval is None


def test_pairs_of_unequal_length_or_of_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="needs pairs: got 2 numerators and 1 denominators"):
        fieller([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="finite"):
        fieller([1.0, math.nan], [1.0, 2.0])


def inside_binomial(hits: int, share: float, level: float = 0.99) -> bool:
    low, high = stats.binom.interval(level, STUDIES, share)
    return bool(low <= hits <= high)


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
def test_fieller_covers_the_ratio_of_five_seeds_as_often_as_it_says(correlation: float) -> None:
    rng = np.random.default_rng(5)
    cov = [[1.0, correlation], [correlation, 1.0]]
    noise = rng.multivariate_normal([0.0, 0.0], cov, size=(STUDIES, SEEDS))
    hits = 0
    for drawn in noise:
        interval = fieller((0.3 + 0.1 * drawn[:, 0]).tolist(), (1.0 + 0.1 * drawn[:, 1]).tolist())
        assert interval is not None
        hits += interval[0] <= 0.3 <= interval[1]
    assert inside_binomial(hits, 0.95)


def test_where_the_slope_is_weak_a_false_interval_is_still_no_more_frequent_than_it_says() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(STUDIES, SEEDS, 2))
    found = [fieller((0.3 + one[:, 0]).tolist(), (1.0 + one[:, 1]).tolist()) for one in noise]
    given_out = [interval for interval in found if interval is not None]
    assert 0.1 * STUDIES < len(given_out) < 0.9 * STUDIES
    missed = sum(not interval[0] <= 0.3 <= interval[1] for interval in given_out)
    assert missed <= stats.binom.ppf(0.995, STUDIES, 0.05)


def test_whole_studies_cover_the_true_tokens_and_the_true_rate_as_often_as_they_say() -> None:
    """Known slope and effect; gains and slopes share the noise of the baseline's runs."""
    rng = np.random.default_rng(7)
    slope, truth = 0.1, 250_000.0
    arms = ("text", "text.x0.25", "text.x0.5", "image")
    means = [0.5, 0.5 - slope * math.log(4), 0.5 - slope * math.log(2), 0.5 + slope * math.log(1.25)]
    templates, plan = study({arm: [0.5] * SEEDS for arm in arms})
    tokens = rates = 0
    correlations = []
    for _ in range(STUDIES):
        shared = rng.normal(0, 0.02, SEEDS)
        scores = np.asarray(means)[:, None] + shared + rng.normal(0, 0.01, (4, SEEDS))
        records = [
            dataclasses.replace(record, scores={ACCURACY: Score(float(value), 256, True, 0.125)})
            for record, value in zip(templates, scores.ravel(), strict=True)
        ]
        (one,) = exchanges(records, plan)
        correlations.append(np.corrcoef(scores[3] - scores[0], one.slope.per_seed)[0, 1])
        assert one.interval95 is not None
        assert one.rate95 is not None
        tokens += one.interval95[0] <= truth <= one.interval95[1]
        rates += one.rate95[0] <= (truth + 400_000) / 40_000 <= one.rate95[1]
    assert np.mean(correlations) < -0.3
    assert tokens == rates
    assert inside_binomial(tokens, 0.95)


def test_the_worth_of_grounding_covers_the_truth_nearly_as_often_as_it_says() -> None:
    """The delta method over five seeds, where both arms are worse than the baseline, as under equal FLOPs."""
    rng = np.random.default_rng(8)
    slope, gains, tokens = 0.1, (-0.05, -0.12), 1e6
    truth = tokens * (math.exp(gains[0] / slope) - math.exp(gains[1] / slope))
    seeds = tuple(range(SEEDS))
    hits = 0
    for _ in range(STUDIES):
        base = rng.normal(0, 0.01, SEEDS)
        arms = [gain + rng.normal(0, 0.01, SEEDS) for gain in gains]
        slopes_by_seed = dict(enumerate(slope + base + rng.normal(0, 0.005, SEEDS)))
        samples = [PairedSample(seeds, tuple(arm), tuple(base), True) for arm in arms]
        found = difference_of_worth(samples[0], samples[1], slopes_by_seed, tokens)
        assert found is not None
        assert found[1] is not None
        hits += found[1][0] <= truth <= found[1][1]
    assert 0.93 <= hits / STUDIES <= 0.97


def test_what_grounding_is_worth_needs_two_seeds_and_text_that_helps() -> None:
    one = PairedSample((0,), (0.6,), (0.5,), True)
    two = PairedSample((0, 1), (0.6, 0.61), (0.5, 0.5), True)
    assert difference_of_worth(one, one, {0: 0.1}, 1e6) is None
    assert difference_of_worth(two, two, {0: -0.1, 1: -0.1}, 1e6) is None
    worth, between = difference_of_worth(two, two, {0: 0.1, 1: 0.1}, 1e6)
    assert worth == 0.0
    assert between == pytest.approx((0.0, 0.0), abs=1e-6)


# What cannot be told


def test_without_a_ladder_there_is_nothing_and_the_reason_is_given() -> None:
    records, plan = study({"text": [0.1, 0.2], "image": [0.3, 0.4]})
    assert exchanges(records, plan) == []
    assert slopes(records, plan) == []
    assert "text was trained at one budget only" in missing_ladder(plan)
    assert missing_ladder(dataclasses.replace(plan, ladder={"text.x0.5": 0.5})) == ""


def test_a_slope_that_may_be_zero_gives_no_tokens() -> None:
    one = told({"text": [0.5, 0.4, 0.6], "text.x0.5": [0.4, 0.5, 0.55], "image": [0.8, 0.81, 0.82]})
    assert (one.tokens, one.interval95, one.rate) == (None, None, None)
    assert "the slope is not distinguishable from zero (+" in one.note
    assert one.gain.mean_gain is not None


def test_scores_that_no_text_moves_have_no_slope_at_all() -> None:
    one = told({"text": [0.1] * 3, "text.x0.5": [0.1] * 3, "image": [0.3, 0.4, 0.5]})
    assert one.slope.per_seed == (0.0, 0.0, 0.0)
    assert one.tokens is None
    assert "not distinguishable from zero" in one.note


def test_text_that_does_harm_is_no_currency() -> None:
    base = on_line(-0.1, [0.0, 0.01, -0.01])
    one = told({**base, "image": [0.6, 0.61, 0.6]})
    assert one.tokens is one.rate is None
    assert "more text makes the endpoint worse (-0.1 per ln(text tokens) over 3 seeds)" in one.note


def test_one_seed_gives_no_tokens() -> None:
    one = told({"text": [0.5], "text.x0.5": [0.4], "image": [0.6]})
    assert one.tokens is None
    assert "one seed has both a gain and a slope" in one.note


def test_an_effect_that_no_text_could_have_is_declined_and_not_a_number_of_astronomers() -> None:
    base = on_line(0.001, [0.0, 0.01, -0.01])
    one = told({**base, "image": [0.9, 0.91, 0.89]})
    assert one.tokens is None
    assert "cannot be told: the gain is 400 times what e times as much text gives" in one.note


def test_an_interval_without_an_upper_end_says_what_the_least_is() -> None:
    base = on_line(0.01, [0.0, 0.01, -0.01])
    one = told({**base, "image": [0.55, 0.61, 0.69]})
    assert one.tokens is not None
    assert one.interval95 is None
    assert one.extrapolated
    assert "and no upper end can be given" in one.note


def test_a_seed_without_every_rung_is_left_out_and_named() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01, 0.02])
    records, plan = study({**base, "image": [0.6, 0.61, 0.59, 0.63]})
    lacking = [record for record in records if (record.arm, record.seed) != ("text.x0.5", 2)]
    lacking = [record for record in lacking if (record.arm, record.seed) != ("image", 0)]
    (one,) = exchanges(lacking, plan)
    assert one.seeds == (1, 3)
    assert one.slope.seeds == (0, 1, 3)
    assert {lost.seed: lost.reason for lost in one.excluded} == {
        0: "image has no record",
        2: "no slope: text.x0.5 has no record",
    }


def test_a_rung_of_another_init_or_text_order_is_no_rung() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    records, plan = study({**base, "image": [0.6, 0.61, 0.59]})
    strange = [
        dataclasses.replace(record, pairing=Pairing("another", record.pairing.text_rows))
        if (record.arm, record.seed) == ("text.x0.5", 1)
        else record
        for record in records
    ]
    (one,) = exchanges(strange, plan)
    assert one.seeds == (0, 2)
    assert "initial backbones differ" in one.excluded[0].reason


def test_a_rung_without_any_run_is_left_out_and_the_others_are_used() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01], ("text", "text.x0.25", "text.x0.5"))
    records, plan = study({**base, "image": [0.6, 0.61, 0.59]})
    (one,) = exchanges([record for record in records if record.arm != "text.x0.25"], plan)
    assert one.slope.arms == ("text.x0.5", "text")
    assert "rung text.x0.25 has no usable run and is left out" in one.note
    (none,) = exchanges([record for record in records if not record.arm.startswith("text.")], plan)
    assert none.tokens is None
    assert "cannot be told: no seed has both a gain and a slope" in none.note
    assert none.excluded[0].reason == "no slope: no slope from one rung"


def test_rungs_of_equal_text_give_no_slope() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    records, plan = study({**base, "image": [0.6, 0.61, 0.59]})
    equal = [dataclasses.replace(record, spent=SPENT["text"]) for record in records]
    (one,) = exchanges(equal, plan)
    assert one.tokens is None
    assert "did not all spend different amounts of text" in one.excluded[0].reason


# What a reader must know


def test_two_rungs_say_that_linearity_is_not_checked() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    one = told({**base, "image": [0.6, 0.61, 0.59]})
    assert one.slope.curvature is None
    assert "two rungs: whether the endpoint is linear in ln(text tokens) is not checked" in one.note


def test_three_rungs_tell_a_line_from_a_bend() -> None:
    rng = np.random.default_rng(2)
    arms = ("text", "text.x0.25", "text.x0.5", "text.x2.0")
    bent = {
        arm: [
            0.5 + 0.1 * x + bend * x * x + rng.normal(0, 0.001)
            for _ in range(5)
            for x in [math.log(SPENT[arm].text_tokens / TEXT)]
        ]
        for bend in [-0.05]
        for arm in arms
    }
    (slope,) = slopes(*study(bent))
    assert slope.curvature is not None
    assert slope.curvature.mean_gain == pytest.approx(-0.05, abs=2e-3)
    assert "not linear in ln(text tokens) over 4 rungs" in slope.notes[0]
    straight = {
        arm: [value + rng.normal(0, 0.001) for value in scores]
        for arm, scores in on_line(0.1, [0.0] * 5, arms).items()
    }
    (slope,) = slopes(*study(straight))
    assert "no bend is seen over 4 rungs" in slope.notes[0]
    assert slope.estimate.mean_gain == pytest.approx(0.1, abs=2e-3)


def test_the_slope_of_a_seed_is_least_squares() -> None:
    rng = np.random.default_rng(8)
    arms = ("text", "text.x0.25", "text.x0.5", "text.x2.0")
    values = {arm: rng.normal(0.5, 0.1, 3).tolist() for arm in arms}
    (slope,) = slopes(*study(values))
    x = [math.log(SPENT[arm].text_tokens) for arm in arms]
    for seed in range(3):
        expected = stats.linregress(x, [values[arm][seed] for arm in arms]).slope
        assert slope.per_seed[seed] == pytest.approx(expected)
    assert slope.tokens == (250_000, 500_000, 1_000_000, 2_000_000)


def test_what_lies_beyond_the_ladder_is_flagged() -> None:
    rng = np.random.default_rng(4)
    noise = list(rng.normal(0, 1e-4, 4))
    below, both = on_line(0.1, noise), on_line(0.1, noise, ("text", "text.x0.5", "text.x2.0"))
    image = [value + 0.02 + rng.normal(0, 1e-4) for value in below["text"]]
    beyond, within = told({**below, "image": image}), told({**both, "image": image})
    assert beyond.extrapolated
    assert "text tokens lie outside the ladder's 5e+05 to 1e+06 text tokens" in beyond.note
    assert not within.extrapolated
    wide = told(
        {
            **both,
            "image": [value + shift for value, shift in zip(image, (-0.1, 0.1, -0.05, 0.05), strict=True)],
        }
    )
    assert wide.extrapolated
    assert "the interval reaches outside the ladder" in wide.note


def test_a_rung_that_repeats_its_text_is_said_to_be_not_all_fresh() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01], ("text", "text.x2.0"))
    records, plan = study({**base, "image": [0.6, 0.61, 0.59]})
    again = ledger(text_tokens=2 * TEXT, text_epochs=1.8)
    repeated = [
        dataclasses.replace(record, spent=again) if record.arm == "text.x2.0" else record
        for record in records
    ]
    (one,) = exchanges(repeated, plan)
    assert "text.x2.0 reads its text 1.8 times: the tokens of that rung are not all fresh" in one.note


def test_an_arm_of_text_has_tokens_and_no_exchange_rate() -> None:
    base = on_line(0.1, [0.0, 0.01, -0.01])
    records, plan = study({**base, "image": base["text"]})
    textual = [
        dataclasses.replace(record, spent=SPENT["text"]) if record.arm == "image" else record
        for record in records
    ]
    (one,) = exchanges(textual, plan)
    assert one.tokens == pytest.approx(0.0, abs=1e-6)
    assert one.rate is None
    assert "image holds no media: there is no exchange rate" in one.note

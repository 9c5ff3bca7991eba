"""The crossed bootstrap and its variances, against exact formulas, scipy and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.bootstrap import CHUNK, crossed_bootstrap, variance_components
from ablate.stats.paired import PairedSample, estimate


def crossed(differences, weights=None, clusters=None, higher=True, name="contrast", replicates=2000):
    """The bootstrap of differences [seeds, items] over a reference of zero."""
    treated = np.asarray(differences, dtype=np.float64)
    items = treated.shape[1]
    weights = np.ones(items) if weights is None else np.asarray(weights, dtype=np.float64)
    clusters = np.arange(items) if clusters is None else np.asarray(clusters)
    return crossed_bootstrap(
        treated, np.zeros_like(treated), weights, clusters, higher, name, replicates=replicates
    )


def layout(rng, seeds, items, between_seeds, between_items, noise, mean=0.0):
    return (
        mean
        + rng.normal(0, between_seeds, (seeds, 1))
        + rng.normal(0, between_items, (1, items))
        + rng.normal(0, noise, (seeds, items))
    )


def pigeonhole_variance(values):
    """Exact variance of the mean of ``values`` [n, m] under independent multinomial counts u and v:
    E[(u'Yv)^2] with E[uu'] = I + (1 - 1/n) J, less the square of the sum."""
    n, m = values.shape
    rows, columns = np.eye(n) + (1 - 1 / n), np.eye(m) + (1 - 1 / m)
    second = np.trace(rows @ values @ columns @ values.T)
    return (second - values.sum() ** 2) / (n * m) ** 2


def spread(found):
    """Standard deviation that a normal distribution with the 95% interval's width would have."""
    return (found.interval95[1] - found.interval95[0]) / (2 * stats.norm.ppf(0.975))


@pytest.mark.parametrize(("seeds", "items"), [(20, 30), (40, 200), (1, 300), (60, 1)])
def test_the_spread_of_the_replicates_is_that_of_the_exact_formula(seeds, items):
    values = layout(np.random.default_rng(1), seeds, items, 0.1, 0.3, 0.5)
    found = crossed(values, replicates=20_000)
    assert spread(found) == pytest.approx(math.sqrt(pigeonhole_variance(values)), rel=0.03)
    assert sum(found.interval95) / 2 == pytest.approx(values.mean(), abs=0.1 * spread(found))


@pytest.mark.parametrize("axis", ["seeds", "items"])
def test_over_one_axis_it_is_scipys_percentile_bootstrap(axis):
    values = np.random.default_rng(2).gamma(2.0, 0.1, size=40)
    scipys = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    )
    found = crossed(values[None, :] if axis == "items" else values[:, None], replicates=20_000)
    # The density at a 2.5% quantile of a normal is 0.058 per sd: the quantile's own error is 0.019 sd.
    assert found.interval95 == pytest.approx(
        tuple(scipys.confidence_interval), abs=4 * 0.019 * math.sqrt(2) * scipys.standard_error
    )


def test_bits_per_byte_is_resampled_as_a_ratio():
    """Documents of very unlike lengths, against scipy's bootstrap of sum over sum."""
    rng = np.random.default_rng(4)
    size = np.exp(rng.normal(5, 1.5, 60))
    bits = size * rng.normal(0.02, 0.05, 60)
    scipys = stats.bootstrap(
        (bits, size),
        lambda top, bottom, axis: top.sum(axis=axis) / bottom.sum(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=rng,
    )
    found = crossed(bits[None, :], weights=size, replicates=20_000)
    assert found.mean_gain == pytest.approx(bits.sum() / size.sum(), rel=1e-12)
    assert found.interval95 == pytest.approx(
        tuple(scipys.confidence_interval), abs=4 * 0.03 * scipys.standard_error
    )
    ratio, n = bits.sum() / size.sum(), bits.size
    textbook = math.sqrt(n / (n - 1) * ((bits - ratio * size) ** 2).sum()) / size.sum()
    assert found.se_items == pytest.approx(textbook, rel=1e-12)


def test_the_standard_error_over_seeds_is_that_of_the_paired_t_interval():
    rng = np.random.default_rng(5)
    size = rng.integers(50, 500, 40).astype(float)
    treated, reference = rng.normal(2.0, 0.1, (2, 6, 40)) * size
    found = crossed_bootstrap(treated, reference, size, np.arange(40), False, "bits")
    scores = [tuple((arm.sum(axis=1) / size.sum()).tolist()) for arm in (treated, reference)]
    paired = estimate(PairedSample(tuple(range(6)), *scores, higher_is_better=False))
    assert found.mean_gain == pytest.approx(paired.mean_gain, abs=1e-12)
    assert found.se_seeds == pytest.approx(paired.sd / math.sqrt(6), rel=1e-9)


def test_components_of_a_table_by_hand():
    """Rows 1, 3 and 2, 8: row means 2 and 5, column means 1.5 and 5.5, residuals all 1 in size.
    MS rows 9, columns 16, residual 4; so (9 - 4) / 2, (16 - 4) / 2 and 4."""
    found = variance_components(np.array([[1.0, 3.0], [2.0, 8.0]]))
    assert (found.seed, found.item, found.residual) == pytest.approx((2.5, 6.0, 4.0))
    both = crossed([[1.0, 3.0], [2.0, 8.0]]).se_both
    assert both == pytest.approx(math.sqrt(2.5 / 2 + 6.0 / 2 + 4.0 / 4))


def test_components_are_those_of_the_analysis_of_variance():
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    values = layout(np.random.default_rng(6), 5, 12, 0.2, 0.4, 0.3)
    frame = pd.DataFrame(
        [(row, column, values[row, column]) for row in range(5) for column in range(12)],
        columns=["seed", "item", "y"],
    )
    table = anova_lm(ols("y ~ C(seed) + C(item)", frame).fit())
    mean_square = (table["sum_sq"] / table["df"]).to_dict()
    found = variance_components(values)
    assert found.residual == pytest.approx(mean_square["Residual"], rel=1e-9)
    assert found.seed == pytest.approx((mean_square["C(seed)"] - found.residual) / 12, rel=1e-9)
    assert found.item == pytest.approx((mean_square["C(item)"] - found.residual) / 5, rel=1e-9)


def test_components_are_unbiased_and_the_two_sources_are_told_apart():
    rng = np.random.default_rng(7)
    found = [variance_components(layout(rng, 6, 40, 0.2, 0.5, 1.0)) for _ in range(1500)]
    assert np.mean([one.residual for one in found]) == pytest.approx(1.0, abs=0.01)
    assert np.mean([one.item for one in found]) == pytest.approx(0.25, abs=0.015)
    # Cut off at zero, the seed's is a little too large: the true value is 0.04.
    assert np.mean([one.seed for one in found]) == pytest.approx(0.04, abs=0.008)


def test_noisy_seeds_and_noisy_items_show_where_the_noise_is():
    rng = np.random.default_rng(8)
    seeds, items = layout(rng, 8, 100, 1.0, 0.01, 0.1), layout(rng, 8, 100, 0.01, 1.0, 0.1)
    assert crossed(seeds).se_seeds > 10 * crossed(seeds).se_items
    assert crossed(items).se_items > 10 * crossed(items).se_seeds
    for found in (crossed(seeds), crossed(items)):
        assert found.se_both >= max(found.se_seeds, found.se_items) * (1 - 1e-12)


def test_clusters_are_resampled_whole():
    """Twenty copies of every item are no more evidence than one of each."""
    values = layout(np.random.default_rng(9), 6, 30, 0.1, 0.5, 0.2)
    copies, labels = np.repeat(values, 20, axis=1), np.repeat(np.arange(30), 20)
    alone, whole = crossed(values), crossed(copies, clusters=labels)
    assert (whole.items, whole.clusters) == (600, 30)
    assert whole.interval95 == pytest.approx(alone.interval95, abs=1e-12)
    assert whole.se_both == pytest.approx(alone.se_both, rel=1e-9)
    assert crossed(copies).se_items < whole.se_items / 2


def test_labels_of_clusters_are_names_and_the_order_of_items_is_none():
    rng = np.random.default_rng(10)
    values, size = layout(rng, 4, 50, 0.1, 0.5, 0.2), rng.integers(1, 9, 50)
    labels = np.sort(rng.integers(0, 12, 50))
    moved = rng.permutation(50)
    first = crossed(values, size, labels)
    second = crossed(values[:, moved], size[moved], 1000 * labels[moved] + 7)
    assert second.interval95 == pytest.approx(first.interval95, abs=1e-12)
    assert second.se_both == pytest.approx(first.se_both, rel=1e-9)


@given(st.integers(0, 10_000))
def test_turning_the_endpoint_round_turns_the_interval_round(number):
    values = layout(np.random.default_rng(number), 3, 15, 0.1, 0.2, 0.3)
    up, down = crossed(values, replicates=200), crossed(values, higher=False, replicates=200)
    assert down.mean_gain == pytest.approx(-up.mean_gain, abs=1e-15)
    assert down.interval95 == pytest.approx((-up.interval95[1], -up.interval95[0]), abs=1e-12)
    assert up.interval95[0] <= up.interval90[0] <= up.interval90[1] <= up.interval95[1]


def test_the_same_name_gives_the_same_interval_and_another_name_other_draws():
    values = layout(np.random.default_rng(11), 5, 40, 0.1, 0.2, 0.3)
    assert crossed(values, name="a") == crossed(values, name="a")
    assert crossed(values, name="a").interval95 != crossed(values, name="b").interval95
    # A 2.5% quantile of 2000 normal draws has an error of 0.06 sd.
    assert crossed(values, name="a").interval95 == pytest.approx(
        crossed(values, name="b").interval95, abs=4 * 0.06 * math.sqrt(2) * spread(crossed(values))
    )


def test_draws_stay_what_they_are_between_versions_of_numpy():
    """Published intervals must not move: numbers written down once."""
    found = crossed([[0.0, 1.0, 2.0, 4.0], [1.0, 1.0, 3.0, 0.0], [0.5, 0.25, 0.0, 2.0]], name="pinned")
    assert found.interval95 == pytest.approx((11 / 24, 2.25), abs=1e-12)


def test_more_items_than_fit_at_once_are_resampled_in_chunks():
    values = layout(np.random.default_rng(12), 2, 3000, 0.0, 0.5, 0.1)
    assert CHUNK < 3000 * 2000
    found = crossed(values)
    assert spread(found) == pytest.approx(math.sqrt(pigeonhole_variance(values)), rel=0.1)


def test_one_seed_gives_items_only_and_says_so():
    found = crossed(np.random.default_rng(13).normal(0.1, 1, (1, 100)))
    assert found.se_seeds is None
    assert found.se_both is None
    assert found.interval95 is not None
    assert found.remark == "one seed: the interval is over items alone"


def test_one_item_and_one_cluster_give_seeds_only_and_say_so():
    values = np.random.default_rng(14).normal(0.1, 1, (8, 1))
    assert crossed(values).remark == "one item: the interval is over seeds alone"
    assert crossed(values).se_items is None
    together = crossed(np.repeat(values, 3, axis=1), clusters=[4, 4, 4])
    assert together.remark == "one cluster: the interval is over seeds alone"
    assert together.interval95 == pytest.approx(crossed(values).interval95)


def test_few_clusters_are_called_rough():
    values = np.random.default_rng(15).normal(size=(5, 12))
    assert crossed(values, clusters=np.arange(12) // 4).remark == (
        "3 clusters only: the part of the clusters is rough"
    )
    assert crossed(values).remark == ""


@pytest.mark.parametrize("level", [0.0, 0.25, 0.1 + 0.2])
def test_all_items_tied_give_a_gain_and_no_interval(level):
    found = crossed(np.full((4, 20), level))
    assert found.mean_gain == pytest.approx(level)
    assert (found.interval95, found.interval90, found.se_seeds, found.replicates) == (None, None, None, 0)
    assert "nothing to resample" in found.remark


def test_one_seed_with_one_item_has_nothing_to_resample():
    assert "nothing to resample" in crossed([[0.5]]).remark


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_item_that_is_no_number_refuses_the_contrast_with_a_reason(value):
    values = np.random.default_rng(16).normal(size=(3, 10))
    values[1, 2] = value
    found = crossed(values)
    assert found.mean_gain is None
    assert found.interval95 is None
    assert found.remark == "1 of 60 item scores are not finite numbers"


def test_no_seed_no_items_and_no_weight_are_refused_with_a_reason():
    assert crossed(np.zeros((0, 5))).remark == "no seed"
    assert crossed(np.zeros((3, 0))).remark == "no items"
    assert "above zero" in crossed(np.ones((2, 3)), weights=[1.0, 0.0, 2.0]).remark


def test_shapes_that_do_not_fit_are_an_error():
    ones = np.ones((3, 4))
    with pytest.raises(ValueError, match="seeds x items"):
        crossed_bootstrap(ones, np.ones((2, 4)), np.ones(4), np.arange(4), True, "x")
    with pytest.raises(ValueError, match="weights"):
        crossed_bootstrap(ones, ones, np.ones(3), np.arange(4), True, "x")


def test_with_many_seeds_and_items_the_interval_covers_new_seeds_and_new_items():
    """300 studies of 30 seeds and 60 items: it may cover more than 95%, not much less."""
    rng, studies = np.random.default_rng(17), 300
    covered = 0
    for number in range(studies):
        found = crossed(layout(rng, 30, 60, 0.2, 0.3, 0.3, mean=0.1), name=str(number), replicates=1000)
        covered += found.interval95[0] <= 0.1 <= found.interval95[1]
    assert covered >= stats.binom.ppf(0.01, studies, 0.94)


def test_the_standard_error_of_both_is_that_of_new_seeds_and_new_items():
    """2000 studies of 8 seeds and 25 items: the variance of the mean gain, and its average estimate."""
    rng = np.random.default_rng(18)
    studies = [layout(rng, 8, 25, 0.2, 0.3, 0.5) for _ in range(2000)]
    found = [variance_components(values) for values in studies]
    expected = np.mean([one.seed / 8 + one.item / 25 + one.residual / 200 for one in found])
    assert np.var([values.mean() for values in studies]) == pytest.approx(expected, rel=0.1)

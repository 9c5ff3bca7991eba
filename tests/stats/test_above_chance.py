"""Above chance means above it for new seeds and for new items, and luck rarely passes for it."""

import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats.above_chance import above_chance


def guesses(rng, seeds, items, chance=0.5):
    return (rng.random((seeds, items)) < chance).astype(np.float64)


def test_with_one_seed_it_is_the_t_test_over_items():
    values = guesses(np.random.default_rng(0), 1, 300, 0.55)
    found = above_chance(values, 0.5, values.mean(axis=1, keepdims=True))
    theirs = stats.ttest_1samp(values[0], 0.5, alternative="greater")
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    assert found.se_seeds is None


def test_a_constant_model_scores_chance_exactly_and_is_not_above_it():
    found = above_chance(np.full((3, 100), 0.5), 0.5, np.full((3, 4), 0.5))
    assert found.excess == 0.0
    assert found.p_value == 1.0


def test_all_answers_right_are_as_unlikely_as_so_many_right_guesses():
    assert above_chance(np.ones((3, 8)), 0.25, np.ones((3, 4))).p_value == pytest.approx(0.25**8)
    assert above_chance(np.ones((3, 1)), 0.25, np.ones((3, 4))).p_value is None


def test_p_is_the_level_at_which_the_excess_is_just_what_is_needed():
    rng = np.random.default_rng(1)
    values = guesses(rng, 4, 200, 0.6)
    found = above_chance(values, 0.5, np.column_stack([rng.normal(0.55, 0.02, (4, 3)), values.mean(axis=1)]))
    assert 0 < found.p_value < 0.05
    assert found.needed(found.p_value) == pytest.approx(found.excess, rel=1e-4)


def test_seeds_that_disagree_need_more_than_seeds_that_agree():
    values = guesses(np.random.default_rng(2), 3, 400, 0.6)
    agree = np.full((3, 4), 0.6)
    disagree = agree + np.array([[-0.1], [0.0], [0.1]])
    assert above_chance(values, 0.5, disagree).p_value > 20 * above_chance(values, 0.5, agree).p_value


def test_clusters_are_what_is_sampled():
    """The same answers in 10 clusters, one answer a cluster, say less than as 200 items."""
    clusters = (np.random.default_rng(4).random((3, 10)) < 0.8).astype(float)
    as_items = np.repeat(clusters, 20, axis=1)
    seeds = np.tile(clusters.mean(axis=1)[:, None], (1, 4))
    assert above_chance(clusters, 0.5, seeds).p_value > above_chance(as_items, 0.5, seeds).p_value


@pytest.mark.parametrize("between_seeds", [0.0, 1.0, 10.0])
def test_no_mixture_of_the_two_variances_passes_more_often_than_the_level(between_seeds):
    """Seeds and items at chance on average, varying by ``between_seeds`` to 1; runs of a seed correlated."""
    rng, studies, seeds, clusters, level = np.random.default_rng(5), 1500, 3, 40, 0.05
    passed = 0
    for _ in range(studies):
        of_seed = rng.normal(0, math.sqrt(0.25 * between_seeds), (seeds, 1))
        of_rung = rng.normal(0, math.sqrt(0.75 * between_seeds), (seeds, 4))
        runs = of_seed + of_rung
        items = rng.normal(0, math.sqrt(clusters / seeds), (1, clusters))
        values = items + runs[:, -1:] + rng.normal(0, 1, (seeds, clusters))
        found = above_chance(values, 0.0, runs)
        passed += found.excess > 0 and found.reaches(level)
    assert passed <= stats.binom.ppf(0.999, studies, level)

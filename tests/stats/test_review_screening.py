"""What is no evidence does not pass for it: rounding, coarse scores, budgets at which nothing varies."""

import math

import numpy as np
import pytest

from ablate.stats.above_chance import above_chance
from ablate.stats.screening import LadderScores, screen
from ablate.stats.trend import falls


@pytest.mark.parametrize("choices", [3, 5, 6, 7, 11])
@pytest.mark.parametrize("items", [10, 50, 500])
def test_the_rounding_of_a_mean_is_not_above_chance(choices: int, items: int) -> None:
    score = math.fsum([1 / choices] * items) / items
    found = above_chance(np.full((3, items), 1 / choices), 1 / choices, np.full((3, 4), score))
    assert found.excess == 0.0
    assert found.p_value == 1.0


def test_two_seeds_that_both_lose_one_item_of_a_hundred_do_not_prove_a_fall() -> None:
    assert falls(np.array([[0.54, 0.53], [0.62, 0.61]])) == [0.25]
    assert falls(np.array([[0.54, 0.54], [0.62, 0.62]])) == [1.0]
    # As many seeds as make the sign test sure of it.
    assert falls(np.tile([0.54, 0.53], (6, 1))) == [0.5**6]


def test_a_coarse_score_is_called_falling_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(0)
    scores = rng.binomial(100, 0.55, (2000, 2, 4)) / 100
    assert np.mean([min(falls(one)) * 3 < 0.05 for one in scores]) < 0.02


def test_budgets_at_which_nothing_varies_give_no_degrees_of_freedom() -> None:
    """At small budgets every seed answers `yes` throughout; at the full one seeds differ, at chance on
    average. Were the small budgets counted, 1 in 23 such endpoints would pass at 1 in 60."""
    rng, alpha, studies = np.random.default_rng(1), 0.05 / 3, 4000
    passed = 0
    for _ in range(studies):
        full = 0.5 + rng.normal(0, 0.05, 3)
        values = full[:, None] + rng.normal(0, 0.001, (1, 20))
        scores = np.column_stack([np.full((3, 3), 0.5), values.mean(axis=1)])
        found = above_chance(values, 0.5, scores)
        passed += found.excess > 0 and found.reaches(alpha)
    assert passed / studies < 1.35 * alpha


def test_budgets_of_equal_variance_all_count() -> None:
    equal = above_chance(np.full((3, 9), 0.6), 0.5, np.tile([[0.5], [0.6], [0.7]], (1, 4)))
    alone = above_chance(np.full((3, 9), 0.6), 0.5, np.array([[0.5, 0.5], [0.5, 0.6], [0.5, 0.7]]))
    assert equal.df_seeds == 4.0
    assert alone.df_seeds == 2.0


def test_a_constant_model_is_at_its_floor_whatever_the_number_of_choices() -> None:
    shares, items = (0.25, 0.5, 1.0), 10
    ladder = LadderScores(
        "t/probability", True, 1 / 3, shares, (0, 1, 2), np.full((3, 3), 1 / 3), np.full((3, items), 1 / 3)
    )
    (found,) = screen([ladder])
    assert found.verdict == "at floor"

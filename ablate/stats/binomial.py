"""What a model that knows nothing scores by luck."""

import math

from scipy.special import bdtr, bdtrik


def chance_interval(questions: int, chance: float, runs: int, alpha: float = 0.05) -> tuple[float, float]:
    """The accuracies that ``runs`` guessing models stay within, all of them, with probability 1 - ``alpha``.

    Quantiles of the binomial distribution, exact: each run's accuracy lies below the interval with
    probability at most alpha / (2 runs), and above it likewise (Bonferroni over the runs).

    Args:
        questions: independent questions in the task.
        chance: probability that a guess is right.
        runs: how many runs are looked at together.

    Raises:
        ValueError: a number out of range.
    """
    if questions < 1 or runs < 1:
        raise ValueError(f"questions and runs are at least 1, not {questions} and {runs}")
    if not 0 < chance < 1 or not 0 < alpha < 1:
        raise ValueError(f"chance and alpha lie between 0 and 1, not at {chance} and {alpha}")
    tail = alpha / (2.0 * runs)
    low, high = _lower(questions, chance, tail), questions - _lower(questions, 1.0 - chance, tail)
    return low / questions, high / questions


def _lower(questions: int, chance: float, tail: float) -> int:
    """The fewest right answers whose probability, with that of all fewer, reaches ``tail``."""
    right = max(0, math.ceil(float(bdtrik(tail, questions, chance))))
    return right - 1 if right and bdtr(right - 1, questions, chance) >= tail else right

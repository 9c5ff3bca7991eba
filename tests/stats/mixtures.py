"""Made-up scores of mixtures, with a truth that is known."""

from collections.abc import Callable

import numpy as np

COMPONENTS = ("text", "pictures", "sounds")
NOISE = 0.01
SEED_EFFECT = 3 * NOISE


def lattice(components: int, degree: int) -> np.ndarray:
    """All mixtures in steps of 1/degree, pure text first."""
    steps = np.array(list(np.ndindex(*(degree + 1,) * components)))
    return steps[steps.sum(axis=1) == degree][::-1] / degree


LATTICE = lattice(3, 3)
"""Ten mixtures: Scheffe's {3, 3} lattice, whose centre is the centroid."""
FINE = lattice(3, 24)
LINE = lattice(2, 4)


def quadratic(x: np.ndarray) -> np.ndarray:
    return 0.02 * x[:, 1] - 0.1 * x[:, 2] + 0.15 * x[:, 0] * x[:, 1] + 0.05 * x[:, 1] * x[:, 2]


def exponential(x: np.ndarray) -> np.ndarray:
    return -0.05 * np.exp(-2.0 * x[:, 1] + 0.8 * x[:, 2])


def harm(x: np.ndarray) -> np.ndarray:
    """Everything but text hurts."""
    return -0.1 * x[:, 1] - 0.15 * x[:, 2] - 0.05 * x[:, 0] * x[:, 1]


def nothing(x: np.ndarray) -> np.ndarray:
    return np.zeros(len(x))


def scores(
    truth: Callable[[np.ndarray], np.ndarray],
    seeds: int,
    rng: np.random.Generator,
    points: np.ndarray = LATTICE,
    noise: float = NOISE,
) -> np.ndarray:
    """float[points, seeds]: truth, an effect of each seed three times the noise, and noise."""
    shift = SEED_EFFECT * rng.standard_normal(seeds)
    return 0.5 + truth(points)[:, None] + shift + noise * rng.standard_normal((len(points), seeds))

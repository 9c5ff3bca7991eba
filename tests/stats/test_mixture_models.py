"""Models of mixtures: canonical forms, derivatives, and which of them a design supports."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import COMPONENTS, FINE, LATTICE, lattice

from ablate.stats.mixture_models import MODELS, MixtureModel, mixing_law, support

TEXT = (1.0, 0.0, 0.0)


def model(name, components=COMPONENTS, baseline=TEXT):
    return MixtureModel(name, tuple(components), baseline)


def test_terms_are_named_by_their_components():
    assert model("linear").terms == ("pictures", "sounds")
    assert model("special_cubic").terms == (
        "pictures",
        "sounds",
        "text x pictures",
        "text x sounds",
        "pictures x sounds",
        "text x pictures x sounds",
    )
    assert model("exponential").terms == ("pictures", "sounds", "curvature")
    assert model("linear", baseline=(0.2, 0.6, 0.2)).terms == ("text", "sounds")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("baseline", [TEXT, (0.5, 0.3, 0.2)])
def test_the_baseline_gains_nothing_and_derivatives_are_those_of_the_gains(name, baseline):
    one = model(name, baseline=baseline)
    parameters = np.random.default_rng(0).normal(size=(4, len(one.terms)))
    assert one.gains(parameters, np.array([baseline])) == pytest.approx(np.zeros((4, 1)), abs=1e-15)
    jacobian = one.jacobian(parameters, FINE[::40])
    for place in range(len(one.terms)):
        step = 1e-6 * np.eye(len(one.terms))[place]
        slope = (one.gains(parameters + step, FINE[::40]) - one.gains(parameters - step, FINE[::40])) / 2e-6
        assert jacobian[..., place] == pytest.approx(slope, abs=1e-6)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-2, 2), min_size=2, max_size=2),
    st.floats(-2, 2).filter(lambda s: abs(s) > 1e-3),
    st.sampled_from([1.0, -1.0]),
)
def test_the_exponential_gains_are_the_mixing_law(slopes, curvature, sign):
    """c + k exp(sum t r), of Ye et al., less its value at the baseline."""
    one, parameters = model("exponential", baseline=(0.6, 0.3, 0.1)), np.array([*slopes, curvature])
    c, k, t = mixing_law(one, parameters, 0.4, sign)
    law = c + k * np.exp(FINE @ t)
    assert sign * law - 0.4 == pytest.approx(one.gains(parameters, FINE), rel=1e-6, abs=1e-6)
    assert t[0] == 0.0


@given(st.floats(-1e-2, 1e-2))
@settings(max_examples=30)
def test_the_law_passes_smoothly_into_the_linear_blend(curvature):
    linear = model("linear").gains(np.array([0.3, -0.2]), FINE)
    bent = model("exponential").gains(np.array([0.3, -0.2, curvature]), FINE)
    assert bent == pytest.approx(linear, abs=0.05 * abs(curvature) + 1e-12)


def test_a_design_supports_what_its_points_can_tell_apart():
    edges = LATTICE[(LATTICE == 0).any(axis=1)]
    assert support(model("quadratic"), edges).problem == ""
    lost = support(model("special_cubic"), edges)
    assert lost.problem == "these mixtures cannot tell apart text x pictures x sounds (aliased)"
    assert support(model("special_cubic"), LATTICE).spare == 3
    corners = support(model("quadratic"), np.eye(3))
    assert corners.problem == "6 distinct mixtures are needed for 5 parameters and a level, and there are 3"
    assert support(model("exponential"), np.eye(3)).problem.startswith("4 distinct mixtures")


def test_components_that_move_together_are_named_as_aliased():
    share = np.arange(6) / 10
    shares = np.column_stack([1 - 2 * share, share, share])
    assert "cannot tell apart pictures, sounds (aliased)" in support(model("linear"), shares).problem


def test_rounding_to_rows_does_not_cost_a_design_its_model():
    rows = np.round(LATTICE * 16) / 16
    rows[:, 0] += 1 - rows.sum(axis=1)
    assert support(model("quadratic"), rows).problem == ""


def test_repeated_mixtures_are_no_further_points():
    assert support(model("linear"), np.vstack([np.eye(3)] * 4)).spare == 0


def test_a_narrow_simplex_supports_what_the_whole_one_does():
    narrow = np.array([0.6, 0.1, 0.1]) + 0.2 * lattice(3, 3)
    for name in MODELS:
        assert support(model(name), narrow).rank == support(model(name), LATTICE).rank

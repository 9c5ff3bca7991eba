"""Designs are the field's, in whole rows, and never without the baseline."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.recipe.sweep_schema import MixtureConfig
from ablate.sweep.design import (
    DesignError,
    design_points,
    mixture_name,
    simplex_centroid,
    simplex_lattice,
    sobol_simplex,
    whole_rows,
)

STREAMS = ["text", "photos", "sounds"]


@given(st.integers(2, 5), st.integers(1, 6))
def test_a_lattice_holds_every_mixture_in_steps_of_its_degree_once(components: int, degree: int) -> None:
    points = simplex_lattice(components, degree)
    assert points.shape == (comb(components + degree - 1, degree), components)
    assert np.allclose(points.sum(axis=1), 1)
    assert np.allclose(points * degree, np.round(points * degree))
    assert len({tuple(point) for point in points.round(9)}) == len(points)


@given(st.integers(2, 6))
def test_a_centroid_design_holds_equal_shares_of_every_set_of_streams(components: int) -> None:
    points = simplex_centroid(components)
    assert len(points) == 2**components - 1
    for point in points:
        present = point[point > 0]
        assert np.allclose(present, 1 / len(present))
    assert len({tuple(point > 0) for point in points}) == len(points)


def test_sobol_mixtures_cover_the_simplex_evenly() -> None:
    points = sobol_simplex(3, 256, seed=1)
    assert points.shape == (256, 3)
    assert np.allclose(points.sum(axis=1), 1)
    # Of mixtures uniform over the simplex, (1 - a)**2 have a first share above a; drawn ones scatter by 0.03.
    for level in (0.25, 0.5, 0.75):
        assert abs((points > level).mean(axis=0) - (1 - level) ** 2).max() < 0.02


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.integers(5, 64),
)
def test_whole_rows_are_the_nearest_and_give_every_stream_one_row(others: list[float], rows: int) -> None:
    total = 1.0 + sum(others)
    shares = {"text": 1.0 / total} | {f"s{i}": share / total for i, share in enumerate(others)}
    found = whole_rows(shares, rows, substituted=True)
    assert sum(found.values()) == rows
    assert set(found) == {name for name, share in shares.items() if share > 0}
    assert all(count >= 1 for count in found.values())
    if all(share * rows >= 1 for share in shares.values()):
        assert all(abs(found[name] - shares[name] * rows) < 1 + 1e-9 for name in found)


@given(st.integers(1, 30), st.integers(1, 30))
def test_shares_that_are_whole_rows_stay_as_they_are(media: int, text: int) -> None:
    rows = media + text
    assert whole_rows({"text": text / rows, "photos": media / rows}, rows, substituted=True) == {
        "text": text,
        "photos": media,
    }


def test_media_rows_on_top_of_text_keep_the_ratio_of_the_shares() -> None:
    found = whole_rows({"text": 0.75, "photos": 0.25, "sounds": 0.0}, 12, substituted=False)
    assert found == {"text": 12, "photos": 4}


def test_a_mixture_without_text_is_refused_with_the_bound_that_mends_it() -> None:
    with pytest.raises(DesignError, match=r"sweep\.mixture\.minimum\.text to 0\.125 or more"):
        whole_rows({"text": 0.0, "photos": 1.0}, 8, substituted=True)


def test_a_lower_bound_shrinks_the_simplex_and_keeps_the_baseline() -> None:
    config = MixtureConfig(STREAMS, "simplex_lattice", degree=3, minimum={"text": 0.25})
    points = design_points(config)
    assert len(points) == 10
    assert min(point["text"] for point in points) == 0.25
    assert {"text": 1.0, "photos": 0.0, "sounds": 0.0} in points


def test_a_grid_crosses_the_shares_and_gives_text_the_rest() -> None:
    config = MixtureConfig(STREAMS, "grid", shares=[0.25, 0.5], minimum={"text": 0.25})
    points = design_points(config)
    assert {"text": 0.25, "photos": 0.5, "sounds": 0.25} in points
    assert {"text": 1.0, "photos": 0.0, "sounds": 0.0} in points
    assert len(points) == 8, "of nine, half of each medium leaves no text"


def test_a_listed_mixture_is_completed_with_text() -> None:
    config = MixtureConfig(STREAMS, "list", points=[{"sounds": 0.25}])
    assert design_points(config) == [{"text": 0.75, "photos": 0.0, "sounds": 0.25}]
    with pytest.raises(DesignError, match="add up to 1"):
        design_points(MixtureConfig(STREAMS, "list", points=[{"sounds": 1.25}]))


def test_drawn_designs_are_the_same_every_time_and_differ_between_seeds() -> None:
    first, again, other = (
        design_points(MixtureConfig(STREAMS, "dirichlet", count=5, seed=seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("design", ["simplex_lattice", "grid", "dirichlet", "sobol"])
def test_a_design_without_its_size_says_which_key_it_needs(design: str) -> None:
    with pytest.raises(DesignError, match=r"sweep\.mixture\.(degree|shares|count)"):
        design_points(MixtureConfig(STREAMS, design))  # type: ignore[arg-type]


def test_a_mixture_is_named_by_its_rows() -> None:
    assert mixture_name({"text": 4, "photos": 3, "sounds": 1}, "text_only") == "photos3-sounds1"
    assert mixture_name({"text": 8}, "text_only") == "text_only"

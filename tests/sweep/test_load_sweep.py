"""A sweep is read whole, and refused whole: every error at once, at its line."""

from pathlib import Path

import pytest

from ablate.recipe.errors import RecipeError
from ablate.recipe.load import load_recipe
from ablate.sweep.load import load_sweep

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"

MIXTURE = """
  mixture:
    streams: [text, pictures]
    design: grid
    shares: [0.25, 0.5]
    minimum: {text: 0.25}
"""
ACROSS = """
  across:
    size:
      small: {model.width: 64}
      large: {model.width: 128}
    budget:
      short: {budget.steps: 10}
      long: {budget.steps: 20}
"""


def written(tmp_path: Path, sweep: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"base: {QUICKSTART}\nstudy: tiny\nsweep:{sweep}", encoding="utf-8")
    return path


def refused(tmp_path: Path, sweep: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_sweep(written(tmp_path, sweep))
    return str(caught.value)


def test_every_combination_of_levels_is_a_study_of_its_own(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path, MIXTURE + ACROSS))
    assert [one.name for one in sweep.settings] == ["small.short", "small.long", "large.short", "large.long"]
    last = sweep.settings[-1].recipe
    assert (last.study, last.model.width, last.budget.steps) == ("tiny.large.long", 128, 20)


def test_a_sweep_of_mixtures_alone_has_one_setting(tmp_path: Path) -> None:
    (setting,) = load_sweep(written(tmp_path, MIXTURE)).settings
    assert (setting.name, setting.levels, setting.recipe.study) == ("all", {}, "tiny.all")


def test_a_level_speaks_after_the_command_line(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path, ACROSS), ["model.layers=1", "model.width=32"])
    assert {one.recipe.model.layers for one in sweep.settings} == {1}
    assert sweep.settings[0].recipe.model.width == 64


def test_a_design_may_be_changed_on_the_command_line(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path, MIXTURE), ["sweep.mixture.shares=[0.5]"])
    assert sweep.config.mixture is not None
    assert sweep.config.mixture.shares == [0.5]


def test_a_simplex_that_leaves_out_the_baseline_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, MIXTURE.replace("{text: 0.25}", "{text: 0.25, pictures: 0.1}"))
    assert "leaves out the baseline" in message
    assert "sweep.mixture.minimum.pictures" in message


def test_a_simplex_with_mixtures_without_text_is_refused(tmp_path: Path) -> None:
    lattice = "\n  mixture: {streams: [text, pictures], design: simplex_lattice, degree: 2}\n"
    assert "no pair with the baseline could be proved" in refused(tmp_path, lattice)


def test_the_first_stream_must_be_the_baselines(tmp_path: Path) -> None:
    message = refused(tmp_path, MIXTURE.replace("[text, pictures]", "[pictures, text]"))
    assert "first the stream that the baseline reads alone" in message


def test_an_unknown_key_in_a_level_is_named_with_its_setting(tmp_path: Path) -> None:
    message = refused(tmp_path, ACROSS.replace("model.width: 64", "model.widht: 64"))
    assert "widht" in message
    assert "setting small.short" in message
    assert "did you mean 'width'?" in message


def test_a_level_may_not_make_another_study_of_a_setting(tmp_path: Path) -> None:
    message = refused(tmp_path, ACROSS.replace("model.width: 64", "endpoints.primary: prose/bits_per_byte"))
    assert "a key that settings share" in message


def test_two_factors_with_one_name_of_a_level_are_refused(tmp_path: Path) -> None:
    assert "each name once" in refused(tmp_path, ACROSS.replace("short:", "small:"))


def test_settings_with_other_rows_would_be_other_mixtures(tmp_path: Path) -> None:
    message = refused(tmp_path, MIXTURE + ACROSS.replace("model.width: 64", "train.rows: 16"))
    assert "one number of rows in a microbatch" in message
    with_microbatches = ACROSS.replace("model.width: 64", "train.rows: 16, train.microbatch_rows: 8")
    assert len(load_sweep(written(tmp_path, MIXTURE + with_microbatches)).settings) == 4


def test_a_typo_in_the_block_is_refused(tmp_path: Path) -> None:
    assert "did you mean 'design'?" in refused(tmp_path, MIXTURE.replace("design:", "desing:"))


def test_run_says_that_a_sweep_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="ablate sweep"):
        load_recipe(written(tmp_path, MIXTURE))


def test_a_study_is_no_sweep() -> None:
    with pytest.raises(RecipeError, match="ablate run"):
        load_sweep(QUICKSTART)


@pytest.mark.parametrize(
    "rule", ["{after_seeds: 1}", "{after_seeds: 3}", "{after_seeds: 2, confidence: 1.5}"]
)
def test_a_rule_that_cannot_stop_anything_is_refused(tmp_path: Path, rule: str) -> None:
    assert "sweep.hopeless" in refused(tmp_path, MIXTURE + f"  hopeless: {rule}\n")

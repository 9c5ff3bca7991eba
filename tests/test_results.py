"""What is committed under results/ says what the README claims of it."""

import re
from pathlib import Path

import pytest
import yaml

from ablate.recipe.load import load_recipe
from ablate.record import RunRecord
from ablate.report.analysis import read_study
from ablate.report.calibration import outdated
from ablate.report.check import check
from ablate.report.load import load_records, read_header
from ablate.report.sweep_analysis import read_results
from ablate.report.sweep_fits import sweep_fits
from ablate.report.tuning import read_tuning
from ablate.stats.binomial import chance_interval
from ablate.stats.calibration import calibrate_aa

RESULTS = Path(__file__).parents[1] / "results"
RECIPES = RESULTS.parent / "recipes"
HEADERS = sorted(path.relative_to(RESULTS) for path in RESULTS.glob("**/study.json"))
STUDIES = [RESULTS / path.parent for path in HEADERS if "fresh" not in path.parts]
SWEEPS = sorted(path.parent for path in RESULTS.glob("**/sweep.json") if "fresh" not in path.parts)
ALONE = [path for path in STUDIES if path.parent not in SWEEPS]
PLANTED = [path for path in STUDIES if path.name.startswith("quickstart")]
ALL = RESULTS / "planted_all"
MODALITIES = ("image", "audio", "video", "sensor")
CONTROLS = ("captions_only", "captions_only_refill", "shuffled", "noise", "blank", "repeat_text")


def records(study: Path) -> list[RunRecord]:
    return load_records(study, read_header(study))


def test_the_studies_of_the_readme_are_there() -> None:
    real = {f"text_vs_{media}_cpu" for media in (*MODALITIES, "all")}
    assert {"quickstart", "quickstart_two_thirds", "planted_all", *real} <= {path.name for path in STUDIES}


@pytest.mark.parametrize("media", [*MODALITIES, "all"])
def test_a_table_of_real_data_at_cpu_size_says_that_it_is_no_evidence(media: str) -> None:
    assert "not evidence about" in (RESULTS / f"text_vs_{media}_cpu" / "table.md").read_text(encoding="utf-8")


def test_on_real_text_a_gain_without_grounding_is_not_one_of_photographs() -> None:
    """Captions are new text too: the shuffled placebo gains as much."""
    assert "not evidence about" in (RESULTS / "data_wall_sweep_cpu" / "table.md").read_text(encoding="utf-8")
    result = read_results(RESULTS / "data_wall_sweep_cpu")
    (scarce,) = [one for one in result.settings if one.name == "u12k"]
    verdict = scarce.contrast("image", "heldout/bits_per_byte").printed_verdict
    assert verdict == "helps (grounding: inconclusive)"


def test_the_quickstart_has_half_its_budget_to_spare() -> None:
    """Ten seeds pass with two thirds of the steps that the recipe gives, and otherwise the same recipe."""
    shipped, spare = (
        yaml.safe_load(read_header(RESULTS / name).recipe) for name in ("quickstart", "quickstart_two_thirds")
    )
    assert load_recipe(RECIPES / "quickstart.yaml", []).budget.steps == shipped["budget"]["steps"]
    assert 3 * spare["budget"]["steps"] <= 2 * shipped["budget"]["steps"]
    assert len(spare["seeds"]) == 10
    differ = {"study", "seeds", "budget"}
    assert {name: spare[name] for name in spare if name not in differ} == {
        name: shipped[name] for name in shipped if name not in differ
    }


@pytest.mark.parametrize("study", PLANTED, ids=lambda path: path.name)
def test_the_instrument_sees_on_every_seed(study: Path) -> None:
    """The image arm answers what only pictures show."""
    seen = [record.scores["planted/accuracy"].value for record in records(study) if record.arm == "image"]
    assert len(seen) == len(read_header(study).seeds)
    assert min(seen) >= 0.7


@pytest.mark.parametrize("study", PLANTED, ids=lambda path: path.name)
def test_the_instrument_sees_nothing_where_there_is_nothing(study: Path) -> None:
    """Every placebo run is inside the binomial interval of guessing, Bonferroni over all of them."""
    scores = [record.scores["planted/accuracy"] for record in records(study) if record.arm != "image"]
    assert {score.items for score in scores} == {256}
    low, high = chance_interval(256, 1 / 8, len(scores))
    assert all(low <= score.value <= high for score in scores)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_teaches_on_every_seed_what_it_alone_shows(modality: str) -> None:
    found = answered(modality)
    assert min(found[modality]) >= 0.7
    assert len(found[modality]) == len(read_header(ALL).seeds) >= 3


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_control_of_a_modality_teaches_what_it_shows(modality: str) -> None:
    """Bonferroni over the placebo runs and the text runs of all four modalities."""
    found = answered(modality)
    placebos = ["text", *(f"{modality}.{control}" for control in CONTROLS)]
    low, high = chance_interval(256, 1 / 8, sum(len(found[name]) for name in placebos) * len(MODALITIES))
    assert {name: found[name] for name in placebos if not low <= min(found[name])} == {}
    assert {name: found[name] for name in placebos if not max(found[name]) <= high} == {}


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_modality_teaches_what_another_shows(modality: str) -> None:
    found = answered(modality)
    others = [name for name in MODALITIES if name != modality]
    low, high = chance_interval(256, 1 / 8, sum(len(found[name]) for name in others) * len(MODALITIES))
    for name in others:
        assert all(low <= value <= high for value in found[name]), name


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_with_all_its_controls_takes_less_than_a_quarter_of_an_hour(modality: str) -> None:
    """On 2 CPU cores, two single-thread runs at a time, text runs included; `wall_seconds` is training."""
    arms = {"text", modality, *(f"{modality}.{control}" for control in CONTROLS)}
    seconds = [record.spent.wall_seconds for record in records(ALL) if record.arm in arms]
    assert len(seconds) == len(arms) * len(read_header(ALL).seeds)
    assert sum(seconds) / 2 < 15 * 60


def answered(modality: str) -> dict[str, list[float]]:
    """Arm to the share of right answers about what only ``modality`` shows, by seed."""
    found: dict[str, list[float]] = {}
    for record in records(ALL):
        score = record.scores[f"planted_{modality}/accuracy"]
        assert score.items == 256
        found.setdefault(record.arm, []).append(score.value)
    return found


@pytest.mark.parametrize("study", ALONE, ids=lambda path: path.name)
def test_committed_reports_are_what_their_records_give(study: Path) -> None:
    """Tables, figures and page: `ablate report --check`, study by study."""
    assert check([study]) == []
    every_arm_is_judged(study)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.name)
def test_committed_sweeps_are_what_the_records_of_their_settings_give(sweep: Path) -> None:
    assert check([sweep]) == []
    result = read_results(sweep)
    assert [one.problem or one.missing for one in result.settings if one.problem or one.missing] == []
    for setting in result.sweep.settings:
        every_arm_is_judged(sweep / setting.folder)


def every_arm_is_judged(study: Path) -> None:
    header, contrasts = read_header(study), read_study(study).contrasts
    others = set(header.arms) - {header.baseline} - set(header.ladder)
    assert {one.arm for one in contrasts if one.reference == header.baseline} == others
    assert not [lost.reason for one in contrasts for lost in one.excluded]


def test_every_share_of_pictures_teaches_what_only_they_show_and_none_does_shuffled() -> None:
    scores: dict[bool, list[float]] = {True: [], False: []}
    for record in records(RESULTS / "image_share_planted" / "all"):
        teaches = record.control is None and record.arm != "text"
        scores[teaches].append(record.scores["planted/accuracy"].value)
    assert min(scores[True]) >= 0.7
    low, high = chance_interval(256, 1 / 8, len(scores[False]))
    assert all(low <= value <= high for value in scores[False])


def test_a_mixture_that_the_surface_did_not_see_lies_where_it_predicts() -> None:
    result = read_results(RESULTS / "image_share_planted")
    held = [fit.surface.held_out for fit in sweep_fits(result) if fit.surface is not None]
    assert held
    assert all(one is not None and one.inside == one.of == 1 for one in held)


def test_pictures_teach_at_both_sizes_once_there_is_compute_enough() -> None:
    result = read_results(RESULTS / "ladder_planted")
    found = {
        one.name: (contrast.estimate.mean_gain, contrast.printed_verdict)
        for one in result.settings
        if (contrast := one.contrast("image", "planted/accuracy")) is not None
        if contrast.estimate is not None
    }
    assert {found[name][1] for name in ("w64.s1200", "w128.s1200")} == {"helps (grounding: helps)"}
    assert {found[name][1] for name in ("w64.s300", "w128.s300")} == {"inconclusive"}
    for size in ("w64", "w128"):
        assert found[f"{size}.s300"][0] < found[f"{size}.s600"][0] < found[f"{size}.s1200"][0]


def test_text_that_runs_out_is_made_up_for_by_other_text_and_not_by_pictures_once_all_are_tuned() -> None:
    result = read_results(RESULTS / "data_wall_planted")
    prose, facts = "prose/bits_per_byte", "planted/accuracy"
    scarce, ample = (next(one for one in result.settings if one.name == name) for name in ("u20k", "u80k"))
    gained = {}
    for setting in (scarce, ample):
        gained[setting.name] = setting.contrast("more_text", prose)
        assert setting.contrast("image", facts).printed_verdict == "helps (grounding: helps)"
        assert setting.contrast("image", prose).printed_verdict.partition(" ")[0] != "helps"
    assert gained["u20k"].printed_verdict == "helps"
    assert gained["u20k"].estimate.mean_gain > 5 * gained["u80k"].estimate.mean_gain


def test_untuned_pictures_would_have_seemed_to_help_where_text_runs_out() -> None:
    tuning = read_tuning(RESULTS / "data_wall_planted" / "u20k")
    shipped = load_recipe(RECIPES / "quickstart.yaml").train.weight_decay
    (point,) = [at for at, one in enumerate(tuning.design.points) if one["weight_decay"] == shipped]
    bits = {one.arm: one.score for one in tuning.trials if one.point == point}
    assert bits["text"] - bits["image"] > 0.05
    picks = {arm: one["weight_decay"] for arm, one in tuning.settings().items()}
    assert picks["text"] > picks["image"] > picks["more_text"]


@pytest.mark.slow
def test_the_committed_calibration_is_what_its_runs_and_its_simulation_give() -> None:
    assert outdated(RESULTS / "calibration") == []


def test_one_hundred_aa_pairs_were_judged_in_twenty_disjoint_studies() -> None:
    study = RESULTS / "calibration" / "aa"
    found = calibrate_aa(records(study), read_header(study), 5)
    assert len(found.studies) == 20
    assert sum(one.estimate.n for one in found.studies) == 100
    low, high = found.rejections.interval
    assert low <= 0.05 <= high


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_committed_pairs_are_matched_within_one_percent(study: Path) -> None:
    base = {
        record.seed: record.spent.total_flops
        for record in records(study)
        if record.arm == read_header(study).baseline
    }
    share = read_header(study).ladder
    for record in records(study):
        expected = base[record.seed] * share.get(record.arm, 1.0)
        assert abs(record.spent.total_flops / expected - 1) <= 0.01


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_nothing_in_the_records_names_a_machine(study: Path) -> None:
    for path in study.glob("**/*.json"):
        text = path.read_text(encoding="utf-8")
        absolute = re.findall(r"(?<![\w.}/])/(?:[\w.-]+/)+[\w.-]*", text)
        assert absolute == []

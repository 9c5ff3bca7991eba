"""Values that would make a study meaningless are refused, each with the key it stands at."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.recipe.checks import _HOLDS, _RANGES, check_recipe
from ablate.recipe.errors import Problem
from ablate.recipe.schema import (
    ArmConfig,
    BudgetConfig,
    EndpointsConfig,
    ModelConfig,
    PlantedConfig,
    Recipe,
    StreamConfig,
    TokenizerConfig,
    TrainConfig,
)

GOOD = Recipe(
    study="small",
    question="Does it help?",
    seeds=[0, 1],
    streams={
        "text": StreamConfig("text", ["${data_root}/text.jsonl"]),
        "image": StreamConfig("image", ["${data_root}/*.tar"], encoder={"name": "patches"}),
    },
    arms={
        "text": ArmConfig({"text": 1.0}),
        "image": ArmConfig({"text": 0.75, "image": 0.25}, controls=["shuffled"], media_loss=1.0),
    },
    baseline="text",
    endpoints=EndpointsConfig("heldout/bits_per_byte", {"heldout/bits_per_byte": 0.01}),
    tasks={"heldout": {"kind": "bits_per_byte", "paths": ["${data_root}/heldout.jsonl"]}},
    budget=BudgetConfig(steps=100),
)


def the_problem(recipe: Recipe) -> Problem:
    problems = check_recipe(recipe, "recipe.yaml")
    assert len(problems) == 1, "\n".join(map(str, problems))
    assert problems[0].where == "recipe.yaml"
    return problems[0]


def with_stream(name: str, **changes: Any) -> Recipe:
    return replace(GOOD, streams=GOOD.streams | {name: replace(GOOD.streams[name], **changes)})


def with_arm(name: str, **changes: Any) -> Recipe:
    return replace(GOOD, arms=GOOD.arms | {name: replace(GOOD.arms[name], **changes)})


def test_a_good_recipe_has_no_problems() -> None:
    assert check_recipe(GOOD, "recipe.yaml") == []


def test_every_range_names_a_field_of_the_schema_and_holds_its_default() -> None:
    for key, allowed in _RANGES.items():
        block, name = key.split(".")
        default = getattr(getattr(GOOD, block), name)
        assert _HOLDS[allowed](default), key
    for block in ("model", "train", "planted", "budget"):
        config = getattr(GOOD, block)
        assert is_dataclass(config)
        numbers = {f"{block}.{item.name}" for item in fields(config) if item.type in (int, float)}
        assert numbers <= set(_RANGES)


@pytest.mark.parametrize("study", ["", "../up", "a/b", ".hidden", "a b", "a\n", "a\\b", "ä", "x" * 101, ".."])
def test_a_study_is_named_like_a_folder(study: str) -> None:
    problem = the_problem(replace(GOOD, study=study))
    assert problem.key == "study"
    assert problem.found == repr(study)
    assert "folder name" in problem.allowed


def test_a_study_needs_a_question() -> None:
    assert the_problem(replace(GOOD, question=" ")).key == "question"


@pytest.mark.parametrize("name", ["a.b", "a/b", "", "a b", "${x}", "<<"])
def test_arms_streams_and_tasks_have_names_without_dots_and_paths(name: str) -> None:
    for block in ("arms", "streams", "tasks"):
        items = getattr(GOOD, block)
        recipe = replace(GOOD, **{block: items | {name: next(iter(items.values()))}})
        problem = the_problem(recipe)
        assert problem.key == f"{block}.{name}"
        assert repr(name) in problem.found
        assert "letters, digits" in problem.allowed


@pytest.mark.parametrize(
    ("seeds", "found"), [([], "empty"), ([0, 1, 1, 2, 2], "1, 2 more than once"), ([0, -1], "-1")]
)
def test_seeds_are_distinct_and_not_negative(seeds: list[int], found: str) -> None:
    problem = the_problem(replace(GOOD, seeds=seeds))
    assert problem.key == "seeds"
    assert found in problem.found


@pytest.mark.parametrize(
    ("model", "key", "said"),
    [
        (ModelConfig(width=100), "model.width", "such as 102"),
        (ModelConfig(width=18, heads=6), "model.width", "even number"),
        (ModelConfig(kv_heads=4), "model.kv_heads", "1, 2, 3, 6"),
        (ModelConfig(heads=0), "model.heads", "1 or more"),
        (ModelConfig(layers=0), "model.layers", "1 or more"),
        (ModelConfig(context_length=7), "model.context_length", "8 or more"),
        (ModelConfig(rope_theta=0.0), "model.rope_theta", "more than 0"),
        (ModelConfig(norm_eps=float("nan")), "model.norm_eps", "more than 0"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(model: ModelConfig, key: str, said: str) -> None:
    problem = the_problem(replace(GOOD, model=model))
    assert problem.key == key
    assert said in f"{problem.allowed} {problem.hint}"


@pytest.mark.parametrize(
    ("train", "key", "said"),
    [
        (TrainConfig(microbatch_rows=12), "train.microbatch_rows", "nearest 8"),
        (TrainConfig(microbatch_rows=-4), "train.microbatch_rows", "0 or more"),
        (TrainConfig(rows=0), "train.rows", "1 or more"),
        (TrainConfig(learning_rate=0.0), "train.learning_rate", "more than 0"),
        (TrainConfig(final_learning_rate=1.5), "train.final_learning_rate", "0 to 1"),
        (TrainConfig(warmup=-0.1), "train.warmup", "0 to 1"),
        (TrainConfig(decay=1.1), "train.decay", "0 to 1"),
        (TrainConfig(schedule="wsd", warmup=0.5, decay=0.6), "train.decay", "at most 1 together"),
        (TrainConfig(beta1=1.0), "train.beta1", "less than 1"),
        (TrainConfig(beta2=-0.5), "train.beta2", "less than 1"),
        (TrainConfig(clip=-1.0), "train.clip", "0 or more"),
        (TrainConfig(loggers=["csv", "csv"]), "train.loggers", "each logger once"),
    ],
)
def test_training_settings_out_of_range_are_refused(train: TrainConfig, key: str, said: str) -> None:
    problem = the_problem(replace(GOOD, train=train))
    assert problem.key == key
    assert said in f"{problem.allowed} {problem.hint}"


def test_a_cosine_does_not_read_the_decay_share() -> None:
    assert check_recipe(replace(GOOD, train=TrainConfig(warmup=0.9, decay=0.9)), "recipe.yaml") == []


def test_warmup_and_decay_may_fill_a_wsd_schedule_exactly() -> None:
    train = TrainConfig(schedule="wsd", warmup=0.3, decay=0.7)
    assert check_recipe(replace(GOOD, train=train), "recipe.yaml") == []


def test_fewer_entities_than_are_held_out_are_refused() -> None:
    problem = the_problem(replace(GOOD, planted=PlantedConfig(entities=100, held_out=101)))
    assert problem.key == "planted.held_out"
    assert problem.found == "101 of 100 entities"


def test_a_byte_level_vocabulary_holds_every_byte() -> None:
    assert the_problem(replace(GOOD, tokenizer=TokenizerConfig(vocabulary=256))).key == "tokenizer.vocabulary"
    loaded = TokenizerConfig(vocabulary=0, path="tokenizer.json")
    assert check_recipe(replace(GOOD, tokenizer=loaded), "recipe.yaml") == []


@pytest.mark.parametrize(
    ("budget", "found"),
    [
        (BudgetConfig(), "no amount"),
        (BudgetConfig(steps=1, flops=1e9), "steps, flops"),
        (BudgetConfig(flops=1e9, text_tokens=1e6), "flops, text_tokens"),
    ],
)
def test_a_budget_has_exactly_one_amount(budget: BudgetConfig, found: str) -> None:
    problem = the_problem(replace(GOOD, budget=budget))
    assert problem.key == "budget"
    assert problem.found == found
    assert "exactly one of steps, flops, text_tokens" in problem.allowed


def test_a_negative_budget_is_named_as_such() -> None:
    assert the_problem(replace(GOOD, budget=BudgetConfig(steps=-1))).key == "budget.steps"


# --- Streams


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", "1/0", ""])
def test_a_part_is_k_of_n(part: str) -> None:
    problem = the_problem(with_stream("text", part=part))
    assert problem.key == "streams.text.part"
    assert problem.found == repr(part)
    assert "k/n" in problem.allowed


@pytest.mark.parametrize("part", ["1/2", "2/2"])
def test_a_part_of_a_media_stream_is_refused_and_not_ignored(part: str) -> None:
    problem = the_problem(with_stream("image", part=part))
    assert problem.key == "streams.image.part"
    assert problem.found == f"{part} on a stream of image"
    assert "1/1" in problem.allowed


@pytest.mark.parametrize("paths", [[], [""], ["a", " "]])
def test_a_stream_has_paths(paths: list[str]) -> None:
    assert the_problem(with_stream("text", paths=paths)).key == "streams.text.paths"


@pytest.mark.parametrize("path", ["pipe:cat", "http://host/x", "gs://bucket/x", "file:///etc/hostname"])
def test_a_stream_reads_local_files_only(path: str) -> None:
    problem = the_problem(with_stream("text", paths=["fine.jsonl", path]))
    assert problem.key == "streams.text.paths.1"
    assert "nothing is run or fetched" in problem.hint


@pytest.mark.parametrize("field", ["items_per_row", "max_skips"])
def test_counts_of_a_stream_are_not_negative(field: str) -> None:
    assert the_problem(with_stream("image", **{field: -1})).key == f"streams.image.{field}"


@pytest.mark.parametrize(
    ("name", "encoder", "key", "said"),
    [
        ("image", {}, "streams.image.encoder", "no encoder"),
        ("image", {"name": "pathces"}, "streams.image.encoder.name", "Did you mean 'patches'?"),
        ("image", {"name": "patches", "patch": 4}, "streams.image.encoder", "unexpected keyword argument"),
        ("image", {"name": "patches", "patch_size": 5}, "streams.image.encoder", "multiple of patch_size 5"),
        ("text", {"name": "patches"}, "streams.text.encoder", "text is not encoded"),
    ],
)
def test_media_are_encoded_and_text_is_not(name: str, encoder: dict[str, Any], key: str, said: str) -> None:
    problem = the_problem(with_stream(name, encoder=encoder))
    assert problem.key == key
    assert said in f"{problem.found} {problem.allowed}"


# --- Arms


def test_a_mixture_names_streams_that_exist() -> None:
    problem = the_problem(with_arm("image", mixture={"text": 0.75, "imgae": 0.25}))
    assert problem.key == "arms.image.mixture.imgae"
    assert problem.allowed == "a stream: text, image"
    assert problem.hint == "did you mean 'image'?"


def test_shares_that_do_not_add_up_to_one_are_refused_with_their_sum() -> None:
    problem = the_problem(with_arm("image", mixture={"text": 0.75, "image": 0.2}))
    assert problem.key == "arms.image.mixture"
    assert problem.found == "shares that add up to 0.95"


def test_shares_may_miss_one_by_rounding_only() -> None:
    almost = with_arm("image", mixture={"text": 0.75, "image": 0.25 + 9e-10})
    assert check_recipe(almost, "recipe.yaml") == []
    assert (
        the_problem(with_arm("image", mixture={"text": 0.75, "image": 0.25 + 2e-9})).key
        == "arms.image.mixture"
    )


@pytest.mark.parametrize("share", [0.0, -0.25, float("nan")])
def test_a_share_is_positive(share: float) -> None:
    problem = the_problem(with_arm("image", mixture={"text": 0.75, "image": share}))
    assert problem.key == "arms.image.mixture.image"
    assert problem.found == f"{share:g}"


def test_an_empty_mixture_is_refused() -> None:
    arms = GOOD.arms | {"empty": ArmConfig({})}
    problem = the_problem(replace(GOOD, arms=arms))
    assert problem.key == "arms.empty.mixture"
    assert problem.found == "shares that add up to 0"


def test_broken_rows_are_refused_with_the_nearest_shares() -> None:
    recipe = with_arm("image", mixture={"text": 0.8, "image": 0.2})
    problem = the_problem(recipe)
    assert problem.key == "arms.image.mixture"
    assert "text 25.6, image 6.4" in problem.hint
    assert "{text: 0.8125, image: 0.1875}" in problem.hint
    matched = replace(recipe, budget=BudgetConfig("text_tokens", steps=100))
    assert check_recipe(matched, "recipe.yaml") == []


def test_rows_must_be_whole_in_every_microbatch_not_only_in_the_step() -> None:
    recipe = replace(GOOD, train=TrainConfig(rows=32, microbatch_rows=2))
    assert "text 1.5, image 0.5" in the_problem(recipe).hint


def test_matching_text_tokens_needs_text_in_every_arm() -> None:
    recipe = with_arm("image", mixture={"image": 1.0})
    assert check_recipe(recipe, "recipe.yaml") == []
    assert "needs a text stream" in the_problem(replace(recipe, budget=BudgetConfig("text_tokens", 9))).hint


def test_the_baseline_is_an_arm() -> None:
    problem = the_problem(replace(GOOD, baseline="txt"))
    assert (problem.key, problem.hint) == ("baseline", "did you mean 'text'?")


def test_the_baseline_has_no_media_and_no_controls() -> None:
    problems = check_recipe(replace(GOOD, baseline="image"), "recipe.yaml")
    assert {problem.found for problem in problems} == {
        "'image', which has image",
        "'image', which has controls",
    }
    assert {problem.key for problem in problems} == {"baseline"}
    assert the_problem(with_arm("text", controls=["shuffled"])).found == "'text', which has controls"


def test_controls_and_a_media_loss_need_media() -> None:
    more = ArmConfig({"text": 1.0}, controls=["captions_only"])
    problem = the_problem(replace(GOOD, arms=GOOD.arms | {"more": more}))
    assert problem.key == "arms.more.controls"
    assert "captions_only on an arm without media" in problem.found
    problem = the_problem(with_arm("text", media_loss=0.5))
    assert problem.key == "arms.text.media_loss"
    assert problem.found == "0.5 on an arm without media"


def test_a_media_loss_is_not_negative() -> None:
    assert the_problem(with_arm("image", media_loss=-1.0)).key == "arms.image.media_loss"


def test_a_control_is_asked_for_once() -> None:
    problem = the_problem(with_arm("image", controls=["shuffled", "shuffled"]))
    assert problem.found == "shuffled more than once"


# --- Tasks and endpoints


def test_a_study_has_a_task() -> None:
    problems = check_recipe(replace(GOOD, tasks={}), "recipe.yaml")
    assert problems[0].key == "tasks"
    assert {problem.key for problem in problems[1:]} == {
        "endpoints.primary",
        "endpoints.margins.heldout/bits_per_byte",
    }


def test_what_a_task_refuses_is_a_problem_of_the_recipe() -> None:
    problem = the_problem(replace(GOOD, tasks={"heldout": GOOD.tasks["heldout"] | {"max_bytes": -1}}))
    assert problem.key == "tasks.heldout"
    assert "max_bytes is -1" in problem.found


def test_an_unknown_kind_of_task_is_refused_with_the_known_ones() -> None:
    problem = the_problem(replace(GOOD, tasks={"heldout": {"kind": "multiple_choise"}}))
    assert problem.key == "tasks.heldout.kind"
    assert "multiple_choice" in problem.allowed


@pytest.mark.parametrize(
    ("primary", "said"),
    [
        ("heldout", "task/metric"),
        ("heldout/", "task/metric"),
        ("/bits_per_byte", "task/metric"),
        ("heldout/bits_per_byte/a/b", "task/metric"),
        ("heldot/bits_per_byte", "did you mean 'heldout'?"),
        ("heldout/bits_per_bite", "did you mean 'bits_per_byte'?"),
    ],
)
def test_an_endpoint_is_a_metric_of_a_task_of_the_study(primary: str, said: str) -> None:
    endpoints = EndpointsConfig(primary, {primary: 1.0})
    problems = check_recipe(replace(GOOD, endpoints=endpoints), "recipe.yaml")
    assert [problem.key for problem in problems] == ["endpoints.primary", f"endpoints.margins.{primary}"]
    assert all(said in f"{problem.allowed} {problem.hint}" for problem in problems)


def test_an_endpoint_may_name_a_subset() -> None:
    name = "heldout/bits_per_byte/news"
    assert check_recipe(replace(GOOD, endpoints=EndpointsConfig(name, {name: 0.1})), "recipe.yaml") == []


def test_the_primary_endpoint_has_a_margin() -> None:
    problem = the_problem(replace(GOOD, endpoints=EndpointsConfig("heldout/bits_per_byte", {})))
    assert problem.key == "endpoints.margins"
    assert "no margin for the primary endpoint" in problem.found


@pytest.mark.parametrize("margin", [0.0, -0.01, float("inf")])
def test_a_margin_is_positive(margin: float) -> None:
    margins = {"heldout/bits_per_byte": margin}
    problem = the_problem(replace(GOOD, endpoints=replace(GOOD.endpoints, margins=margins)))
    assert problem.found == f"{margin:g}"
    assert "smallest effect of interest" in problem.hint


@given(
    width=st.integers(-4, 4000),
    heads=st.integers(-2, 64),
    kv_heads=st.integers(-2, 64),
    rows=st.integers(-2, 64),
    microbatch=st.integers(-2, 64),
    share=st.floats(allow_nan=True, allow_infinity=True),
)
def test_checking_never_fails_itself_and_what_it_passes_can_be_built(
    width: int, heads: int, kv_heads: int, rows: int, microbatch: int, share: float
) -> None:
    recipe = replace(
        with_arm("image", mixture={"text": 1 - share, "image": share}),
        model=ModelConfig(width=width, heads=heads, kv_heads=kv_heads),
        train=TrainConfig(rows=rows, microbatch_rows=microbatch),
    )
    if not check_recipe(recipe, "recipe.yaml"):
        assert width % (2 * heads) == 0
        assert heads % (kv_heads or heads) == 0
        assert rows % (microbatch or rows) == 0
        assert 0 < share < 1

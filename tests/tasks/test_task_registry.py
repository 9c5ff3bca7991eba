"""Tasks are found by kind, completed with their defaults, and imported only when needed."""

import dataclasses
import subprocess
import sys

import pytest

from ablate.tasks.base import evenly_spaced
from ablate.tasks.errors import TaskError, UnknownTaskError
from ablate.tasks.registry import TASKS, complete_task_settings, load_task, task_class


def test_importing_the_registry_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, ablate.tasks.registry; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_kind_is_answered_with_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        UnknownTaskError, match=r"'multiple_choise'.*bits_per_byte.*Did you mean 'multiple_choice'"
    ):
        task_class("multiple_choise")
    assert issubclass(UnknownTaskError, ValueError)


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_every_kind_states_what_it_measures(kind: str) -> None:
    found = task_class(kind)
    assert found.kind == kind
    assert found.version >= 1
    assert found.metrics
    assert dataclasses.is_dataclass(found.Config)
    assert all(info.description and info.unit for info in found.metrics.values())


def test_defaults_are_filled_in_and_the_kind_kept() -> None:
    given = {"kind": "minimal_pairs", "paths": ["a.jsonl"], "limit": 5}
    completed = complete_task_settings(given)
    assert completed == {
        "kind": "minimal_pairs",
        "paths": ["a.jsonl"],
        "good_field": "good",
        "bad_field": "bad",
        "subset_field": "",
        "id_field": "",
        "limit": 5,
        "words": {},
        "shots": 0,
        "shot_paths": [],
    }
    assert complete_task_settings(completed) == completed


def test_configs_go_through_omegaconf() -> None:
    from omegaconf import OmegaConf

    for kind in TASKS:
        config = task_class(kind).Config
        needed = {
            item.name: "piqa" if item.type is str else ["a.jsonl"]
            for item in dataclasses.fields(config)
            if item.default is item.default_factory is dataclasses.MISSING
        }
        merged = OmegaConf.merge(OmegaConf.structured(config), needed)
        assert OmegaConf.to_object(merged) == config(**needed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"paths": ["a"]}, "'quiz': `kind` is missing"),
        (
            {"kind": "multiple_choice", "paths": ["a"], "limits": 3},
            "no setting 'limits'.*Did you mean 'limit'",
        ),
        ({"kind": "multiple_choice"}, "needs the setting 'paths'"),
        ({"kind": "multiple_choice", "paths": ["a"], "limit": -2}, "limit is -2"),
        ({"kind": "multiple", "paths": ["a"]}, "'quiz': no task kind is called 'multiple'"),
    ],
)
def test_settings_that_cannot_stand_are_refused_with_the_task_named(tmp_path, settings, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task("quiz", settings, tmp_path)


def test_a_task_name_that_would_break_an_endpoint_is_refused(tmp_path) -> None:
    with pytest.raises(TaskError, match="a/b"):
        load_task("a/b", {"kind": "minimal_pairs", "paths": ["x"]}, tmp_path)


def test_evenly_spaced_indices_are_distinct_ordered_and_span_the_whole() -> None:
    for total in range(1, 40):
        for wanted in range(1, total + 1):
            found = evenly_spaced(total, wanted)
            assert len(found) == wanted == len(set(found))
            assert found == sorted(found)
            assert found[0] < total / wanted
            assert found[-1] >= total - total / wanted - 1
    assert evenly_spaced(5, 0) == evenly_spaced(5, 9) == [0, 1, 2, 3, 4]

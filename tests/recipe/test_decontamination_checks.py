"""A recipe that asks for an overlap that cannot be is refused with the key."""

from collections.abc import Callable

import pytest

from ablate.recipe.errors import RecipeError
from ablate.recipe.schema import Recipe


@pytest.mark.parametrize(
    ("overrides", "key", "found", "allowed"),
    [
        (["ngram=0"], "ngram", "found:   0", "1 to 100"),
        (["ngram=4"], "shortest", "5, with ngram 4", "at most decontamination.ngram"),
        (["shortest=0"], "shortest", "found:   0", "1 or more"),
        (["remove=true", "count=false"], "remove", "true, with count false", "count true"),
    ],
)
def test_a_contradiction_is_refused_once_with_its_key(
    tiny: Callable[..., Recipe], overrides: list[str], key: str, found: str, allowed: str
) -> None:
    with pytest.raises(RecipeError, match=rf"decontamination\.{key}\b") as caught:
        tiny(*(f"decontamination.{override}" for override in overrides))
    assert len(caught.value.problems) == 1
    assert found in str(caught.value)
    assert allowed in str(caught.value)


def test_the_shortest_item_may_be_as_long_as_the_ngram(tiny: Callable[..., Recipe]) -> None:
    assert tiny("decontamination={ngram: 5, shortest: 5}").decontamination.shortest == 5

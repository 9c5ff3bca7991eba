"""What the `decontamination` block of a recipe must satisfy. Pure: nothing is read from disk."""

from collections.abc import Iterator

from ablate.recipe.schema import Recipe


def decontamination(recipe: Recipe) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Key, found, allowed, hint and keys read of everything wrong with `decontamination`, ranges aside."""
    asked = recipe.decontamination
    if asked.shortest > asked.ngram >= 1:
        found, allowed = f"{asked.shortest}, with ngram {asked.ngram}", "at most decontamination.ngram"
        hint = "longer items are told by their n-grams"
        yield "decontamination.shortest", found, allowed, hint, ("decontamination.ngram",)
    if asked.remove and not asked.count:
        found, allowed = "true, with count false", "true with count true"
        hint = "what is not looked for cannot be removed"
        yield "decontamination.remove", found, allowed, hint, ("decontamination.count",)

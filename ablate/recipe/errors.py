"""What is wrong with a recipe, all of it at once."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a recipe."""

    where: str
    """File the value came from, with its line where known, or ``command line``."""
    key: str
    """Key path, such as ``arms.image.mixture``; empty for the file as a whole."""
    found: str
    """What the recipe says."""
    allowed: str
    """What it may say."""
    hint: str
    """Nearest name, or what to do; empty if nothing is near."""

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        lines = [place, f"    found:   {self.found}", f"    allowed: {self.allowed}"]
        if self.hint:
            lines.append(f"    hint:    {self.hint}")
        return "\n".join(lines)


class RecipeError(ValueError):
    """A recipe that cannot be used; ``problems`` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"the recipe has {count} problem{'' if count == 1 else 's'}"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


@dataclass
class Report:
    """What was found out about one recipe: problems, where each key came from, what not to trust."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    """Key path to `file:line`."""
    bad: set[str] = field(default_factory=set)
    """Key paths whose value is a stand-in; nothing is concluded from them."""

    def report(self, key: str, found: str, allowed: str, hint: str = "") -> None:
        """Note a problem at ``key`` and distrust its value."""
        self.problems.append(Problem(self.origin(key), key, found, allowed, hint))
        self.bad.add(key)

    def origin(self, key: str) -> str:
        """Where ``key``, or the nearest block around it, was written."""
        while key and key not in self.origins:
            key = key.rpartition(".")[0]
        return self.origins.get(key, self.file)

    def trusts(self, key: str) -> bool:
        """Whether no part of ``key``, and no block around it, is a stand-in."""
        return not any(
            key == bad or key.startswith(f"{bad}.") or bad.startswith(f"{key}.") for bad in self.bad
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the known name closest to ``name``; empty if none is close."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Names for a message, in their order; says so if there are none."""
    return ", ".join(names) or "(there are none)"

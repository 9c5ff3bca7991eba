"""Sweeps made up for tests: real files on disk, invented numbers."""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from fabricated import ACCURACY, header, ledger, run, write_study

from ablate.record import RunRecord
from ablate.report.sweep_file import Point, Setting, SweepFile, write_sweep

Shares = dict[str, float]


def name_of(shares: Shares) -> str:
    """The arm of a mixture, in sixteenths; with `image` in it, so that it is one with media."""
    return (
        "-".join(f"{name}_image{share * 16:g}" for name, share in list(shares.items())[1:] if share) or "text"
    )


def point(shares: Shares, *roles: str) -> Point:
    own = ["baseline", "fit"] if next(iter(shares.values())) == 1.0 else list(roles) or ["fit"]
    return Point(name_of(shares), shares, shares, own)


def lattice(components: Sequence[str], degree: int = 4, least: float = 0.25) -> list[Point]:
    """All mixtures in steps of 1/degree above ``least`` of text, two of them held out."""
    found = []
    for places in combinations_with_replacement(range(len(components)), degree):
        counts = np.bincount(places, minlength=len(components)) / degree
        shares = dict(
            zip(components, (counts * (1 - least) + least * np.eye(len(components))[0]).tolist(), strict=True)
        )
        found.append(point(shares))
    # Of three streams or more, those that hold all are held out: the edges support the surface.
    inner = [
        at for at, one in enumerate(found) if min(one.shares.values()) > 0 and "baseline" not in one.roles
    ]
    held = set(inner[:2]) if len(components) > 2 else {2}
    return [
        dataclasses.replace(one, roles=["held_out"]) if at in held else one for at, one in enumerate(found)
    ]


def sweep_of(
    components: Sequence[str], points: Sequence[Point], settings: Sequence[str] = ("all",), **changes
) -> SweepFile:
    plans = [
        Setting(name, _levels(name), f"sweep.{name}", name, 1e12 * 4.0**at, 10_000 * (at + 1))
        for at, name in enumerate(settings)
    ]
    plan = SweepFile(
        "sweep", "How much of what?", "Made up.", "text", list(components), list(points), plans,
        120, 90, 1.2e14, 0.9e14,
    )  # fmt: skip
    return dataclasses.replace(plan, **changes)


def _levels(name: str) -> dict[str, str]:
    return {} if name == "all" else {"budget": name}


def write(
    folder: Path,
    sweep: SweepFile,
    gain: Callable[[Shares, int], float],
    seeds: int = 4,
    noise: float = 0.004,
    controls: bool = True,
    lost: Sequence[tuple[str, int]] = (),
    diverged: Sequence[tuple[str, int]] = (),
    stopped: dict[str, str] | None = None,
    extra: Sequence[str] = (),
    margin: float = 0.01,
    digest: str = "0123abcd",
) -> Path:
    """Write ``sweep`` and a study for each of its settings.

    Args:
        gain: of shares and the setting's place, over text.
        extra: arms of the recipe's own beside the mixtures.
    """
    write_sweep(sweep, folder)
    for at, setting in enumerate(sweep.settings):
        rng = np.random.default_rng(7 + at)
        level = 0.3 + 0.05 * rng.normal(size=seeds)
        records: list[RunRecord] = []
        arms = [(one.arm, gain(one.shares, at)) for one in sweep.points] or [("text", 0.0)]
        arms += [(arm, gain({"text": 0.5, arm: 0.5}, at)) for arm in extra]
        for arm, own in arms:
            variants = [(arm, own)]
            if controls and arm != "text":
                variants.append((f"{arm}.shuffled", 0.0))
            for name, shift in variants:
                for seed in range(seeds):
                    value = level[seed] + shift + noise * rng.normal()
                    flops = int(setting.baseline_flops)
                    spent = ledger(40_000 if "image" in name else 0, flops)
                    changes = {
                        "identity": f"{setting.name}/{name}/{seed}",
                        "spent": spent,
                        "study": setting.study,
                    }
                    if (name, seed) in diverged:
                        records.append(run(name, seed, {}, status="diverged", **changes))
                    else:
                        records.append(run(name, seed, {ACCURACY: value}, **changes))
        plan = header(
            records, {ACCURACY: margin}, study=setting.study, recipe_digest=digest,
            **({"stopped": stopped, "hopeless": {"after_seeds": 2.0, "below": 0.0}} if stopped else {}),
        )  # fmt: skip
        kept = [one for one in records if (one.arm, one.seed) not in lost]
        write_study(folder / setting.folder, kept, plan)
    return folder


def hill(shares: Shares, place: int = 0) -> float:
    """A quadratic surface: pictures help, most at a share near a half; sounds hurt."""
    others = list(shares.values())[1:]
    first = others[0]
    return 0.4 * first - 0.4 * first**2 - 0.1 * sum(others[1:])

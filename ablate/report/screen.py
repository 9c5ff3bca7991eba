"""The screen of a study: its baseline's ladder, judged endpoint by endpoint, and the file that says so.

`screen.json` is made of the records, as every table is, and sealed with a digest. A recipe that names it
(`endpoints.screen`) keeps endpoints that did not pass out of its confirmatory contrasts.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.record import RunRecord
from ablate.report.items import ItemScores
from ablate.report.load import StudyError, StudyHeader
from ablate.stats.bootstrap import cluster_values
from ablate.stats.samples import index_runs
from ablate.stats.screening import SCREEN_VERDICTS, LadderScores, Screened, screen
from ablate.stats.verdict import ALPHA

SCREEN_FILE = "screen.json"
SCREEN_FORMAT = 1

Runs = Mapping[tuple[str, int], RunRecord]


@dataclass(frozen=True)
class ScreenFile:
    """What a `screen.json` says, and of what."""

    digest: str
    study: str
    seeds: tuple[int, ...]
    shares: tuple[float, ...]
    resolved: dict[str, Any]
    """The baseline at its full budget, as resolved in its records: model, training, rows, steps."""
    data_digests: dict[str, str]
    """Digests of the tokenizer, the baseline's streams and the tasks."""
    verdicts: dict[str, tuple[str, str]]
    """Endpoint to verdict and reason."""


def screened_endpoints(records: Sequence[RunRecord], header: StudyHeader) -> list[str]:
    """Every endpoint that a baseline run scored, in order of appearance."""
    own = [one for one in records if one.arm == header.baseline]
    return list(dict.fromkeys(name for one in own for name in one.scores))


def screen_study(
    records: Sequence[RunRecord], header: StudyHeader, items: Mapping[str, ItemScores]
) -> list[Screened]:
    """Screen every endpoint of the baseline and its ladder.

    Args:
        items: item scores at the full budget, by endpoint.
    """
    runs = index_runs(records)
    endpoints = screened_endpoints(records, header)
    found = [_ladder_scores(runs, header, name, items.get(name)) for name in endpoints]
    return screen(found, _stated(header))


def _stated(header: StudyHeader) -> set[str]:
    """Endpoints with a margin, and the parts of differences with one."""
    parts = [part for name in header.margins for part in header.differences.get(name.partition("/")[2], [])]
    return {header.primary, *header.margins, *parts}


def _ladder_scores(runs: Runs, header: StudyHeader, endpoint: str, items: ItemScores | None) -> LadderScores:
    shares = sorted({**header.ladder, header.baseline: 1.0}.items(), key=lambda one: one[1])
    meaning = next(run.scores[endpoint] for run in runs.values() if endpoint in run.scores)
    missing = [
        fault for arm, _ in shares for seed in header.seeds if (fault := _fault(runs, arm, seed, endpoint))
    ]
    scores = np.empty((0, len(shares)))
    if not missing:
        rows = [[runs[arm, seed].scores[endpoint].value for arm, _ in shares] for seed in header.seeds]
        scores = np.asarray(rows, dtype=np.float64)
    return LadderScores(
        endpoint=endpoint,
        higher_is_better=meaning.higher_is_better,
        chance=meaning.chance,
        shares=tuple(share for _, share in shares),
        seeds=tuple(header.seeds),
        scores=scores,
        items=_item_values(items, header),
        missing=tuple(missing),
    )


def _fault(runs: Runs, arm: str, seed: int, endpoint: str) -> str:
    run = runs.get((arm, seed))
    if run is None:
        return f"{arm}, seed {seed}: no record"
    if run.status == "diverged":
        return f"{arm}, seed {seed}: diverged"
    score = run.scores.get(endpoint)
    if score is None:
        return f"{arm}, seed {seed}: not scored"
    return "" if math.isfinite(score.value) else f"{arm}, seed {seed}: scored {score.value}"


def _item_values(items: ItemScores | None, header: StudyHeader) -> "np.ndarray[Any, Any] | None":
    """float64[seeds, clusters] of the full budget; None unless every seed has its item scores."""
    if items is None or not all((header.baseline, seed) in items.values for seed in header.seeds):
        return None
    numerators = np.stack([items.values[header.baseline, seed] for seed in header.seeds])
    return cluster_values(numerators, items.weights, items.clusters)


def screen_text(screened: Sequence[Screened], header: StudyHeader, records: Sequence[RunRecord]) -> str:
    """`screen.json`: verdicts and numbers, what they are about, and a digest of all of it."""
    full = [one for one in records if one.arm == header.baseline]
    content: dict[str, Any] = {
        "screen_format": SCREEN_FORMAT,
        "study": header.study,
        "recipe_digest": header.recipe_digest,
        "baseline": header.baseline,
        "seeds": list(header.seeds),
        "shares": sorted([*header.ladder.values(), 1.0]),
        "alpha": ALPHA,
        "resolved": full[0].resolved if full else {},
        "data_digests": full[0].data_digests if full else {},
        "endpoints": {one.endpoint: _numbers(one) for one in screened},
    }
    return json.dumps({"digest": _digest(content), **content}, indent=1, sort_keys=True) + "\n"


def _numbers(one: Screened) -> dict[str, Any]:
    found = asdict(one)
    for name in ("endpoint", "shares", "seeds"):
        del found[name]
    return found


def read_screen(path: Path) -> ScreenFile:
    """Read a `screen.json`.

    Raises:
        StudyError: there is none, it cannot be read, or it was edited after it was written.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{path}: there is no screen here; `ablate screen RECIPE` makes one") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not a screen ({error})") from error
    if not isinstance(raw, dict) or raw.get("screen_format") != SCREEN_FORMAT:
        found = raw.get("screen_format") if isinstance(raw, dict) else type(raw).__name__
        raise StudyError(f"{path}: screen_format is {found!r}, this version reads {SCREEN_FORMAT}")
    digest = raw.pop("digest", None)
    if digest != _digest(raw):
        raise StudyError(
            f"{path}: edited after it was written (its digest does not match its content); "
            f"`ablate report {path.parent}` writes it anew from its records"
        )
    try:
        found = ScreenFile(
            digest=str(digest),
            study=str(raw["study"]),
            seeds=tuple(raw["seeds"]),
            shares=tuple(raw["shares"]),
            resolved=dict(raw["resolved"]),
            data_digests=dict(raw["data_digests"]),
            verdicts={
                name: (str(said["verdict"]), str(said["reason"])) for name, said in raw["endpoints"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudyError(f"{path}: not a screen ({error!r})") from error
    unknown = {verdict for verdict, _ in found.verdicts.values()} - set(SCREEN_VERDICTS)
    if unknown:
        raise StudyError(f"{path}: unknown verdicts: {', '.join(sorted(unknown))}")
    return found


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()

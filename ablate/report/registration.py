"""The plan of a study, locked before its first run, and what came to differ from it.

`plan.lock.json` holds the study's header as it was planned, with a digest over all of it; `looks.jsonl`
gets a line whenever a report is rendered on a new state of the records. Both lie in the study's folder.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.record import RunRecord
from ablate.report.load import StudyError, StudyHeader
from ablate.report.recipe_text import STATED_BLOCKS, leaves
from ablate.whole_file import write_whole

LOCK_FILE = "plan.lock.json"
LOOKS_FILE = "looks.jsonl"
LOCK_FORMAT = 1

STATED = (
    *("question", "baseline", "arms", "controls", "primary", "margins", "differences", "match", "ladder"),
    *("screen", "screened", "hopeless"),
    *("covariate", "covariate_slope", "baseline_seeds"),
)
"""Fields of the header that have to be what was locked; so have `seeds` and looks, compared on their own."""

_SINCE: dict[str, Any] = {
    "purpose": "contrasts",
    "screen": "",
    "screened": {},
    "hopeless": {},
    "stopped": {},
    "covariate": "",
    "covariate_slope": None,
    "baseline_seeds": [],
}
"""What a lock says that was written before the header had these fields."""


@dataclass(frozen=True)
class Look:
    """One rendering of the report on a state of the records that had not been seen."""

    at: str
    """When, ISO 8601."""
    pairs: int
    """Seeds whose runs had all ended."""
    state: str
    """Digest of the runs there were."""


@dataclass(frozen=True)
class Registration:
    """Whether the plan came before the runs, and what differs from it."""

    locked_at: str | None
    """ISO 8601; None without a lock."""
    digest: str
    deviations: tuple[str, ...]
    notes: tuple[str, ...]
    """What a reader should know that is no deviation."""
    looks: tuple[Look, ...]

    @property
    def confirmatory(self) -> bool:
        """Whether the study may be called confirmatory: locked before its first run, and nothing changed."""
        return self.locked_at is not None and not self.deviations

    def sentences(self, command: str = "ablate plan RECIPE") -> list[str]:
        """The state of the plan in words, plain text.

        Args:
            command: that locks such a plan.
        """
        if self.locked_at is None:
            return [
                f"Plan: not locked before the first run ({command} --lock), so no contrast here counts as "
                "confirmatory."
            ]
        locked = f"Plan: locked {self.locked_at}, digest {self.digest[:12]}"
        if not self.deviations:
            said = [f"{locked}; nothing of it changed: confirmatory."]
        else:
            changed = "; ".join(self.deviations)
            said = [f"{locked}. NOT confirmatory, the study deviates from it: {changed}."]
        if self.looks:
            taken = ", ".join(f"{look.pairs} pairs ({look.at})" for look in self.looks)
            said.append(f"Looks taken: {taken}.")
        return [*said, *self.notes]


UNREGISTERED = Registration(None, "", (), (), ())


def lock_plan(plan: StudyHeader, folder: Path, *, now: str, commit: str) -> bool:
    """Write the lock of ``plan`` into ``folder``; False if the very same plan is locked already.

    Args:
        plan: the header that the study will have after its last look.
        now: the time, ISO 8601.

    Raises:
        StudyError: there are records already, or another plan is locked.
    """
    path = folder / LOCK_FILE
    if path.exists():
        held, _ = _read_lock(path)
        if _SINCE | held["plan"] == dataclasses.asdict(plan):
            return False
        raise StudyError(
            f"{path}: another plan was locked {held['locked_at']}; a plan is locked once: "
            "give the new study a name of its own, or delete the lock and say so"
        )
    records = len(list((folder / "records").glob("*.json")))
    if records:
        raise StudyError(
            f"{folder / 'records'}: {records} runs are there already; a plan is locked before the first run"
        )
    content: dict[str, Any] = {
        "lock_format": LOCK_FORMAT,
        "locked_at": now,
        "commit": commit,
        "plan": dataclasses.asdict(plan),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**content, "digest": _digest(content)}, indent=1, sort_keys=True)
    write_whole(path, text + "\n")
    return True


def read_registration(folder: Path, header: StudyHeader, records: Sequence[RunRecord]) -> Registration:
    """The lock and the looks of the study in ``folder``, held against its header and records.

    Raises:
        StudyError: the lock or the log of looks cannot be read.
    """
    path = folder / LOCK_FILE
    looks = _read_looks(folder / LOOKS_FILE)
    if not path.exists():
        return dataclasses.replace(UNREGISTERED, looks=looks)
    held, sound = _read_lock(path)
    locked_at = str(held["locked_at"])
    deviations = [] if sound else [f"{LOCK_FILE} was edited after it was written"]
    plan = _SINCE | held["plan"]
    deviations += _stated_deviations(plan, header)
    deviations += _seed_deviations(plan, header)
    deviations += _recipe_deviations(str(plan.get("recipe", "")), header.recipe)
    early = [record for record in records if str(record.provenance.get("started", "")) < locked_at]
    shared = {header.baseline, *header.ladder}
    before = [f"{one.arm} seed {one.seed}" for one in early if one.arm not in shared]
    if before:
        deviations.append(f"trained before the plan was locked: {_listed(before)}")
    allowed = plan.get("looks") or [len(plan.get("seeds", []))]
    if plan.get("rule") != "anytime":
        extra = [str(look.pairs) for look in looks if look.pairs not in allowed]
        if extra:
            planned = ", ".join(map(str, allowed))
            deviations.append(f"looked at {', '.join(extra)} pairs, planned were looks at {planned}")
    borrowed = [f"{one.arm} seed {one.seed}" for one in early if one.arm in shared]
    notes = [f"Trained before the plan was locked, and no contrast by themselves: {_listed(borrowed)}."]
    return Registration(
        locked_at, str(held["digest"]), tuple(deviations), tuple(notes if borrowed else []), looks
    )


def locked_plan(folder: Path) -> dict[str, Any] | None:
    """The header that was locked in ``folder``, as plain values; None without a lock.

    Raises:
        StudyError: the lock cannot be read, or was edited after it was written.
    """
    path = folder / LOCK_FILE
    if not path.exists():
        return None
    held, sound = _read_lock(path)
    if not sound:
        raise StudyError(f"{path}: edited after it was written, and so no plan")
    plan: dict[str, Any] = held["plan"]
    return plan


def log_look(folder: Path, header: StudyHeader, records: Sequence[RunRecord], *, now: str) -> None:
    """Append a line to the log of looks if this state of the records has not been looked at.

    Nothing is logged without a lock or a stopping rule: there is no plan to hold it against. Nor is a
    state in which no seed is complete.
    """
    if not (folder / LOCK_FILE).exists() and header.rule == "fixed":
        return
    ended = {(record.arm, record.seed) for record in records}
    contrasted = [arm for arm in header.arms if arm not in header.ladder]
    pairs = sum(all((arm, seed) in ended for arm in contrasted) for seed in header.seeds)
    state = _digest(sorted(record.identity for record in records))
    path = folder / LOOKS_FILE
    if not pairs or any(look.state == state for look in _read_looks(path)):
        return
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"at": now, "pairs": pairs, "state": state}) + "\n")


def _stated_deviations(plan: dict[str, Any], header: StudyHeader) -> list[str]:
    found = []
    for name in STATED:
        planned, now = plan.get(name), getattr(header, name)
        if planned == now:
            continue
        if isinstance(planned, dict) and isinstance(now, dict):
            keys = [key for key in dict.fromkeys([*planned, *now]) if planned.get(key) != now.get(key)]
            found += [f"{name} of {key}: locked {planned.get(key)}, now {now.get(key)}" for key in keys]
        else:
            found.append(f"{name}: locked {planned!r}, now {now!r}")
    return found


def _seed_deviations(plan: dict[str, Any], header: StudyHeader) -> list[str]:
    """Seeds have to be all that were locked, or with a stopping rule those of one of its looks."""
    found = []
    for name in ("rule", "looks", "spending"):
        if plan.get(name) != getattr(header, name):
            found.append(f"{name}: locked {plan.get(name)!r}, now {getattr(header, name)!r}")
    seeds = plan.get("seeds", [])
    stops = [seeds[:count] for count in plan.get("looks", [])] if plan.get("rule") != "fixed" else []
    if header.seeds not in [seeds, *stops]:
        found.append(f"seeds: locked {seeds}, now {header.seeds}")
    return found


def _recipe_deviations(locked: str, now: str) -> list[str]:
    before, after = _recipe(locked), _recipe(now)
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    kept = [key for key in keys if key.split(".")[0] not in STATED_BLOCKS]
    return [f"{key}: locked {before.get(key)!r}, now {after.get(key)!r}" for key in kept]


def _recipe(text: str) -> dict[str, Any]:
    """The leaves of a recipe; text that is none is one leaf."""
    found = leaves(text)
    return {"recipe": text} if found is None else found


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _read_lock(path: Path) -> tuple[dict[str, Any], bool]:
    """The lock, and whether it is what was written."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        digest = held.pop("digest")
        sound = digest == _digest(held)
        if held["lock_format"] != LOCK_FORMAT or not isinstance(held["plan"], dict):
            raise StudyError(
                f"{path}: lock_format is {held['lock_format']!r}, this version reads {LOCK_FORMAT}"
            )
        held["locked_at"] = str(held["locked_at"])
        if not all(isinstance(held["plan"].get(name, []), list) for name in ("seeds", "looks")):
            raise StudyError(f"{path}: seeds or looks of the locked plan are no list")
    except StudyError:
        raise
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise StudyError(f"{path}: not a locked plan ({error})") from error
    return {**held, "digest": str(digest)}, sound


def _read_looks(path: Path) -> tuple[Look, ...]:
    if not path.exists():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(Look(**json.loads(line)) for line in lines if line.strip())
    except (ValueError, RecursionError, TypeError) as error:
        raise StudyError(
            f"{path}: not a log of looks ({error}); a line cut short can be deleted, the others are the log"
        ) from error


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()

"""What is planned in a store: `STORE/plans/<study>.json`; so `ablate status` needs neither data nor torch.

`STORE/plans/<sweep>.settings` names the studies that are the settings of a sweep.

While a driver runs a study, `STORE/plans/<study>.<token>.driver` says so and is renewed, as a lease is.
"""

import contextlib
import glob
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ablate.study.index import many_tuples
from ablate.study.liveness import (
    BEATS,
    LEASE_SECONDS,
    Pulse,
    counted_from,
    file_time,
    read_sign,
    shown_text,
    sign_content,
    this_process,
)
from ablate.study.store import StoreError, disk_errors
from ablate.whole_file import write_whole

PLAN_FORMAT = 1
_USABLE = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*")


class PlannedRun(NamedTuple):
    """One run of a study."""

    arm: str
    seed: int
    identity: str
    steps: int
    flops: int
    """Training FLOPs that it is to spend."""


@dataclass(frozen=True)
class StudyPlan:
    """A study as it was last planned in a store."""

    study: str
    recipe_digest: str
    tasks: str
    """`ablate.study.index.tasks_digest` of the tasks that its runs are scored on."""
    runs: list[PlannedRun]


_KINDS = (str, int, str, int, int)


class StudyBusyError(StoreError):
    """Another recipe of the same study name runs in the store now."""


def write_plan(plan: StudyPlan, store: Path) -> None:
    """Write ``plan`` to the store, atomically.

    Raises:
        StoreError: the store cannot be written.
    """
    folder = _folder(store)
    with disk_errors(store):
        folder.mkdir(parents=True, exist_ok=True)
        raw = {
            "plan_format": PLAN_FORMAT,
            "study": plan.study,
            "recipe_digest": plan.recipe_digest,
            "tasks": plan.tasks,
            "columns": list(PlannedRun._fields),
            "runs": plan.runs,
        }
        write_whole(folder / f"{plan.study}.json", json.dumps(raw, allow_nan=False) + "\n")


def read_plan(study: str, store: Path) -> StudyPlan:
    """What was last planned as ``study`` in ``store``.

    Raises:
        StoreError: nothing was, or the file is no plan.
    """
    path = _folder(store) / f"{study}.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8")) if _USABLE.fullmatch(study) else None
    except (FileNotFoundError, NotADirectoryError):
        raw = None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not a plan ({error}); run the study again to write it anew") from error
    if raw is None:
        known = ", ".join(planned_studies(store)) or "none"
        raise StoreError(
            f"{store}: nothing was planned as {study!r}; planned in this store: {known}; name another "
            "store with --store"
        )
    try:
        with many_tuples():
            return _plan_of(raw, study)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not a plan ({error}); run the study again to write it anew") from error


def read_plans(name: str, store: Path) -> list[StudyPlan]:
    """The plan of the study ``name``, or those of the settings of the sweep ``name``, `<name>.<setting>`.

    Raises:
        StoreError: there is none, or one cannot be read.
    """
    settings = _settings(name, store)
    if (_folder(store) / f"{name}.json").exists() or not settings:
        return [read_plan(name, store)]
    return [read_plan(study, store) for study in settings]


def _settings(name: str, store: Path) -> list[str]:
    """Studies that were last planned as settings of the sweep ``name``: an earlier form of it may have left
    others there."""
    planned = [study for study in planned_studies(store) if study.startswith(f"{name}.")]
    try:
        raw = json.loads((_folder(store) / f"{name}.settings").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return planned
    return [study for study in planned if study in raw] if isinstance(raw, list) else planned


def planned_studies(store: Path) -> list[str]:
    """Names of the studies that were planned in ``store``."""
    return sorted(path.stem for path in _folder(store).glob("*.json") if _USABLE.fullmatch(path.stem))


@contextmanager
def announced(
    plans: Sequence[StudyPlan],
    store: Path,
    seconds: float = LEASE_SECONDS,
    sweep: tuple[str, str] | None = None,
) -> Iterator[None]:
    """Write down what is to be run, and say until the block ends that it is being run.

    Drivers of one recipe may run at one time. Of two recipes under one study name each would take the other's
    records out of the results.

    Args:
        seconds: how long a driver counts as alive without a sign of life.
        sweep: name and digest of the sweep that ``plans`` are the settings of. Two sweeps of one name may
            have no setting in common, and would replace one another's plan in the results all the same.

    Raises:
        StoreError: the store cannot be written.
        StudyBusyError: another recipe of one of the names runs now.
    """
    named = [(plan.study, plan.recipe_digest) for plan in plans] + ([sweep] if sweep else [])
    for name, digest in named:
        _refuse_others(name, digest, store)
    for plan in plans:
        write_plan(plan, store)
    if sweep:
        with disk_errors(store):
            _folder(store).mkdir(parents=True, exist_ok=True)
            write_whole(_folder(store) / f"{sweep[0]}.settings", json.dumps([one.study for one in plans]))
    with ExitStack() as stack:
        signs = dict(stack.enter_context(_driver(name, digest, store, seconds)) for name, digest in named)
        for name, digest in named:
            # Who came at the same moment: both may be refused, never none.
            _refuse_others(name, digest, store)
        stack.callback(Pulse(lambda: _renew(signs), seconds / BEATS).stop)
        yield


@contextmanager
def _driver(study: str, recipe_digest: str, store: Path, seconds: float) -> Iterator[tuple[Path, bytes]]:
    """The file that says that this process runs ``study``, and what it holds."""
    token = secrets.token_hex(8)
    path = _folder(store) / f"{study}.{token}.driver"
    content = sign_content(token, this_process(), seconds, {"recipe_digest": recipe_digest})
    try:
        with disk_errors(store):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield path, content
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _renew(signs: dict[Path, bytes]) -> None:
    for path, content in signs.items():
        try:
            os.utime(path)
        except FileNotFoundError:  # removed while this process was stopped for long: it goes on
            path.write_bytes(content)


def _refuse_others(study: str, recipe_digest: str, store: Path) -> None:
    """Refuse a study that another recipe runs under the same name; remove what dead drivers left."""
    folder = _folder(store)
    drivers = [path for path in folder.glob(f"{glob.escape(study)}.*.driver") if _is_of(study, path)]
    if not drivers:
        return
    now = file_time(folder)
    for path in drivers:
        sign = read_sign(path)
        if sign is None:
            continue
        digest = shown_text(sign.raw.get("recipe_digest"))
        if counted_from(path, sign, now).has_ended(now):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        elif digest != recipe_digest:
            raise StudyBusyError(
                f"{store}: study {study!r} is being run there from another recipe (process "
                f"{sign.holder.pid} on {sign.holder.host}, digest {digest[:12]}, this one "
                f"{recipe_digest[:12]}); wait for it, or give this recipe another name, as in study=NAME"
            )


def _is_of(study: str, path: Path) -> bool:
    """A driver's file of ``study``, not of one whose name goes on with a dot."""
    return re.fullmatch(re.escape(study) + r"\.[0-9a-f]{16}\.driver", path.name) is not None


def _plan_of(raw: dict[str, Any], study: str) -> StudyPlan:
    if raw["plan_format"] != PLAN_FORMAT or raw["columns"] != list(PlannedRun._fields):
        raise ValueError(f"not of format {PLAN_FORMAT}")
    runs = [PlannedRun(*row) for row in raw["runs"]]
    for run in runs:
        if tuple(map(type, run)) != _KINDS or not run.identity.isalnum():
            raise ValueError(f"{list(run)} is no run")
    if (
        raw["study"] != study
        or not isinstance(raw["recipe_digest"], str)
        or not isinstance(raw["tasks"], str)
    ):
        raise ValueError(f"it is not that of {study!r}")
    return StudyPlan(study, raw["recipe_digest"], raw["tasks"], runs)


def _folder(store: Path) -> Path:
    return store / "plans"

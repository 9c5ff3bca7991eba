"""The folder of a study: its header, and its records.

`results/<study>/` holds `study.json` (the header), `records/<arm>-seed<k>.json` and
`items/<arm>-seed<k>.parquet`.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablate.record import RecordError, RunRecord, read_record
from ablate.report.record_types import is_number, type_faults
from ablate.stats.group_sequential import SPENDINGS
from ablate.stats.samples import LARGEST_SCORE
from ablate.stats.sequential import RULES as STOPPING_RULES
from ablate.whole_file import write_whole

HEADER_FORMAT = 1
HEADER_FILE = "study.json"
RULES = ("fixed", *STOPPING_RULES)
MATCHES = ("flops", "text_tokens", "positions")
PURPOSES = ("contrasts", "screen")
COVARIATE = r"|score|loss@(0?\.\d{1,9}|1(\.0{1,9})?)"
"""What `covariate` may be, as a pattern."""


class StudyError(ValueError):
    """A study folder that cannot be read or believed; names the file and what was found."""


@dataclass(frozen=True)
class StudyHeader:
    """What a report must know of a study beyond its records."""

    study: str
    question: str
    baseline: str
    seeds: list[int]
    """The seeds that were planned: a run that is not there is missing, and the report names it."""
    arms: list[str]
    """All arms, controls included, in the order of the recipe."""
    primary: str
    """The endpoint the study is judged by."""
    margins: dict[str, float]
    """Smallest effect of interest per confirmatory endpoint, in the endpoint's unit."""
    match: str
    """What is held equal: `flops`, `text_tokens` or `positions`."""
    note: str
    recipe_digest: str
    controls: dict[str, list[str]] = field(default_factory=dict)
    """Arm to the names of its control arms."""
    recipe: str = ""
    """The resolved recipe as YAML."""
    rule: Literal["fixed", "group_sequential", "anytime"] = "fixed"
    """When the study may stop: `fixed`, `group_sequential` or `anytime`."""
    looks: list[int] = field(default_factory=list)
    """Numbers of seeds at which a study that may stop is looked at; `seeds` are those up to now."""
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    """`group_sequential`: how the error is spent over the looks."""
    ladder: dict[str, float] = field(default_factory=dict)
    """Arm to its share of the baseline's budget: the baseline again, in no contrast."""
    differences: dict[str, list[str]] = field(default_factory=dict)
    """Name to two endpoints: `difference/<name>` is the first less the second."""
    covariate: str = ""
    """Control variate of the paired differences, `score` or `loss@SHARE`, of the baseline; empty: none."""
    covariate_slope: float | None = None
    """Its slope, where it was fixed beforehand."""
    baseline_seeds: list[int] = field(default_factory=list)
    """Further seeds, of the baseline alone, that tell the covariate's mean."""
    purpose: Literal["contrasts", "screen"] = "contrasts"
    """`screen`: the baseline and its ladder alone, to see which endpoints arms can be judged by."""
    screen: str = ""
    """Digest of the screen that `screened` was read from; empty without one."""
    screened: dict[str, str] = field(default_factory=dict)
    """Endpoint with a margin to why it did not pass the screen: it confirms nothing and has no verdict."""
    hopeless: dict[str, float] = field(default_factory=dict)
    """Rule by which an arm gets no further seeds: `after_seeds`, `below`, `confidence`; empty without one."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Arm, control or not, to why the rule stopped it: its later seeds were not trained."""

    @property
    def planned_runs(self) -> int:
        """Every arm on every seed, and the baseline on its further ones."""
        return len(self.arms) * len(self.seeds) + len(self.baseline_seeds)


def write_header(header: StudyHeader, folder: Path) -> None:
    """Write ``header`` to ``folder``/study.json, atomically; the folder is made if need be.

    Raises:
        StudyError: the header contradicts itself, see `read_header`.
    """
    path = folder / HEADER_FILE
    _check(header, path)
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"header_format": HEADER_FORMAT, **dataclasses.asdict(header)}
    write_whole(path, json.dumps(raw, indent=1, sort_keys=True) + "\n")


def read_header(folder: Path) -> StudyHeader:
    """Read the header of the study in ``folder``.

    Raises:
        StudyError: there is none, it is not JSON, a field is missing, unknown or of a wrong type, a
            margin is not positive, or a name refers to no arm.
    """
    path = folder / HEADER_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        # Half a surrogate pair is JSON, and no text: nothing that holds it can be written.
        json.dumps(raw, ensure_ascii=False).encode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{path}: there is no study here; `ablate run RECIPE` makes one") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not a study header ({error})") from error
    if not isinstance(raw, dict) or raw.get("header_format") != HEADER_FORMAT:
        found = raw.get("header_format") if isinstance(raw, dict) else type(raw).__name__
        raise StudyError(f"{path}: header_format is {found!r}, this version reads {HEADER_FORMAT}")
    del raw["header_format"]
    try:
        header = StudyHeader(**raw)
    except TypeError as error:
        raise StudyError(f"{path}: not a study header ({error})") from error
    _check(header, path)
    return header


def load_records(folder: Path, header: StudyHeader) -> list[RunRecord]:
    """All records of a study, sorted by arm (in the header's order) and seed.

    Raises:
        StudyError: there are none, or one is not called after its arm and seed, belongs to an arm or
            seed that the header does not plan, or contradicts it about what is a control.
        RecordError: a file is not a record, or two of one identity disagree.
    """
    paths = sorted((folder / "records").glob("*.json"))
    if not paths:
        raise StudyError(f"{folder / 'records'}: no records; `ablate run` makes them")
    mirrors = {control: arm for arm, names in header.controls.items() for control in names}
    records = []
    identities: dict[str, RunRecord] = {}
    for path in paths:
        record = _read_checked(path)
        _check_planned(record, path, header, mirrors)
        # A control may be that of two arms, as one run under two names.
        _check_one_identity(record, identities.setdefault(record.identity, record), path)
        records.append(record)
    order = {arm: place for place, arm in enumerate(header.arms)}
    return sorted(records, key=lambda record: (order[record.arm], record.seed))


def _read_checked(path: Path) -> RunRecord:
    """A record of the types that the report counts on; `read_record` does not look."""
    record = read_record(path)
    faults = list(type_faults(record))
    if faults:
        raise RecordError(f"{path}: " + "; ".join(faults))
    return record


def _check_one_identity(record: RunRecord, other: RunRecord, path: Path) -> None:
    """Refuse two records of one run that say different things of it."""
    # repr compares NaN with NaN as equal, == does not.
    differing = [
        name
        for name in ("seed", "status", "scores", "pairing", "final_weights")
        if repr(getattr(record, name)) != repr(getattr(other, name))
    ]
    if differing:
        raise RecordError(
            f"{path}: has the identity of arm {other.arm!r}, seed {other.seed} ({record.identity[:12]}), and "
            f"they disagree in {', '.join(differing)}; a record copied by hand is not a result: delete it"
        )


def _check_planned(record: RunRecord, path: Path, header: StudyHeader, mirrors: dict[str, str]) -> None:
    expected = f"{record.arm}-seed{record.seed}.json"
    if path.name != expected:
        raise StudyError(
            f"{path}: holds arm {record.arm!r}, seed {record.seed}, and should be called {expected}; "
            "a record edited or copied by hand is not a result: delete it"
        )
    if record.arm not in header.arms:
        raise StudyError(
            f"{path}: arm {record.arm!r} is not in {HEADER_FILE}; known: {', '.join(header.arms)}"
        )
    further = header.baseline_seeds if record.arm == header.baseline else []
    if record.seed not in [*header.seeds, *further]:
        raise StudyError(
            f"{path}: seed {record.seed} is not among the planned seeds {header.seeds} of {HEADER_FILE}; "
            "a run is not left out of a table: plan its seed or move the record away"
        )
    if (record.control is not None) != (record.arm in mirrors):
        raise StudyError(
            f"{path}: control is {record.control!r}, but {HEADER_FILE} "
            f"{'lists' if record.arm in mirrors else 'does not list'} {record.arm!r} as a control"
        )


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _check(header: StudyHeader, path: Path) -> None:
    """Refuse a header of wrong types or one that contradicts itself, all faults at once."""
    faults = _type_faults(header) or _sense_faults(header)
    if faults:
        raise StudyError(f"{path}: " + "; ".join(faults))


def _type_faults(header: StudyHeader) -> list[str]:
    texts = ["study", "question", "baseline", "primary", "match", "note", "recipe_digest", "recipe", "screen"]
    faults = [f"{key} is not text" for key in texts if not isinstance(getattr(header, key), str)]
    seeds = header.seeds
    if not (isinstance(seeds, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)):
        faults.append("seeds is not a list of whole numbers")
    if not (isinstance(header.looks, list) and all(type(look) is int for look in header.looks)):
        faults.append("looks is not a list of whole numbers")
    if not _names(header.arms):
        faults.append("arms is not a list of names")
    if not (isinstance(header.margins, dict) and all(is_number(m) for m in header.margins.values())):
        faults.append("margins does not map endpoints to numbers")
    if not (isinstance(header.controls, dict) and all(_names(names) for names in header.controls.values())):
        faults.append("controls does not map arms to lists of names")
    if not (isinstance(header.ladder, dict) and all(is_number(share) for share in header.ladder.values())):
        faults.append("ladder does not map arms to shares of the budget")
    differences = header.differences
    if not (isinstance(differences, dict) and all(_names(p) and len(p) == 2 for p in differences.values())):
        faults.append("differences does not map names to two endpoints each")
    further = header.baseline_seeds
    if not (isinstance(further, list) and all(type(seed) is int for seed in further)):
        faults.append("baseline_seeds is not a list of whole numbers")
    if not (isinstance(header.covariate, str) and re.fullmatch(COVARIATE, header.covariate)):
        faults.append("covariate is neither score nor loss@SHARE")
    if not (header.covariate_slope is None or is_number(header.covariate_slope)):
        faults.append("covariate_slope is no number")
    if not (isinstance(header.screened, dict) and _names(list(header.screened.values()))):
        faults.append("screened does not map endpoints to reasons")
    if not (isinstance(header.stopped, dict) and _names(list(header.stopped.values()))):
        faults.append("stopped does not map arms to reasons")
    if not (isinstance(header.hopeless, dict) and all(map(is_number, header.hopeless.values()))):
        faults.append("hopeless does not map its settings to numbers")
    return faults


def _sense_faults(header: StudyHeader) -> list[str]:
    faults = []
    # Arms name files: a path part in one would lead out of the folder.
    for name in [header.study, *header.arms]:
        if not name or name.startswith(".") or re.search(r"[/\\\x00-\x1f\x7f]", name):
            faults.append(
                f"{name!r} is not a usable name: it is empty, starts with a dot or holds / \\ or controls"
            )
    if not header.seeds or len(set(header.seeds)) != len(header.seeds):
        faults.append(f"seeds {header.seeds} are empty or repeat")
    if len(set(header.arms)) != len(header.arms):
        faults.append(f"arms {header.arms} repeat")
    if bool(header.covariate) != bool(header.baseline_seeds) or {*header.baseline_seeds} & {*header.seeds}:
        faults.append(f"baseline_seeds {header.baseline_seeds} do not go with the covariate and the seeds")
    if header.rule not in RULES:
        faults.append(f"rule is {header.rule!r}, allowed: {', '.join(RULES)}")
    if header.spending not in SPENDINGS:
        faults.append(f"spending is {header.spending!r}, allowed: {', '.join(SPENDINGS)}")
    if (header.rule == "fixed") == bool(header.looks) or header.looks != sorted(set(header.looks)):
        faults.append(f"looks {header.looks} do not rise, or do not go with the rule {header.rule!r}")
    if header.looks and len(header.seeds) > header.looks[-1]:
        faults.append(
            f"{len(header.seeds)} seeds are more than the last look, {header.looks[-1]}, provides for"
        )
    if header.match not in MATCHES:
        faults.append(f"match is {header.match!r}, allowed: {', '.join(MATCHES)}")
    for endpoint, margin in header.margins.items():
        if not (math.isfinite(margin) and margin > 1 / LARGEST_SCORE):
            faults.append(f"margin of {endpoint!r} is {margin}, and has to be above zero")
    for arm, share in header.ladder.items():
        if not (math.isfinite(share) and share > 0 and share != 1):
            faults.append(f"ladder arm {arm!r} has share {share}, and has to be above zero and not 1")
    mentioned = [header.baseline, *header.controls, *(c for names in header.controls.values() for c in names)]
    mentioned += header.ladder
    faults += [f"{name!r} is not among the arms" for name in mentioned if name not in header.arms]
    controls = [name for names in header.controls.values() for name in names]
    if header.baseline in controls or len(set(controls)) != len(controls):
        faults.append("a control mirrors one arm, and the baseline is none")
    if header.ladder.keys() & {header.baseline, *header.controls, *controls}:
        faults.append("a ladder arm is neither the baseline, nor a control, nor has controls")
    if header.stopped and not header.hopeless:
        faults.append("arms are stopped by no rule")
    faults += [
        f"{name!r} is stopped and not among the arms" for name in header.stopped if name not in header.arms
    ]
    return faults + _screen_faults(header)


def _screen_faults(header: StudyHeader) -> list[str]:
    faults = []
    if header.purpose not in PURPOSES:
        faults.append(f"purpose is {header.purpose!r}, allowed: {', '.join(PURPOSES)}")
    if header.purpose == "screen" and set(header.arms) != {header.baseline, *header.ladder}:
        faults.append("a screen has other arms than the baseline and its ladder")
    if header.screened and not header.screen:
        faults.append("endpoints are screened out by no screen")
    if header.primary in header.screened:
        faults.append(f"the primary endpoint {header.primary!r} is screened out")
    loose = [name for name in header.screened if name not in header.margins]
    return faults + [f"{name!r} is screened out and has no margin" for name in loose]

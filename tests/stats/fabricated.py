"""Records and headers made up for tests: real objects, invented numbers."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.budget.ledger import Ledger
from ablate.record import CurvePoint, Pairing, RunRecord, Score, write_record
from ablate.report.load import StudyHeader, write_header

ACCURACY = "planted/accuracy"
BITS = "prose/bits_per_byte"


def ledger(media: int = 0, flops: int = 10**12, **changes: Any) -> Ledger:
    spent = Ledger(
        steps=100,
        flops={"backbone": flops} | ({"encoder/pictures": flops // 1000} if media else {}),
        flops_executed=flops,
        positions=10**6,
        text_tokens=900_000,
        caption_tokens=media // 4,
        media_positions=media,
        scored_positions=900_000,
        unique_text_tokens=500_000,
        text_epochs=1.8,
        parameters={"backbone": 10**6} | ({"encoder/pictures": 10**4} if media else {}),
        wall_seconds=12.5,
    )
    return dataclasses.replace(spent, **changes)


def run(arm: str, seed: int, scores: Mapping[str, float | Score], **changes: Any) -> RunRecord:
    """One run. `arm.control` names make controls; arms with `image` in the name hold media."""
    mirrors, _, control = arm.rpartition(".")
    spent = ledger(media=40_000 if "image" in arm else 0)
    record = RunRecord(
        identity=f"{arm}/{seed}",
        study="fabricated",
        arm=arm,
        seed=seed,
        status="finished",
        control=control if mirrors else None,
        mirrors=mirrors or None,
        recipe_digest="0123abcd",
        resolved={},
        data_digests={},
        pairing=Pairing(
            f"backbone-{seed}", {"10": {"0": f"a{seed}", "1": f"b{seed}"}, "20": {"0": f"c{seed}"}}
        ),
        planned=spent,
        spent=spent,
        skips={},
        curve=[CurvePoint(90, 1, 1, 2.0, None, 0.1)],
        scores={name: as_score(name, value) for name, value in scores.items()},
        final_weights="0" * 32,
        provenance={
            "commit": "c0ffee",
            "versions": {"torch": "2.14.1"},
            "device": "cpu",
            "started": str(seed),
        },
    )
    return dataclasses.replace(record, **changes)


def as_score(endpoint: str, value: float | Score) -> Score:
    if isinstance(value, Score):
        return value
    accuracy = "accuracy" in endpoint
    return Score(value, 256, "bits" not in endpoint, 0.125 if accuracy else None)


def runs(values: Mapping[str, Sequence[float]], endpoint: str = ACCURACY) -> list[RunRecord]:
    """One run per arm and score; seeds count from 0."""
    return [
        run(arm, seed, {endpoint: value})
        for arm, scores in values.items()
        for seed, value in enumerate(scores)
    ]


def header(
    records: Sequence[RunRecord], margins: Mapping[str, float] | None = None, **changes: Any
) -> StudyHeader:
    """A header that plans exactly the arms and seeds of ``records``; the first arm is the baseline."""
    arms = list(dict.fromkeys(record.arm for record in records))
    controls: dict[str, list[str]] = {}
    for arm in arms:
        if "." in arm:
            controls.setdefault(arm.rpartition(".")[0], []).append(arm)
    plan = StudyHeader(
        study="fabricated",
        question="Do pictures help?",
        baseline=arms[0],
        seeds=sorted({record.seed for record in records}),
        arms=arms,
        primary=ACCURACY,
        margins=dict({ACCURACY: 0.05} if margins is None else margins),
        match="flops",
        note="",
        recipe_digest="0123abcd",
        controls=controls,
    )
    return dataclasses.replace(plan, **changes)


def write_study(folder: Path, records: Sequence[RunRecord], plan: StudyHeader) -> Path:
    write_header(plan, folder)
    (folder / "records").mkdir(exist_ok=True)
    for record in records:
        write_record(record, folder / "records" / f"{record.arm}-seed{record.seed}.json")
    return folder


PLANTED = {
    "text": [0.12, 0.13, 0.11, 0.14, 0.12],
    "image": [0.93, 0.94, 0.91, 0.95, 0.92],
    "image.captions_only": [0.13, 0.12, 0.12, 0.13, 0.13],
    "image.shuffled": [0.12, 0.14, 0.12, 0.12, 0.11],
}
"""What a sound planted study scores."""

"""What a run has done so far: its counts, its loss curve, and the digests that prove its text order."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

from ablate.data.mixture import Step, StepCounts
from ablate.record import CurvePoint


def is_digest_step(step: int) -> bool:
    """Whether the text-row digests are kept after ``step`` steps (counted from 1).

    A quarter-octave grid, the same for every run: two arms of different length share all points up to
    the end of the shorter one, and the record stays small.
    """
    octave = step.bit_length() - 1
    return any(step == int(2 ** (octave + quarter / 4)) for quarter in range(4))


@dataclass
class Account:
    """Counts up while a run trains, and travels in its checkpoint."""

    steps: int = 0
    counts: StepCounts = field(default_factory=StepCounts)
    skips: dict[str, int] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    wall_seconds: float = 0.0
    text_rows: dict[str, dict[str, str]] = field(default_factory=dict)
    """Step to row column to rolling digest; see `ablate.record.Pairing`."""
    rolling: dict[str, str] = field(default_factory=dict)
    """Row column to the rolling digest so far."""

    def enter(self, step: Step) -> None:
        """Count one finished step."""
        self.steps += 1
        self.counts = self.counts + step.counts
        for reason, number in step.skips.items():
            self.skips[reason] = self.skips.get(reason, 0) + number
        for column, digest in step.row_digests.items():
            before = bytes.fromhex(self.rolling.get(column, ""))
            self.rolling[column] = hashlib.blake2b(before + digest, digest_size=8).hexdigest()
        if is_digest_step(self.steps):
            self.text_rows[str(self.steps)] = dict(self.rolling)

    def proof(self) -> dict[str, dict[str, str]]:
        """The rolling digests at every digest step and at the last step."""
        return {**self.text_rows, str(self.steps): dict(self.rolling)} if self.steps else {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values only, so that the checkpoint loads without unpickling classes."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Account":
        """The account that `state_dict` described."""
        return cls(
            steps=state["steps"],
            counts=StepCounts(**state["counts"]),
            skips=dict(state["skips"]),
            curve=[CurvePoint(**point) for point in state["curve"]],
            wall_seconds=state["wall_seconds"],
            text_rows={step: dict(rows) for step, rows in state["text_rows"].items()},
            rolling=dict(state["rolling"]),
        )

"""What a run has done so far: its counts, its loss curve, and the digests that prove its text order."""

import hashlib
from collections.abc import Sequence
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
class Part:
    """What one rank has read since the ranks last told one another."""

    rolling: dict[str, str] = field(default_factory=dict)
    """Of each column that this rank reads, the rolling digest so far. No column is read by two."""
    skips: dict[str, int] = field(default_factory=dict)

    def enter(self, step: Step, before: dict[str, str]) -> None:
        """Count one finished step; ``before`` holds the rolling digests that the ranks agreed on last."""
        for reason, number in step.skips.items():
            self.skips[reason] = self.skips.get(reason, 0) + number
        for column, digest in step.row_digests.items():
            so_far = bytes.fromhex(self.rolling.get(column) or before.get(column, ""))
            self.rolling[column] = hashlib.blake2b(so_far + digest, digest_size=8).hexdigest()


@dataclass
class Account:
    """Counts up while a run trains, and travels in its checkpoint.

    It is that of the global batch: on every rank the same, but for what `part` has not yet told the others.
    """

    steps: int = 0
    counts: StepCounts = field(default_factory=StepCounts)
    skips: dict[str, int] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    wall_seconds: float = 0.0
    text_rows: dict[str, dict[str, str]] = field(default_factory=dict)
    """Step to row column to rolling digest; see `ablate.record.Pairing`."""
    rolling: dict[str, str] = field(default_factory=dict)
    """Row column to the rolling digest so far."""

    part: Part = field(default_factory=Part)
    """What this rank alone knows yet; see `settle`."""

    def enter(self, step: Step) -> None:
        """Count one finished step: ``step.counts`` are those of all ranks, its rows those of this one."""
        self.steps += 1
        self.counts = self.counts + step.counts
        self.part.enter(step, self.rolling)

    def settle(self, parts: Sequence[Part]) -> None:
        """Take in the ``parts`` of all ranks. Due after every digest step, and before anything reads digests
        or skips."""
        for part in parts:
            self.rolling |= part.rolling
            for reason, number in part.skips.items():
                self.skips[reason] = self.skips.get(reason, 0) + number
        self.part = Part()
        if is_digest_step(self.steps):
            self.text_rows[str(self.steps)] = dict(self.rolling)

    def proof(self) -> dict[str, dict[str, str]]:
        """The rolling digests at every digest step and at the last step."""
        return {**self.text_rows, str(self.steps): dict(self.rolling)} if self.steps else {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values only, so that the checkpoint loads without unpickling classes."""
        assert self.part == Part(), "the ranks have not told one another"
        state = asdict(self)
        del state["part"]
        return state

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

"""What is taken of a machine's devices: by runs that share one, and by runs that train on several."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Taken:
    """What one run takes."""

    devices: list[str]
    """Ids of GPUs; empty on the cores."""
    places: int
    """Of each of them, or of the cores."""


class Room:
    """Places on the GPUs of a machine, or on its cores.

    On GPUs a run of one device takes one place of the GPU that has most left, and a run of several has as
    many GPUs to itself. On the cores a run takes as many places as it has ranks.

    Args:
        devices: ids of the GPUs; none where runs train on the cores.
        each: places of each GPU, or of all cores.
    """

    def __init__(self, devices: Sequence[str], each: int) -> None:
        self.each = each
        """May be made smaller while runs hold places."""
        self._devices = list(devices)
        self._taken = dict.fromkeys(self._devices or [""], 0)

    def find(self, ranks: int) -> Taken | None:
        """What a run of ``ranks`` devices would take now; None if it has to wait.

        One that is wider than the machine waits until it has all of it to itself.
        """
        if not self._devices:
            places = min(ranks, self.each)
            return Taken([], places) if self._taken[""] + places <= self.each else None
        if ranks == 1:
            device = min(self._devices, key=lambda each: self._taken[each])
            return Taken([device], 1) if self._taken[device] < self.each else None
        empty = [device for device in self._devices if not self._taken[device]]
        ranks = min(ranks, len(self._devices))
        return Taken(empty[:ranks], self.each) if len(empty) >= ranks else None

    def take(self, found: Taken) -> None:
        """Hold what `find` gave."""
        for device in found.devices or [""]:
            self._taken[device] += found.places

    def give_back(self, taken: Taken) -> None:
        """Let go of it."""
        for device in taken.devices or [""]:
            self._taken[device] -= taken.places

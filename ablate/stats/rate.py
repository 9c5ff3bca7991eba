"""How often something happened."""

from dataclasses import dataclass

from scipy.special import betaincinv

from ablate.stats.paired import Interval


@dataclass(frozen=True)
class Rate:
    """A count of events among trials, with its exact binomial interval."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The share; None without trials."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> Interval | None:
        """95% interval of Clopper and Pearson (1934, Biometrika 26:404); None without trials."""
        if not self.of:
            return None
        low = 0.0 if self.count == 0 else float(betaincinv(self.count, self.of - self.count + 1, 0.025))
        high = (
            1.0 if self.count == self.of else float(betaincinv(self.count + 1, self.of - self.count, 0.975))
        )
        return low, high

"""When a sweep stops a run early: W&B's Hyperband, so that a sweep file means here what it means there."""

from dataclasses import dataclass
from math import log

MAX_BANDS = 100  # of min_iter, which has no last one, and of s
MAX_LOG_ROWS = 40  # natural logarithm of a number of rows that no run logs; later bands are left out


@dataclass(frozen=True)
class Hyperband:
    """Rows after which runs are judged, and the fraction of them, 1 / eta, that continues (Li et al. 2018).

    A row is what a run logs of the metric at one step. strict judges a run by its value in that row, otherwise by
    the best one so far.
    """

    bands: tuple[int, ...]  # ascending numbers of rows
    eta: int | float
    strict: bool

    @classmethod
    def of(
        cls,
        min_iter: int | None = None,
        max_iter: int | None = None,
        s: int = 0,
        eta: int | float = 3,
        strict: bool = True,
    ) -> "Hyperband":
        """From W&B's keys: bands at min_iter * eta^n, or s of them at max_iter / eta^n."""
        powers = [eta**n for n in range(MAX_BANDS + 1) if n * log(eta) < MAX_LOG_ROWS]
        if max_iter is not None:
            bands = sorted(int(max_iter / power) for power in powers[1 : s + 1] if max_iter / power >= 1)
        else:
            bands = [int(min_iter * power) for power in powers]
        return cls(tuple(bands), eta, strict)

    def should_prune(self, values: list[float], all_values: list[list[float]]) -> bool:
        """Whether a run is worse than the best 1 / eta of those that reached the same band, its last one so far.

        values: the run's, row by row, to be minimised; all_values: those of all runs, this one and ended ones included.
        """
        reached = [band for band in self.bands if band <= len(values)]
        if not reached:
            return False
        band = reached[-1]
        at_band = sorted(others[band - 1] for others in all_values if len(others) >= band)
        value = values[band - 1] if self.strict else min(values)
        return value > at_band[int(len(at_band) / self.eta)]

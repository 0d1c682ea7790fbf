"""What a sweep draws its settings from: W&B's distributions, expressed in the three that Optuna samples.

Optuna draws floats, integers and categories. Where a distribution of W&B's is one of these, it is used directly; for
the others (normal, beta, categories with probabilities) Optuna draws a quantile between 0 and 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, exp, isfinite, prod
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

# By name: the keys that a parameter must have, and the optional ones.
BOUNDS = ("min", "max")
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "categorical": (("values",), ()),
    "categorical_w_probabilities": (("values", "probabilities"), ()),
    "int_uniform": (BOUNDS, ()),
    "uniform": (BOUNDS, ()),
    "q_uniform": (BOUNDS, ("q",)),
    "log_uniform": (BOUNDS, ()),
    "q_log_uniform": (BOUNDS, ("q",)),
    "log_uniform_values": (BOUNDS, ()),
    "q_log_uniform_values": (BOUNDS, ("q",)),
    "inv_log_uniform": (BOUNDS, ()),
    "inv_log_uniform_values": (BOUNDS, ()),
    "normal": ((), ("mu", "sigma")),
    "q_normal": ((), ("mu", "sigma", "q")),
    "log_normal": ((), ("mu", "sigma")),
    "q_log_normal": ((), ("mu", "sigma", "q")),
    "beta": ((), ("a", "b")),
    "q_beta": ((), ("a", "b", "q")),
}
GRID = ("constant", "categorical", "int_uniform", "q_uniform")  # as in W&B
MAX_STEPS = 2**53  # of a grid, which floats can count
TAIL = 1e-6  # of an unbounded distribution, cut off on either side


@dataclass(frozen=True)
class Parameter:
    """A setting that a sweep varies or keeps constant."""

    name: str
    given: dict[str, Any]  # its keys in the sweep file, and the distribution's name
    distribution: BaseDistribution | None  # what Optuna draws from; None: a constant
    value: Callable[[Any], Any]  # what the run is given for what Optuna drew
    choices: tuple[Any, ...] = ()  # its possible values, if they are listed
    grid: Sequence[Any] | None = None  # what Optuna draws at each point of a grid; None: it has no grid


def parameter(name: str, distribution: str, given: dict[str, Any]) -> Parameter:
    """A parameter of that distribution; given: its keys and values in the sweep file.

    Raises OverflowError or ValueError if it would draw a number that no float holds.
    """
    given = {**given, "distribution": distribution}
    if distribution == "constant":
        return Parameter(name, given, None, lambda _: given["value"], (given["value"],), ())
    if distribution in ("categorical", "categorical_w_probabilities"):
        return _categorical(name, given)
    if distribution == "int_uniform":
        low, high = given["min"], given["max"]
        return Parameter(name, given, IntDistribution(low, high), int, grid=range(low, high + 1))
    kind = distribution.removeprefix("q_")
    quantum = given.get("q", 1.0) if kind != distribution else None
    drawn_from, transform = _numbers(kind, **{key: given[key] for key in given.keys() - {"distribution", "q"}})
    grid = _Steps(given["min"], given["max"], quantum) if distribution == "q_uniform" else None
    drawn = Parameter(name, given, drawn_from, lambda drawn: _quantised(transform(drawn), quantum), grid=grid)
    low, high = drawn_from.low, drawn_from.high
    if not all(map(isfinite, (drawn.value(low), drawn.value(high), high - low))):
        raise OverflowError(f"{name} draws an infinite number")
    return drawn


def num_points(parameters: Sequence[Parameter]) -> int:
    """The number of points of a grid."""
    return prod(len(parameter.grid) for parameter in parameters if parameter.distribution is not None)


def point(parameters: Sequence[Parameter], index: int) -> dict[str, Any]:
    """The combination at that index of a grid, as Optuna draws it; the last parameter varies fastest."""
    combination = {}
    for parameter in reversed([parameter for parameter in parameters if parameter.distribution is not None]):
        index, position = divmod(index, len(parameter.grid))
        combination[parameter.name] = parameter.grid[position]
    return dict(reversed(combination.items()))


class _Steps(Sequence):
    """numpy.arange(low, high, step), whose values W&B's grid has, without an array of them: a grid may be endless."""

    def __init__(self, low: int | float, high: int | float, step: int | float):
        self.low = low
        self.step = (low + step) - low  # as numpy rounds it
        self.size = ceil((high - low) / step)
        if not self.step or self.size > MAX_STEPS:
            raise OverflowError(f"there are too many steps of {step} between {low} and {high}")

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> int | float:
        return self.low + range(self.size)[position] * self.step


def _categorical(name: str, given: dict[str, Any]) -> Parameter:
    """Optuna takes no lists and no None as categories; str() is what a command line makes of all of them."""
    values = given["values"]
    if "probabilities" not in given:
        by_name = {str(value): value for value in values}
        distribution = CategoricalDistribution(list(by_name))
        return Parameter(name, given, distribution, by_name.__getitem__, tuple(values), tuple(by_name))
    ends = np.cumsum(given["probabilities"])[:-1]  # without the last one, which is 1 up to rounding
    at_quantile = lambda drawn: values[int(np.searchsorted(ends, drawn, side="right"))]  # noqa: E731
    return Parameter(name, given, FloatDistribution(0.0, 1.0), at_quantile, tuple(values))


def _numbers(kind: str, **given: int | float) -> tuple[FloatDistribution, Callable[[float], float]]:
    """What Optuna draws, and the value that follows from it; bounds of log_uniform are natural logarithms."""
    if "min" in given:
        low, high = float(given["min"]), float(given["max"])
        if kind == "log_uniform":
            low, high = exp(low), exp(high)
        if kind == "inv_log_uniform":
            low, high = exp(-high), exp(-low)
        return FloatDistribution(low, high, log=kind != "uniform"), float
    quantile = _quantile_function(kind, **given)
    return FloatDistribution(TAIL, 1 - TAIL), lambda drawn: float(quantile(drawn))


def _quantile_function(
    kind: str, mu: int | float = 0, sigma: int | float = 1, a: int | float = 1, b: int | float = 1
) -> Callable[[float], float]:
    from scipy import stats  # takes most of a second, which most sweeps need not wait for

    if kind == "normal":
        return stats.norm(mu, sigma).ppf
    if kind == "log_normal":
        return stats.lognorm(sigma, scale=exp(mu)).ppf
    return stats.beta(a, b).ppf


def _quantised(value: float, quantum: int | float | None) -> int | float:
    if quantum is None:
        return value
    steps = round(value / quantum)
    return steps * quantum if isinstance(quantum, int) else float(steps * quantum)

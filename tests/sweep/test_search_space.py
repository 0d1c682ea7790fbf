"""Every distribution of a sweep file draws what W&B would draw."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mfcc_wavenet.sweep.search_space import DISTRIBUTIONS, num_points, parameter, point

# Of each distribution, its keys and its quantiles at 0.1, 0.5 and 0.9, by the formulas of W&B's documentation.
CASES = [
    ("uniform", {"min": 2, "max": 12.0}, (3.0, 7.0, 11.0)),
    ("q_uniform", {"min": 2, "max": 12, "q": 4}, (4, 8, 12)),
    ("q_uniform", {"min": 2, "max": 12}, (3.0, 7.0, 11.0)),
    ("log_uniform", {"min": 0, "max": 2}, (exp(0.2), exp(1), exp(1.8))),
    ("q_log_uniform", {"min": 0, "max": 2, "q": 0.5}, (1.0, 2.5, 6.0)),
    ("log_uniform_values", {"min": 0.001, "max": 0.1}, (10**-2.8, 10**-2, 10**-1.2)),
    ("q_log_uniform_values", {"min": 10, "max": 1000, "q": 10}, (20, 100, 630)),
    ("inv_log_uniform", {"min": 0, "max": 2}, (exp(-1.8), exp(-1), exp(-0.2))),
    ("inv_log_uniform_values", {"min": 0.001, "max": 0.1}, (10**-2.8, 10**-2, 10**-1.2)),
    ("normal", {"mu": 5, "sigma": 2}, (5 - 2 * 1.2815516, 5, 5 + 2 * 1.2815516)),
    ("q_normal", {"mu": 5, "sigma": 2, "q": 1}, (2, 5, 8)),
    ("log_normal", {"mu": 1, "sigma": 0.5}, (exp(1 - 0.6407758), exp(1), exp(1.6407758))),
    ("q_log_normal", {"mu": 1, "sigma": 0.5, "q": 0.5}, (1.5, 2.5, 5.0)),
    ("beta", {"a": 1, "b": 1}, (0.1, 0.5, 0.9)),
    ("q_beta", {"a": 1, "b": 1, "q": 0.3}, (0.0, 0.6, 0.9)),
    ("categorical_w_probabilities", {"values": ["a", [1], None], "probabilities": [0.2, 0.5, 0.3]}, ("a", [1], None)),
]
IDS = [case[0] for case in CASES]


def at(quantile: float, searched: FloatDistribution) -> float:
    """What Optuna draws at that fraction of its range."""
    if searched.log:
        return exp(log(searched.low) + quantile * (log(searched.high) - log(searched.low)))
    return searched.low + quantile * (searched.high - searched.low)


@pytest.mark.parametrize(("distribution", "keys", "expected"), CASES, ids=IDS)
def test_a_distribution_has_its_quantiles(distribution, keys, expected):
    """An integer quantum gives integers, which a setting that counts something needs."""
    drawn = parameter("x", distribution, keys)
    values = [drawn.value(at(quantile, drawn.distribution)) for quantile in (0.1, 0.5, 0.9)]
    if distribution.startswith("categorical"):
        assert values == list(expected)
    else:
        assert values == pytest.approx(expected, rel=1e-4)
        assert all(type(value) is (int if isinstance(keys.get("q"), int) else float) for value in values)


def test_every_distribution_has_a_case():
    """Constants, categories and integers have theirs below."""
    assert set(DISTRIBUTIONS) - set(IDS) == {"constant", "categorical", "int_uniform"}


@given(st.floats(0, 1))
def test_categories_with_probabilities_are_always_categories(quantile):
    """At the ends as well, where sums of probabilities are not exactly 1."""
    drawn = parameter("x", "categorical_w_probabilities", {"values": [0, 1, 2], "probabilities": [0.1, 0.2, 0.7]})
    assert drawn.value(quantile) == (0 if quantile < 0.1 else 1 if quantile < 0.1 + 0.2 else 2)


def test_categories_keep_their_type():
    """Optuna distinguishes them by their text on a command line; the run gets the value itself."""
    drawn = parameter("x", "categorical", {"values": [3, 2.5, None, "a", [16, 16]]})
    assert drawn.distribution == CategoricalDistribution(["3", "2.5", "None", "a", "[16, 16]"])
    assert [drawn.value(choice) for choice in drawn.distribution.choices] == [3, 2.5, None, "a", [16, 16]]


def test_integers_and_constants():
    """Both ends are included; a constant is not drawn."""
    drawn = parameter("x", "int_uniform", {"min": 3, "max": 5})
    assert (drawn.distribution, drawn.grid) == (IntDistribution(3, 5), range(3, 6))
    constant = parameter("x", "constant", {"value": None})
    assert (constant.distribution, constant.value(None)) == (None, None)


def test_a_grid_is_every_combination():
    """Of what varies; constants are not part of it."""
    parameters = (
        parameter("a", "categorical", {"values": ["u", 7]}),
        parameter("b", "constant", {"value": 1}),
        parameter("c", "int_uniform", {"min": 1, "max": 2}),
        parameter("d", "q_uniform", {"min": 0, "max": 1, "q": 0.5}),
    )
    expected = [{"a": a, "c": c, "d": d} for a in ("u", "7") for c in (1, 2) for d in (0, 0.5)]
    assert [point(parameters, index) for index in range(num_points(parameters))] == expected


@given(st.floats(-10, 10), st.floats(0.01, 10), st.integers(1, 30))
def test_a_grid_of_quanta_is_numpys(low, quantum, steps):
    """The numbers of numpy.arange, to the last bit, as in W&B."""
    high = low + quantum * (steps - 0.5)
    drawn = parameter("x", "q_uniform", {"min": low, "max": high, "q": quantum})
    assert list(drawn.grid) == np.arange(low, high, quantum).tolist()


def test_a_grid_may_be_endless():
    """Its points are counted and found without a list of them."""
    parameters = [parameter(name, "int_uniform", {"min": 1, "max": 10**6}) for name in "ab"]
    parameters.append(parameter("c", "q_uniform", {"min": 0, "max": 10**6, "q": 0.5}))
    assert num_points(parameters) == 2 * 10**18
    assert point(parameters, 0) == {"a": 1, "b": 1, "c": 0.0}
    assert point(parameters, 2 * 10**6 + 3) == {"a": 1, "b": 2, "c": 1.5}

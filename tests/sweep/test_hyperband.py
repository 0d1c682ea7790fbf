"""Runs are stopped when W&B would stop them."""

from mfcc_wavenet.sweep.hyperband import Hyperband


def test_bands_are_wandbs():
    """Upward from the first row without end, or downward from the last one."""
    assert Hyperband.of(min_iter=3, eta=2).bands[:4] == (3, 6, 12, 24)
    assert Hyperband.of(max_iter=27, s=2).bands == (3, 9)
    assert Hyperband.of(max_iter=4, s=5, eta=2).bands == (1, 2)
    assert Hyperband.of(max_iter=1, s=1).bands == ()


def test_the_worse_half_is_given_up():
    """At the band, not before, and judged among those that came as far, ended ones included."""
    rule = Hyperband.of(min_iter=2, eta=2)
    everyone = [[5.0, 1.0], [5.0, 2.0], [5.0, 3.0], [5.0, 4.0], [0.0]]
    assert [rule.gives_up(values, everyone) for values in everyone] == [False, False, False, True, False]
    assert not rule.gives_up([9.0, 9.0], [[9.0, 9.0]]), "who comes first is compared with nobody"


def test_strict_is_about_the_value_at_the_band():
    """Otherwise an earlier or later better one saves a run."""
    everyone = [[1.0, 1.0, 1.0], [0.0, 5.0, 0.0]]
    assert Hyperband.of(min_iter=2, eta=3, strict=True).gives_up(everyone[1], everyone)
    assert not Hyperband.of(min_iter=2, eta=3, strict=False).gives_up(everyone[1], everyone)

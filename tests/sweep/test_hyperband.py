"""Runs are stopped early when W&B would stop them."""

from mfcc_wavenet.sweep.hyperband import Hyperband


def test_bands_are_wandbs():
    """Upwards from min_iter without end, or downwards from max_iter."""
    assert Hyperband.of(min_iter=3, eta=2).bands[:4] == (3, 6, 12, 24)
    assert Hyperband.of(max_iter=27, s=2).bands == (3, 9)
    assert Hyperband.of(max_iter=4, s=5, eta=2).bands == (1, 2)
    assert Hyperband.of(max_iter=1, s=1).bands == ()
    assert Hyperband.of(min_iter=2, eta=1e300).bands == (2,), "the next one is further than any float"


def test_the_worse_half_is_stopped():
    """At the band, not before, and compared with those that reached it, ended ones included."""
    rule = Hyperband.of(min_iter=2, eta=2)
    all_values = [[5.0, 1.0], [5.0, 2.0], [5.0, 3.0], [5.0, 4.0], [0.0]]
    assert [rule.should_prune(values, all_values) for values in all_values] == [False, False, False, True, False]
    assert not rule.should_prune([9.0, 9.0], [[9.0, 9.0]]), "the first run there is compared with no other"


def test_strict_is_about_the_value_at_the_band():
    """Otherwise a better value at any other row saves a run."""
    all_values = [[1.0, 1.0, 1.0], [0.0, 5.0, 0.0]]
    assert Hyperband.of(min_iter=2, eta=3, strict=True).should_prune(all_values[1], all_values)
    assert not Hyperband.of(min_iter=2, eta=3, strict=False).should_prune(all_values[1], all_values)

"""What is compared does the same work."""

from statistics import median

import numpy as np
import pytest

from mfcc_wavenet.bench import __main__, generate


def test_three_ways_generate_the_same():
    """The naive re-run, the torch loop and ours, of a network that is not trained: two hops, all alike."""
    model = generate.network("baseline")
    naive = generate.naive(model, 320)
    np.testing.assert_array_equal(generate.torch_loop(model, 320), naive)
    for stream in generate.ours(model, streams=2, cores=2)(1):  # the first hop is spoken already
        np.testing.assert_array_equal(stream, naive[160:])


def test_the_bound_is_above_what_is_reached():
    """No way is faster than the machine allows; the weights of the step are those of the network."""
    model = generate.network("baseline")
    row = generate.Row("baseline", 1, 1, 5)
    assert generate._weights_in_step(model) == 10 * 192 * 128 + 9 * 64 * 96 + 960 * 128 + 128 * 128 + 128 * 256
    go_on = generate.ours(model, row.streams, row.cores)
    rates, bounds = generate.in_turns(
        lambda: row.hops * 160 / generate.seconds(lambda: go_on(row.hops)), lambda: generate.fastest(model, 1, 1)
    )
    assert median(rates) < median(bounds)


def test_an_unknown_benchmark_is_refused(monkeypatch, capsys):
    """With what would work, and exit code 2."""
    monkeypatch.setattr("sys.argv", ["bench", "train"])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 2 and "mfcc_wavenet.bench generate" in capsys.readouterr().err

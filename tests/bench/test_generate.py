"""What the benchmark compares does the same work."""

from statistics import median

import numpy as np

from mfcc_wavenet.bench import generate
from mfcc_wavenet.bench.measure import interleaved, seconds


def test_three_ways_generate_the_same():
    """The naive re-run, the torch loop and cached generation by an untrained network: two hops, all equal."""
    model = generate.untrained_model("baseline_adam")
    naive = generate.naive(model, 320)
    np.testing.assert_array_equal(generate.torch_loop(model, 320), naive)
    for codes in generate.cached_generation(model, batch_size=2, num_threads=2)(1):  # after the first hop
        np.testing.assert_array_equal(codes, naive[160:])


def test_generation_is_below_its_roofline():
    """And the weights of a step are those of the network."""
    model = generate.untrained_model("baseline_adam")
    row = generate.Row("baseline_adam", 1, 1, 5)
    assert generate._weights_per_step(model) == 10 * 192 * 128 + 9 * 64 * 96 + 960 * 128 + 128 * 128 + 128 * 256
    advance = generate.cached_generation(model, row.batch_size, row.num_threads)
    rates, rooflines = interleaved(
        lambda: row.hops * 160 / seconds(lambda: advance(row.hops)), lambda: generate.roofline(model, 1, 1)
    )
    assert median(rates) < median(rooflines)

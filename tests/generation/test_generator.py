"""Cached generation is the full network, re-run for every sample, and depends on nothing but the frames."""

import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given
from support.architectures import (
    ARCHITECTURE,
    DRAWN,
    FEATURES,
    LENGTHS,
    PLAIN,
    Architecture,
    architectures,
    autoencoders,
    examples,
    random_type_checks,
    whole_utterance,
    windows,
)

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings, WindowSettings
from mfcc_wavenet.generation.cpu.sample_loop import sample_loop
from mfcc_wavenet.generation.generator import BLOCK_HOPS, GREEDY, MAX_BATCH_SIZE, Generator, StreamState
from mfcc_wavenet.models.mfcc_inverter import MfccInverter

pytestmark = random_type_checks

SAMPLES = 40  # of the utterances that are longer
ROUNDING = 1e-4  # of logits, which reach some 10, and of probabilities, in float32
UTTERANCES = st.integers(0, len(LENGTHS) - 1)
SAMPLINGS = st.sampled_from([Sampling(temperature, seed=1) for temperature in (0.0, 0.3, 1.0, 3.0)])


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    """Others would wait for each other longer than such small networks compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wide_model() -> MfccInverter:
    return Architecture(
        UpsamplingSettings((8,), 3, strides=(16,), kernel_sizes=(16,), channels=6, jitter=0.0, **DRAWN),
        WavenetSettings(
            70, 150, 140, 70, 130, blocks=1, layers_per_block=3, kernel_size=2, speaker_channels=2, **PLAIN
        ),
        WindowSettings(samples=20, batch_size=3),
    ).model()


def generated(generator: Generator, batch_size: int = 1) -> list[np.ndarray]:
    """The same frames by one speaker after the other."""
    frames, _, samples = conditions(ARCHITECTURE, 0)
    state = StreamState(generator, [0, 1][:batch_size], Sampling(1.0))
    return state.generate([samples] * batch_size, lambda _, span: frames[clamped_indices(span, len(frames))])


def conditions(architecture: Architecture, utterance: int) -> tuple[np.ndarray, int, int]:
    """Frames, speaker and number of samples: all that generation knows of an utterance."""
    some = windows(architecture)
    return some.frames(utterance), some.speaker_index[utterance], min(LENGTHS[utterance], SAMPLES)


# ------------------------------------------------------------------------------- the full network


def runs(architecture: Architecture, sampling: Sampling):
    """Utterance after utterance by one generator: its codes, and the logits of the full network at each of them.

    The network is re-run for every sample, over all the codes that were generated before it.
    """
    model = architecture.model(sampling.seed)
    generator = Generator(model)
    for utterance in range(len(LENGTHS)):
        frames, speaker, samples = conditions(architecture, utterance)
        codes = generator.generate(generator.encoder(frames), speaker, samples, sampling)
        assert codes.shape == (samples,)
        yield codes, [whole_utterance(model, codes[: t + 1], frames, speaker)[-1].numpy() for t in range(samples)]


@examples(12)
@given(architecture=architectures() | autoencoders(), seed=st.integers(0, 1000))
def test_greedy_codes_are_the_most_likely(architecture, seed):
    for codes, logits in runs(architecture, Sampling(seed=seed)):
        assert all(at[code] >= at.max() - ROUNDING for code, at in zip(codes, logits, strict=True))


@examples(12)
@given(
    architecture=architectures() | autoencoders(), seed=st.integers(0, 1000), temperature=st.sampled_from([0.5, 2.0])
)
def test_sampled_codes_are_the_inverse_transform(architecture, seed, temperature):
    """The seed's next uniform number lies between the cumulative softmax before the code and the one after it.

    Sampling keeps the codes moving, so this is where a wrong ring buffer shows.
    """
    for codes, logits in runs(architecture, Sampling(temperature, seed=seed)):
        uniforms = np.random.default_rng(seed).random(len(codes))
        for code, at, uniform in zip(codes, logits, uniforms, strict=True):
            softmax = np.exp((at - at.max()) / temperature)
            softmax /= softmax.sum()
            cumulative = np.cumsum(softmax)
            assert cumulative[code] - softmax[code] - ROUNDING <= uniform <= cumulative[code] + ROUNDING


# ------------------------------------------------------------------------------------ invariance


@examples(20)
@given(architecture=architectures(), utterance=UTTERANCES, sampling=SAMPLINGS, length=st.integers(1, 60))
def test_blocks_change_nothing(architecture, utterance, sampling, length):
    """Generated in blocks of any length, an utterance is what it is in one."""
    generator, (frames, speaker, samples) = Generator(architecture.model()), conditions(architecture, utterance)
    state = StreamState(generator, [speaker], sampling)
    ends = [*range(length, samples, length), samples]
    blocks = [state.generate([end], lambda _, span: frames[clamped_indices(span, len(frames))])[0] for end in ends]
    in_one = generator.generate(frames, speaker, samples, sampling)
    np.testing.assert_array_equal(np.concatenate(blocks), in_one)


@examples(10)
@given(
    architecture=architectures(),
    sampling=SAMPLINGS,
    batch=st.lists(st.tuples(UTTERANCES, st.integers(1, SAMPLES)), min_size=1, max_size=MAX_BATCH_SIZE + 3),
)
@example(ARCHITECTURE, Sampling(1.0), [(number % len(LENGTHS), 1 + 2 * number) for number in range(MAX_BATCH_SIZE + 3)])
def test_it_is_batch_invariant(architecture, sampling, batch):
    """In a batch of any size, with others of any length, an utterance is what it is in a batch of its own."""
    torch.set_num_threads(2)  # which generate two batches at once
    generator = Generator(architecture.model())
    given_ = [(*conditions(architecture, utterance)[:2], samples) for utterance, samples in batch]
    codes_of_all = generator.generate_all(*zip(*given_), sampling)
    for codes, (frames, speaker, samples) in zip(codes_of_all, given_, strict=True):
        np.testing.assert_array_equal(codes, generator.generate(frames, speaker, samples, sampling))


def test_candidates_are_the_codes_of_the_next_seeds():
    """From that of the sampling on, in however many batches; the greedy ones are all the same."""
    generator, given_ = (
        Generator(ARCHITECTURE.model()),
        [conditions(ARCHITECTURE, utterance) for utterance in (0, 1, 2)],
    )
    for temperature, count in ((0.0, 2), (1.0, 1), (1.0, MAX_BATCH_SIZE - 3)):
        of_all = generator.generate_candidates(*zip(*given_), count, Sampling(temperature, seed=4))
        for of_one, one in zip(of_all, given_, strict=True):
            seeds = [Sampling(temperature, seed=4 + candidate) for candidate in range(count)]
            np.testing.assert_array_equal(of_one, [generator.generate(*one, sampling) for sampling in seeds])


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("num_threads", [2, 3])
def test_the_number_of_threads_changes_nothing(batch_size, num_threads):
    """Partitioned among threads, every gemm is the same; channels fill several panels here, and not the last one."""
    model = wide_model()
    codes_of_all = [generated(Generator(model, threads), batch_size) for threads in (num_threads, 1)]
    for codes, on_one_thread in zip(*codes_of_all, strict=True):
        assert len(np.unique(codes)) > 10
        np.testing.assert_array_equal(codes, on_one_thread)


def test_for_batches_and_blocks_of_all_sizes_the_loop_is_compiled_once():
    """That takes seconds, the first time on a machine: the codes before a block always have one layout."""
    generator, (frames, speaker, _) = Generator(ARCHITECTURE.model()), conditions(ARCHITECTURE, 0)
    samples = 3 * BLOCK_HOPS * FEATURES.hop_length
    for batch_size in (1, 2, 3):
        generator.generate_all([frames] * batch_size, [speaker] * batch_size, [samples] * batch_size)
    assert {past.layout for _, past, *_ in sample_loop.signatures} == {"C"}


@examples(20)
@given(architecture=architectures(), sampling=SAMPLINGS, samples=st.integers(1, SAMPLES))
def test_a_shorter_utterance_is_the_beginning_of_a_longer_one(architecture, sampling, samples):
    generator, (frames, speaker, all_samples) = Generator(architecture.model()), conditions(architecture, 0)
    longer = generator.generate(frames, speaker, all_samples, sampling)
    shorter = generator.generate(frames, speaker, samples, sampling)
    np.testing.assert_array_equal(shorter, longer[:samples])


def test_frames_alone_decide():
    """Not torch's generator, not the mode of the model, not what was generated before; other frames do."""
    model, given_ = ARCHITECTURE.model(), conditions(ARCHITECTURE, 0)
    generator = Generator(model)
    codes = generator.generate(*given_)
    others = generator.generate(*conditions(ARCHITECTURE, 2))
    torch.manual_seed(1)
    model.train()  # in which frames jitter
    np.testing.assert_array_equal(generator.generate(*given_), codes)
    np.testing.assert_array_equal(Generator(model).generate(*given_), codes)
    assert (others != codes).any()


def test_the_speaker_decides_too():
    frames, speaker, samples = conditions(ARCHITECTURE, 0)
    generator = Generator(ARCHITECTURE.model())
    assert (generator.generate(frames, speaker, samples) != generator.generate(frames, 1 - speaker, samples)).any()


# --------------------------------------------------------------------------------------- sampling


def test_a_seed_repeats_itself_and_no_other():
    generator, given_ = Generator(ARCHITECTURE.model()), conditions(ARCHITECTURE, 0)
    samplings = [Sampling(1.0, seed=seed) for seed in range(10)]
    sampled = [generator.generate(*given_, sampling).tolist() for sampling in samplings]
    assert sampled == [generator.generate(*given_, sampling).tolist() for sampling in samplings]
    assert all(one != other for number, one in enumerate(sampled) for other in sampled[:number])


def test_top_k_keeps_the_most_likely():
    """The one most likely code is greedy; all codes are no restriction; three give at most three."""
    generator, given_ = Generator(ARCHITECTURE.model()), conditions(ARCHITECTURE, 0)

    def codes(top_k: int) -> np.ndarray:
        return generator.generate(*given_, Sampling(3.0, top_k, seed=1))

    np.testing.assert_array_equal(codes(top_k=1), generator.generate(*given_, GREEDY))
    np.testing.assert_array_equal(codes(top_k=10**6), codes(top_k=0))
    first = {int(generator.generate(*given_[:2], 1, Sampling(3.0, 3, seed))[0]) for seed in range(60)}
    assert 1 < len(first) <= 3


@examples(20)
@given(architecture=architectures(), utterance=UTTERANCES, seed=st.integers(0, 2**32))
def test_the_coldest_sampling_is_greedy(architecture, utterance, seed):
    generator, given_ = Generator(architecture.model()), conditions(architecture, utterance)
    np.testing.assert_array_equal(generator.generate(*given_, Sampling(1e-6, seed=seed)), generator.generate(*given_))


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_codes_are_sampled_from_the_softmax(temperature):
    """Over many seeds the first two samples take each pair of codes as often as the logits say.

    The second depends on the first, so the whole chain is in it. The band is 5 standard deviations.
    """
    model, (frames, speaker, _) = ARCHITECTURE.model(), conditions(ARCHITECTURE, 0)
    generator, channels, seeds = Generator(model), ARCHITECTURE.wavenet.quantization_channels, 1500
    counts = np.zeros((channels, channels))
    (sampled,) = generator.generate_candidates([frames], [speaker], [2], seeds, Sampling(temperature, seed=0))
    for first, second in sampled:
        counts[first, second] += 1
    for first in range(channels):
        logits = whole_utterance(model, np.array([first, 0]), frames, speaker) / temperature
        of_first, of_second = logits.double().softmax(-1).numpy()
        expected = seeds * of_first[first] * of_second
        assert (np.abs(counts[first] - expected) < 5 * np.sqrt(expected) + 1).all()


def test_frames_beyond_the_lookahead_change_nothing():
    """So it can generate while they arrive."""
    generator, (frames, speaker, samples) = Generator(ARCHITECTURE.model()), conditions(ARCHITECTURE, 0)
    geometry = ARCHITECTURE.geometry
    known = geometry.frames_of(samples - 1) + geometry.lookahead_frames
    assert known < len(frames)
    changed = np.concatenate([frames[:known], -frames[known:]])
    codes = generator.generate(frames, speaker, samples)
    np.testing.assert_array_equal(generator.generate(changed, speaker, samples), codes)


# ---------------------------------------------------------------------------------------- threads


@pytest.fixture
def two_threads_of_torch(one_thread_of_torch):
    torch.set_num_threads(2)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_no_thread_outlives_its_generator(two_threads_of_torch, num_threads):
    """Until then they are kept: further batches and blocks start no more."""
    before, (frames, speaker, _) = set(threading.enumerate()), conditions(ARCHITECTURE, 0)
    generator = Generator(ARCHITECTURE.model(), num_threads)
    for _ in range(3):
        generator.generate_all([frames] * 4, [speaker] * 4, [5 * BLOCK_HOPS * FEATURES.hop_length] * 4)
    started = set(threading.enumerate()) - before
    assert 1 <= len(started) <= 2
    del generator
    gc.collect()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_ctrl_c_does_not_wait_for_the_end(two_threads_of_torch, num_threads):
    """Of utterances of a minute; what is generated afterwards is what it would have been."""
    generator, (frames, speaker, _) = Generator(wide_model(), num_threads), conditions(ARCHITECTURE, 0)
    expected = generated(generator)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        generator.generate_all([frames] * 2, [speaker] * 2, [1_000_000] * 2)
    assert time.monotonic() - started < 5
    np.testing.assert_array_equal(generated(generator), expected)


def test_callers_of_one_generator_do_not_disturb_each_other():
    """On threads of their own, and with threads that wait for one another."""
    generator = Generator(wide_model(), num_threads=2)
    expected = generated(generator)
    with ThreadPoolExecutor(3) as callers:
        for codes in callers.map(lambda _: generated(generator), range(6)):
            np.testing.assert_array_equal(codes, expected)

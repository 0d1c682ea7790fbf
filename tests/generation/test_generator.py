"""Cached generation is the full network, run again for every sample, and hears nothing but the frames."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given
from support.architectures import (
    ARCHITECTURE,
    LENGTHS,
    Architecture,
    architectures,
    examples,
    random_type_checks,
    whole_utterance,
    windows,
)

from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings, WindowSettings
from mfcc_wavenet.generation.generator import STREAMS, Generator, Voices

pytestmark = random_type_checks

SAMPLES = 40  # of the utterances that are longer
ROUNDING = 1e-4  # of logits, which reach some 10, and of probabilities, in float32
UTTERANCES = st.integers(0, len(LENGTHS) - 1)
TEMPERATURES = st.sampled_from([0.0, 0.3, 1.0, 3.0])


def conditions(architecture: Architecture, utterance: int) -> tuple[np.ndarray, int, int]:
    """Frames, speaker and number of samples: all that generation is told of an utterance."""
    some = windows(architecture)
    return some.frames(utterance), some.speaker_index[utterance], min(LENGTHS[utterance], SAMPLES)


# ------------------------------------------------------------------------------- the full network


def runs(architecture: Architecture, seed: int, temperature: float):
    """Utterance after utterance by one generator: each code beside the logits of the full network there.

    The network is run again for every sample, over all the codes that were generated before it.
    """
    model = architecture.model(seed)
    generator = Generator(model)
    for utterance in range(len(LENGTHS)):
        frames, speaker, samples = conditions(architecture, utterance)
        codes = generator.generate(frames, speaker, samples, temperature, seed)
        assert codes.shape == (samples,)
        yield codes, [whole_utterance(model, codes[: t + 1], frames, speaker)[-1].numpy() for t in range(samples)]


@examples(15)
@given(architecture=architectures(), seed=st.integers(0, 1000))
def test_greedy_codes_are_the_most_likely(architecture, seed):
    for codes, logits in runs(architecture, seed, 0.0):
        assert all(at[code] >= at.max() - ROUNDING for code, at in zip(codes, logits, strict=True))


@examples(15)
@given(architecture=architectures(), seed=st.integers(0, 1000), temperature=st.sampled_from([0.5, 2.0]))
def test_drawn_codes_are_where_the_draw_falls(architecture, seed, temperature):
    """Draws keep the codes moving, so this is where a past that is remembered wrongly shows.

    The seed's next number in [0, 1) falls into the code's share of the softmax, the shares laid side by side.
    """
    for codes, logits in runs(architecture, seed, temperature):
        draws = np.random.default_rng(seed).random(len(codes))
        for code, at, draw in zip(codes, logits, draws, strict=True):
            shares = np.exp((at - at.max()) / temperature)
            borders = np.cumsum(shares / shares.sum())
            assert borders[code] - shares[code] / shares.sum() - ROUNDING <= draw <= borders[code] + ROUNDING


# ---------------------------------------------------------------------------------- what decides


@examples(20)
@given(architecture=architectures(), utterance=UTTERANCES, temperature=TEMPERATURES, chunk=st.integers(1, 60))
def test_pieces_change_nothing(architecture, utterance, temperature, chunk):
    """Spoken in pieces of any length, an utterance is what it is in one."""
    generator, (frames, speaker, samples) = Generator(architecture.model()), conditions(architecture, utterance)
    voices = Voices(generator, [speaker], temperature, seed=1)
    stops = [*range(chunk, samples, chunk), samples]
    pieces = [voices.speak([stop], lambda _, span: frames[clamped_indices(span, len(frames))])[0] for stop in stops]
    in_one = generator.generate(frames, speaker, samples, temperature, seed=1)
    np.testing.assert_array_equal(np.concatenate(pieces), in_one)


@examples(10)
@given(
    architecture=architectures(),
    temperature=TEMPERATURES,
    who=st.lists(st.tuples(UTTERANCES, st.integers(1, SAMPLES)), min_size=1, max_size=STREAMS + 3),
)
@example(ARCHITECTURE, 1.0, [(number % len(LENGTHS), 1 + 2 * number) for number in range(STREAMS + 3)])
def test_company_changes_nothing(architecture, temperature, who):
    """Side by side with others, of any number and length, an utterance is what it is alone."""
    generator = Generator(architecture.model())
    given_ = [(*conditions(architecture, utterance)[:2], samples) for utterance, samples in who]
    together = generator.generate_all(*zip(*given_), temperature, seed=1)
    for codes, (frames, speaker, samples) in zip(together, given_, strict=True):
        np.testing.assert_array_equal(codes, generator.generate(frames, speaker, samples, temperature, seed=1))


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("team", [2, 3])
def test_a_team_changes_nothing(streams, team):
    """Shared out among threads, every product is the same; channels fill several panels here, and not the last one."""
    model = Architecture(
        UpsamplingSettings((8,), 3, strides=(16,), kernel_sizes=(16,), channels=6, jitter=0.0),
        WavenetSettings(70, 150, 140, 70, 130, blocks=1, layers_per_block=3, kernel_size=2, speaker_channels=2),
        WindowSettings(samples=20, batch_size=3),
    ).model()
    frames, _, samples = conditions(ARCHITECTURE, 0)

    def spoken(team: int) -> list[np.ndarray]:
        voices = Voices(Generator(model, team), [0, 1][:streams], temperature=1.0)
        return voices.speak([samples] * streams, lambda _, span: frames[clamped_indices(span, len(frames))])

    for codes, alone in zip(spoken(team), spoken(1), strict=True):
        assert len(np.unique(codes)) > 10
        np.testing.assert_array_equal(codes, alone)


@examples(20)
@given(architecture=architectures(), temperature=TEMPERATURES, samples=st.integers(1, SAMPLES))
def test_a_shorter_utterance_is_the_beginning_of_a_longer_one(architecture, temperature, samples):
    generator, (frames, speaker, all_samples) = Generator(architecture.model()), conditions(architecture, 0)
    longer = generator.generate(frames, speaker, all_samples, temperature, seed=1)
    shorter = generator.generate(frames, speaker, samples, temperature, seed=1)
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
    drawn = [generator.generate(*given_, 1.0, seed).tolist() for seed in range(10)]
    assert drawn == [generator.generate(*given_, 1.0, seed).tolist() for seed in range(10)]
    assert all(one != other for number, one in enumerate(drawn) for other in drawn[:number])


def test_top_k_keeps_the_most_likely():
    """Of the one most likely code there is no choice; of all codes it is no restriction; of three, three at most."""
    generator, given_ = Generator(ARCHITECTURE.model()), conditions(ARCHITECTURE, 0)
    greedy, free = generator.generate(*given_), generator.generate(*given_, 3.0, 1)
    np.testing.assert_array_equal(generator.generate(*given_, 3.0, 1, top_k=1), greedy)
    np.testing.assert_array_equal(generator.generate(*given_, 3.0, 1, top_k=10**6), free)
    first = {int(generator.generate(*given_[:2], 1, 3.0, seed, top_k=3)[0]) for seed in range(60)}
    assert 1 < len(first) <= 3


@examples(20)
@given(architecture=architectures(), utterance=UTTERANCES, seed=st.integers(0, 2**32))
def test_the_coldest_sampling_is_greedy(architecture, utterance, seed):
    generator, given_ = Generator(architecture.model()), conditions(architecture, utterance)
    np.testing.assert_array_equal(generator.generate(*given_, 1e-6, seed), generator.generate(*given_))


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_codes_are_drawn_from_the_softmax(temperature):
    """Over many seeds the first two samples take each pair of codes as often as the logits say.

    The second is drawn given the first, so the whole chain is in it. The band is 5 standard deviations.
    """
    model, (frames, speaker, _) = ARCHITECTURE.model(), conditions(ARCHITECTURE, 0)
    generator, channels, draws = Generator(model), ARCHITECTURE.wavenet.quantization_channels, 1500
    counts = np.zeros((channels, channels))
    for seed in range(draws):
        counts[tuple(generator.generate(frames, speaker, 2, temperature, seed))] += 1
    for first in range(channels):
        logits = whole_utterance(model, np.array([first, 0]), frames, speaker) / temperature
        of_first, of_second = logits.double().softmax(-1).numpy()
        expected = draws * of_first[first] * of_second
        assert (np.abs(counts[first] - expected) < 5 * np.sqrt(expected) + 1).all()


def test_all_frames_are_not_needed_before_they_are_near():
    """Frames further ahead than the network looks change nothing: it could generate while they arrive."""
    generator, (frames, speaker, samples) = Generator(ARCHITECTURE.model()), conditions(ARCHITECTURE, 0)
    geometry = ARCHITECTURE.geometry
    known = geometry.frames_of(samples - 1) + geometry.lookahead_frames
    assert known < len(frames)
    changed = np.concatenate([frames[:known], -frames[known:]])
    codes = generator.generate(frames, speaker, samples)
    np.testing.assert_array_equal(generator.generate(changed, speaker, samples), codes)

"""Units of a model and back: streamed or whole, alone or in a batch, through units or at once, it is the same audio."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from support.architectures import examples
from support.checkpoints import autoencoder, checkpoint
from support.sounds import RATE, SENTENCES

from mfcc_wavenet import Inverter
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation.generator import BLOCK_HOPS

KINDS = {
    "vqvae-ema": (),
    "vqvae": ("bottleneck=vqvae512", "bottleneck.channels=8", "bottleneck.codes=16", "bottleneck.normalise=false"),
    "vae": ("bottleneck=vae", "bottleneck.channels=8"),
    "ae": ("bottleneck=ae", "bottleneck.channels=8"),
}
LATENT_HOP = 320  # samples, two frames


@pytest.fixture(scope="module", params=KINDS)
def inverter(request) -> Inverter:
    return Inverter(autoencoder(*KINDS[request.param]))


@pytest.fixture(scope="module")
def quantising() -> Inverter:
    return Inverter(autoencoder())


@pytest.fixture(scope="module")
def mfcc(quantising) -> np.ndarray:
    return quantising.features(SENTENCES[0][4000:12000], RATE)


SAMPLINGS = [{}, {"temperature": 1.0, "seed": 3, "speaker": "ann"}]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("frames", [1, 2, 3, 20])
def test_through_units_or_at_once_it_is_the_same_audio(inverter, mfcc, frames, sampling):
    """Code for code, of whatever length."""
    units = inverter.encode(mfcc[:, :frames])
    samples = inverter.geometry.samples_of(frames)
    codes = inverter.decode_codes(units, samples=samples, **sampling)
    np.testing.assert_array_equal(codes, inverter.invert_codes(mfcc[:, :frames], **sampling))
    audio = inverter.decode(units, samples=samples, **sampling)
    np.testing.assert_array_equal(audio, inverter.invert(mfcc[:, :frames], **sampling))


@pytest.mark.parametrize("frames", [1, 2, 9, 40])
def test_a_stream_is_the_whole_exactly(inverter, mfcc, frames):
    """Bit for bit, while the frames that later units need are still to come."""
    blocks = list(inverter.stream(mfcc[:, :frames].T))
    assert all(len(block) == BLOCK_HOPS * LATENT_HOP for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), inverter.invert(mfcc[:, :frames]))


def test_a_stream_is_as_late_as_it_says(quantising, mfcc):
    """Seven frames for four latents, twelve for the upsampling and the encoder, four for the deltas."""
    taken = 0

    def arriving():
        nonlocal taken
        for frame in itertools.cycle(mfcc.T):
            taken += 1
            yield frame

    stream, needed = quantising.stream(arriving()), []
    for _ in range(3):
        next(stream)
        needed.append(taken)
    assert quantising.latency_frames == 7 + 12 + 4
    assert needed == [quantising.latency_frames + 1 + 2 * block * BLOCK_HOPS for block in range(3)]


def test_a_batch_is_one_by_one(inverter, mfcc):
    arrays = [mfcc[:, :7], mfcc[:, 5:30], mfcc[:, 9:10]]
    units = inverter.encode(arrays)
    for array, one in zip(arrays, units):
        np.testing.assert_array_equal(one, inverter.encode(array))
        assert len(one) == -(-array.shape[1] // 2)
    audio = inverter.decode(units, seed=1, temperature=0.9)
    for one, of_one in zip(units, audio, strict=True):
        np.testing.assert_array_equal(of_one, inverter.decode(one, seed=1, temperature=0.9))


def test_without_a_length_there_are_as_many_units_again(inverter, mfcc):
    for frames in (2, 3, 8):
        units = inverter.encode(mfcc[:, :frames])
        audio = inverter.decode(units)
        assert len(audio) == (2 * len(units) - 1) * 160
        assert len(inverter.encode(inverter.features(audio, RATE), check_front_end=False)) == len(units)
    assert inverter.units_per_second == 50


def test_another_speaker_changes_the_audio_and_not_the_units(quantising, mfcc):
    units = quantising.encode(mfcc)
    assert len(np.unique(units)) > 3
    bob, ann = (quantising.decode(units, speaker=name) for name in quantising.speakers)
    assert not np.array_equal(bob, ann)
    np.testing.assert_array_equal(bob, quantising.decode(units))


def test_units_that_are_cut_decode_to_the_beginning(quantising, mfcc):
    """Up to what the upsampling looks ahead: there the last unit stands in for those that are gone."""
    units = quantising.encode(mfcc)
    whole = quantising.decode_codes(units)
    for count in (3, 10):
        cut = quantising.decode_codes(units[:count])
        geometry = quantising.geometry
        same = max(t for t in range(count * LATENT_HOP) if geometry.latent_span((t, t + 1))[1] <= count) + 1
        assert same > (count - 3) * LATENT_HOP
        np.testing.assert_array_equal(cut[:same], whole[:same])


def test_units_may_be_of_any_kind(quantising, mfcc):
    """Edited ones as well."""
    units = quantising.encode(mfcc[:, :6])
    assert units.dtype == np.uint16
    expected = quantising.decode(units)
    for same in (units.tolist(), tuple(units.tolist()), units.astype(np.int8), torch.from_numpy(units.astype(int))):
        np.testing.assert_array_equal(quantising.decode(same), expected)
    edited = units.copy()
    edited[1] = (edited[1] + 1) % 16
    assert not np.array_equal(quantising.decode(edited), expected)


WRONG = {
    "The unit at index 2 is 16; .*from 0 to 15": [3, 3, 16, 99],
    "The unit at index 0 is -1": np.array([-1, 3]),
    r"have the shape \(0,\)": np.zeros(0, int),
    r"have the shape \(1, 2\)": np.zeros((1, 2), int),
    r"have the shape \(\)": 5,
    "of the type float64": [1.0, 2.0],
    "of the type bool": np.array([True]),
    "not an array of numbers": [[1], [2, 3]],
}


@pytest.mark.parametrize("words", WRONG)
def test_what_the_codebook_does_not_have_is_refused(quantising, words):
    with pytest.raises(UserError, match=words):
        quantising.decode(WRONG[words])


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        (np.zeros((3, 7)), r"shape \(3, 7\).*\(1 or more, 8\)"),
        (np.zeros((0, 8)), r"shape \(0, 8\)"),
        (np.zeros(8), r"shape \(8,\)"),
        (np.full((1, 8), np.nan), "not finite"),
    ],
)
def test_latents_of_another_shape_are_refused(latents, words):
    with pytest.raises(UserError, match=words):
        Inverter(autoencoder(*KINDS["ae"])).decode(latents)


@given(count=st.integers(1, 5), samples=st.integers(0, 2000))
@examples(30)
def test_a_length_is_one_that_so_many_units_have(quantising, count, samples):
    """Where it is, audio of that length encodes to as many; everywhere else it is refused."""
    units = np.arange(count)
    if (count - 1) * LATENT_HOP <= samples < count * LATENT_HOP:
        assert len(quantising.decode_codes(units, samples=samples)) == samples
        assert quantising.geometry.encoder.latents_of(quantising.geometry.frames_of(samples)) == count
    else:
        with pytest.raises(UserError, match=f"samples={samples} does not match {count} units"):
            quantising.decode_codes(units, samples=samples)


def test_a_model_without_units_says_why(mfcc):
    without = Inverter(checkpoint())
    for call in (lambda: without.encode(mfcc), lambda: without.decode([1]), lambda: without.units_per_second):
        with pytest.raises(UserError, match=r"encoder\.strides is \[\]"):
            call()
    early = autoencoder()
    early.weights["bottleneck.ready"] = torch.tensor(False)
    with pytest.raises(UserError, match=r"no codebook yet.*bottleneck\.quantise_from=500"):
        Inverter(early).encode(mfcc)
    assert len(Inverter(early).invert(mfcc[:, :3])) == 320


def test_what_decode_cannot_use_is_refused(quantising):
    for arguments, words in (
        ({"speaker": "nobody"}, "nobody.*bob, ann"),
        ({"temperature": -1}, "temperature=-1"),
        ({"samples": [1, 2]}, "2 entries for 1 arrays"),
    ):
        with pytest.raises(UserError, match=words):
            quantising.decode([1, 2], **arguments)


def test_the_sentence_of_units_exact_is_in_its_units():
    """Written as text and read again, as mode=encode and mode=decode do."""
    inverter, sentence = Inverter.from_experiment("units_exact"), SENTENCES[0]
    text = " ".join(map(str, inverter.encode(inverter.features(sentence, RATE))))
    codes = inverter.decode_codes(np.array(text.split(), int), samples=len(sentence))
    assert np.array_equal(codes, mulaw.encode(sentence, 256))

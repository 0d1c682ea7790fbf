"""Whatever callers pass, the library gives what the documentation says or one sentence, and no warning."""

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from support.architectures import examples
from support.front_ends import FRONT_ENDS
from support.settings import DEMO, ROOT

from mfcc_wavenet import Inverter
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation import arguments

pytestmark = pytest.mark.filterwarnings("error")

WAV, RATE = soundfile.read(DEMO / "01_lighthouse.flac", dtype="float32")
INVERTER = Inverter.from_checkpoint(ROOT / "experiments" / "baseline")  # a record's folder
MFCC = INVERTER.features(WAV[:1600], RATE)[:, :3]

NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.complex_numbers()
OBJECTS = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner), max_leaves=5)
DTYPES = st.sampled_from(["f2", "f4", "f8", "i2", "i8", "u1", "?", "c8", "U3", "O"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
LIKE_OURS = st.sampled_from(["f4", "f8", "i2"]).flatmap(lambda dtype: arrays(dtype, (13, 2)))
TENSORS = arrays("f4", (13, 2)).map(torch.from_numpy)
ANYTHING = OBJECTS | ARRAYS | LIKE_OURS | TENSORS | st.lists(LIKE_OURS, max_size=2)


def result(call) -> object:
    """Of the call, or None where it was refused in one sentence."""
    try:
        return call()
    except UserError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return None


def test_arrays_may_be_of_any_kind():
    expected = INVERTER.invert(MFCC)
    tensor = torch.tensor(MFCC)
    for same in (
        tensor,
        tensor.clone().requires_grad_(),
        MFCC.tolist(),
        tuple(map(tuple, MFCC.tolist())),
        MFCC[:, ::-1][:, ::-1],
    ):
        np.testing.assert_array_equal(INVERTER.invert(same), expected)
    np.testing.assert_array_equal(
        INVERTER.invert(MFCC.astype(np.float16)), INVERTER.invert(np.float32(np.float16(MFCC)))
    )
    for batch in ([MFCC, tensor], (tensor, MFCC)):
        both = INVERTER.invert(batch)
        assert isinstance(both, list) and all(np.array_equal(one, expected) for one in both)
    assert INVERTER.invert([]) == INVERTER.invert(()) == []
    np.testing.assert_array_equal(
        INVERTER.features(torch.tensor(WAV[:999]), RATE), INVERTER.features(WAV[:999].tolist(), float(RATE))
    )


def test_no_samples_are_no_samples():
    empty = INVERTER.invert(MFCC, samples=0)
    assert empty.shape == (0,) and empty.dtype == np.float32
    none, some = INVERTER.invert_codes([MFCC, MFCC], samples=[0, 5])
    assert none.shape == (0,) and none.dtype == some.dtype and some.shape == (5,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed=-1"), ({"seed": 1.5}, "seed=1.5"), ({"seed": True}, "seed=True"),
        ({"top_k": 1.5}, "top_k=1.5"), ({"top_k": None}, "top_k=None"),
        ({"temperature": float("nan")}, "temperature=nan"), ({"temperature": "hot"}, "temperature=hot"),
        ({"temperature": 1e39}, "temperature=1e\\+39"),
        ({"samples": True}, "samples=True"), ({"samples": 1.5}, "samples=1.5"), ({"samples": -1}, "samples=-1"),
        ({"speaker": 3}, "speaker=3"), ({"speaker": ["demo"]}, "speaker="),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(UserError, match=words):
        INVERTER.invert(MFCC, **arguments)


@pytest.mark.parametrize(
    ("wav", "rate", "words"),
    [
        (np.zeros((100, 2)), RATE, r"shape \(100, 2\)"), (np.array([0.1, np.nan]), RATE, "finite"),
        (np.array([1, 2], np.int16), RATE, "divided by 32768"), (WAV * 32768, RATE, "divided by 32768"),
        (np.zeros(0), RATE, r"shape \(0,\)"), (None, RATE, "None"), ("a.wav", RATE, "a.wav"),
        (WAV, 0, "sample_rate=0"), (WAV, 44100.5, "sample_rate=44100.5"), (WAV, None, "sample_rate=None"),
        (WAV[:1], 768_000, r"shape \(0,\)"),
    ],
)  # fmt: skip
def test_wrong_audio_is_named(wav, rate, words):
    with pytest.raises(UserError, match=words):
        INVERTER.features(wav, rate)


@pytest.mark.parametrize("path", [None, 3, "nothing/here", "~nobody-of-that-name/x", "x" * 5000, "a\0b"])
def test_wrong_paths_are_named(path):
    with pytest.raises(UserError, match="checkpoint"):
        Inverter.from_checkpoint(path)


@pytest.mark.parametrize("name", [None, "../x", 3, ["baseline"]])
def test_wrong_experiments_are_named(name):
    with pytest.raises(UserError, match="no experiment"):
        Inverter.from_experiment(name)


@examples(150)
@given(given_=ANYTHING)
def test_anything_is_inverted_or_refused(given_):
    codes = result(lambda: INVERTER.invert_codes(given_))
    for one in codes if isinstance(codes, list) else [codes] if codes is not None else []:
        assert one.shape == (160,) and one.dtype == np.uint8


@examples(150)
@given(wav=ANYTHING, rate=st.just(RATE) | st.just(8000) | NUMBERS)
def test_anything_has_features_or_is_refused(wav, rate):
    features = result(lambda: INVERTER.features(wav, rate))
    assert features is None or (features.shape[0] == 13 and np.isfinite(features).all())


@examples(100)
@given(frames=ANYTHING, after=st.integers(0, 3))
def test_anything_is_streamed_or_refused(frames, after):
    """Wrong shapes may also come after right ones."""
    began = MFCC.T[:after]
    blocks = result(lambda: list(INVERTER.stream([*began, *frames] if isinstance(frames, list | tuple) else frames)))
    assert blocks is None or all(block.ndim == 1 and block.dtype == np.float32 for block in blocks)


def test_a_stream_of_another_front_end_ends_before_it_is_heard():
    """c0 last and HTK yield nothing; natural logarithms at most what 20 frames give."""
    last = np.roll(INVERTER.features(WAV[4000:12000], RATE), -1, axis=0)
    for foreign, most in ((last, 0), *((FRONT_ENDS[n](WAV, RATE, 13), k) for n, k in (("HTK", 0), ("Kaldi", 7)))):
        heard = []
        with pytest.raises(UserError, match="another front end"):
            for block in INVERTER.stream(foreign.T):
                heard.append(block)
        assert len(heard) <= most


@given(codes=arrays(st.sampled_from(["i8", "u1", "i2"]), st.integers(0, 5)), channels=st.integers(2, 300))
@examples(60)
def test_only_codes_are_decoded(codes, channels):
    audio = result(lambda: mulaw.decode(codes, channels))
    assert (audio is None) == bool(((codes < 0) | (codes >= channels)).any())


def test_nan_has_no_code():
    with pytest.raises(UserError, match="NaN"):
        mulaw.encode(np.array([0.0, np.nan]), 256)


def test_a_model_with_one_voice_refuses_a_choice():
    """Rather than ignoring it; a model of one speaker has nothing to choose, and one with an embedding has them all."""
    assert arguments.speaker_index("bob", ("ann", "bob"), channels=8) == 1
    assert arguments.speaker_index("ann", ("ann",), channels=0) == arguments.speaker_index(None, ("ann", "bob"), 0) == 0
    with pytest.raises(UserError, match=r"speaker=bob: this model has one voice for all of its 2 speakers"):
        arguments.speaker_index("bob", ("ann", "bob"), channels=0)

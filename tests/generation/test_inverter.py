"""Inverter: the pinned inverse is exact, lists and streams change nothing, and what does not fit is refused."""

import gc
import itertools
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import soundfile
from support.settings import ROOT

from mfcc_wavenet import Inverter, librosa
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.experiments import pinned_checkpoint
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation.generator import BLOCK_HOPS
from mfcc_wavenet.models import checkpoint as checkpoints

WAV, RATE = soundfile.read(ROOT / "mfcc_wavenet" / "data" / "demo" / "01_lighthouse.flac", dtype="float32")


@pytest.fixture(scope="module")
def inverter() -> Inverter:
    return Inverter.from_experiment("baseline")


@pytest.fixture(scope="module")
def mfcc(inverter) -> np.ndarray:
    return inverter.features(WAV, RATE)


def test_the_pinned_experiment_is_inverted_bit_for_bit(inverter, mfcc):
    """From (13, frames) alone, each of 53,360 codes; the audio is those codes' amplitudes."""
    codes = inverter.invert_codes(mfcc, samples=len(WAV))
    np.testing.assert_array_equal(codes, mulaw.encode(WAV, 256))
    audio = inverter.invert(mfcc[:, :40])
    assert audio.dtype == np.float32 and inverter.sample_rate == RATE
    np.testing.assert_array_equal(audio, mulaw.decode(inverter.invert_codes(mfcc[:, :40]), 256))


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "seed": 5}, {"temperature": 1.5, "top_k": 20}])
def test_a_list_gives_the_codes_of_each_array(inverter, mfcc, sampling):
    """Arrays of different lengths do not disturb each other, in whichever order they are."""
    arrays = [mfcc[:, :30], mfcc[:, 50:57], mfcc[:, 100:101], mfcc[:, 10:60]]
    forwards = inverter.invert_codes(arrays, **sampling)
    backwards = inverter.invert_codes(arrays[::-1], **sampling)[::-1]
    for array, one, other in zip(arrays, forwards, backwards):
        codes = inverter.invert_codes(array, **sampling)
        assert len(codes) == max(array.shape[1] - 1, 1) * 160
        np.testing.assert_array_equal(one, codes)
        np.testing.assert_array_equal(other, codes)


def test_a_checkpoints_temperature_is_the_default(inverter, mfcc):
    """Of arrays and of streams; 0 is greedy whatever the checkpoint has."""
    warm = Inverter(replace(checkpoints.load(pinned_checkpoint("baseline")), temperature=0.9))
    drawn = inverter.invert(mfcc[:, :30], temperature=0.9, seed=2, corrections=0)
    np.testing.assert_array_equal(warm.invert(mfcc[:, :30], seed=2, corrections=0), drawn)
    np.testing.assert_array_equal(np.concatenate(list(warm.stream(mfcc[:, :30].T, seed=2))), drawn)
    greedy = inverter.invert(mfcc[:, :30])
    np.testing.assert_array_equal(warm.invert(mfcc[:, :30], temperature=0), greedy)
    assert not np.array_equal(drawn, greedy)


@pytest.mark.parametrize("frames", [1, 2, 3, 9, 60])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 3}])
def test_a_stream_is_the_whole_exactly(inverter, mfcc, frames, sampling):
    """Bit for bit, however few frames there are."""
    blocks = list(inverter.stream(mfcc[:, :frames].T, **sampling))
    assert all(len(block) == BLOCK_HOPS * 160 for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), inverter.invert(mfcc[:, :frames], corrections=0, **sampling))


def test_a_stream_is_as_late_as_it_says(inverter, mfcc):
    """The first block needs the first frame and latency_frames more; from then on BLOCK_HOPS frames give one."""
    taken = 0

    def arriving():
        nonlocal taken
        for frame in mfcc[:, :30].T:
            taken += 1
            yield frame

    stream = inverter.stream(arriving())
    needed = []
    for _ in range(5):
        next(stream)
        needed.append(taken)
    assert needed == [inverter.latency_frames + 1 + block * BLOCK_HOPS for block in range(5)]


def test_an_endless_stream_takes_constant_memory(inverter, mfcc):
    """It keeps no frame that nothing still to come depends on."""
    stream, blocks = inverter.stream(itertools.cycle(mfcc.T)), 30

    def kept_after() -> int:
        """Bytes."""
        for _ in itertools.islice(stream, blocks):
            pass
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        kept = [kept_after() for _ in range(3)]
    finally:
        tracemalloc.stop()
    growth = min(kept[1] - kept[0], kept[2] - kept[1])  # without what libraries cache once
    # Less than the frames alone would take.
    assert growth < blocks * BLOCK_HOPS * sys.getsizeof(mfcc[:, 0].copy())


def test_other_rates_are_resampled(inverter):
    """MFCCs of the same sound at 48 kHz are close to those at 16 kHz."""
    tone = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000).astype(np.float32)
    low = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    one, other = inverter.features(tone, 48000), inverter.features(low, 16000)
    assert one.shape == other.shape == (13, 101)
    np.testing.assert_allclose(one[0, 5:-5], other[0, 5:-5], atol=15)  # c0, some -400 dB


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mfcc": np.zeros((12, 5))}, r"\(12, 5\).*\(13, 1 or more\)"),
        ({"mfcc": np.zeros(13)}, r"\(13,\)"),
        ({"mfcc": np.full((13, 5), np.nan)}, "finite"),
        ({"mfcc": np.full((13, 5), "a")}, "finite numbers"),
        ({"mfcc": np.zeros((13, 5)), "speaker": "nobody"}, "nobody.*demo"),
        ({"mfcc": np.zeros((13, 5)), "temperature": -1.0}, "temperature=-1.0"),
        ({"mfcc": np.zeros((13, 5)), "top_k": -2}, "top_k=-2"),
        ({"mfcc": np.zeros((13, 5)), "seed": -3}, "seed=-3"),
        ({"mfcc": np.zeros((13, 5)), "samples": 5000}, "samples=5000.*5 frames.*0 to 959"),
        ({"mfcc": [np.zeros((13, 5))], "samples": [800, 800]}, "samples has 2 entries for 1 arrays"),
    ],
)
def test_what_does_not_fit_is_refused(inverter, arguments, words):
    with pytest.raises(UserError, match=words):
        inverter.invert(**arguments)


def natural_log_mfcc(wav: np.ndarray, scale: float, n_mels: int) -> np.ndarray:
    """As python_speech_features, HTK and Kaldi make them: natural logarithms of mel energies, 16-bit scale or not."""
    mels = librosa.feature.melspectrogram(
        y=wav * scale, sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=n_mels, htk=True, norm=None
    )
    return scipy.fft.dct(np.log(mels + 1e-10), axis=0, norm="ortho")[:13]


@pytest.mark.parametrize("n_mels", [23, 26, 40])
def test_other_front_ends_are_refused(inverter, n_mels):
    """With what the model was trained on; and so is librosa's own of 16-bit integers."""
    foreign = [natural_log_mfcc(WAV, 32768.0, n_mels), librosa.feature.mfcc(y=WAV * 32768, sr=RATE, n_mfcc=13)]
    for mfcc in foreign:
        with pytest.raises(UserError, match=r"another front end.*n_fft=400.*n_mels=80"):
            inverter.invert(mfcc)


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.001, 0.0])
def test_quiet_speech_and_silence_are_not_refused(inverter, gain):
    """Nor speech at full scale, nor a stationary tone, nor noise."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=3200).astype(np.float32)
    tone = 0.9 * np.sin(np.arange(3200) * 0.3).astype(np.float32)
    for wav in (WAV[:3200] / np.abs(WAV).max() * gain, noise, tone):
        assert len(inverter.invert(inverter.features(wav.astype(np.float32), RATE))) == 3200


def test_importing_the_package_is_light():
    """No W&B, no Hydra, and no torch before something is imported from it; Inverter imports no tracker either."""
    program = (
        "import sys, mfcc_wavenet\n"
        "assert 'torch' not in sys.modules\n"
        "from mfcc_wavenet import Inverter\n"
        "assert 'torch' in sys.modules and not {'wandb', 'hydra'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_defaults_of_librosa_give_one_line(inverter, capsys):
    """Where there is too little to be certain: in a call, of one array or several, and in a stream; audio comes all the
    same. Where there is more, they are refused."""
    few = librosa.feature.mfcc(y=WAV[4000:25000], sr=RATE, n_mfcc=13)
    audio = inverter.invert(few)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search("probably .*librosa.*n_fft=2048.* noise.*n_fft=400.*hop_length=160.*n_mels=80", line)
    assert inverter.check(few) == line
    inverter.invert([few, few[:, :-1]], samples=[0, 0])
    assert capsys.readouterr().err.splitlines() == [line]
    np.testing.assert_array_equal(np.concatenate(list(inverter.stream(few.T))), audio)
    assert capsys.readouterr().err.splitlines() == [line]
    inverter.invert_codes(few, samples=0, check_front_end=False)
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match="most likely librosa"):
        inverter.invert(librosa.feature.mfcc(y=WAV, sr=RATE, n_mfcc=13))


def test_the_models_own_give_no_line(inverter, mfcc, capsys):
    """Nor do they while they arrive."""
    inverter.invert(mfcc, samples=0)
    for _ in zip(inverter.stream(mfcc.T), range(30)):
        pass
    assert not capsys.readouterr().err

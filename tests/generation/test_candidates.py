"""Several utterances are sampled from the same MFCCs, and the first is corrected to the envelope they agree on."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from support.checkpoints import autoencoder, checkpoint
from support.command import QUICK, CommandLine
from support.corpora import FEATURES, RATE, refused, speech
from support.settings import ROOT

from mfcc_wavenet import Inverter
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.generation.correction import agreed, checked_candidates, corrected
from mfcc_wavenet.generation.outputs import LEDGER
from mfcc_wavenet.models import checkpoint as checkpoints

FINER = replace(FEATURES, n_mfcc=FEATURES.n_mels)
LENGTHS = {"a": 1600, "b": 1750, "c": 640}
WAVS = {name: speech(0)[1000 : 1000 + length] for name, length in LENGTHS.items()}


@pytest.fixture(scope="module")
def inverter() -> Inverter:
    return Inverter(checkpoint(training=False))


def pair(wav: np.ndarray) -> list[np.ndarray]:
    """The same speech with errors that few coefficients do not show, and with the opposite ones, in decibels."""
    ripple = 10 ** (0.3 * np.sin(np.arange(1 + len(wav) // 2) * RATE / len(wav) / 50))
    spectrum = np.fft.rfft(wav)
    return [np.fft.irfft(spectrum * gain, len(wav)).astype(np.float32) for gain in (ripple, 1 / ripple)]


# --- what they agree on -----------------------------------------------------------------------------


def test_one_candidate_is_corrected_alone():
    """Bit for bit."""
    wav, _ = pair(speech(0))
    given = mfcc(speech(0), FEATURES)
    for times in (0, 1, 4):
        np.testing.assert_array_equal(agreed([wav], given, FEATURES, times), corrected(wav, given, FEATURES, times))


def test_errors_that_candidates_do_not_share_are_averaged_out():
    """By all of its mel bands the first is nearer to the original, which corrections to its MFCCs alone do not do."""
    given, fine, wavs = mfcc(speech(0), FEATURES), mfcc(speech(0), FINER), pair(speech(0))
    apart = [np.abs(mfcc(agreed(wavs[:count], given, FEATURES, 4), FINER) - fine).mean() for count in (1, 2)]
    assert apart[1] < 0.5 * apart[0]
    after = [np.abs(mfcc(wav, FEATURES) - given).mean() for wav in (wavs[0], agreed(wavs, given, FEATURES, 4))]
    assert after[1] < 0.1 * after[0]


def test_candidates_that_are_the_original_leave_it_as_it_is():
    """To the rounding of a Fourier transform and back."""
    wav = speech(1)
    np.testing.assert_allclose(agreed([wav] * 3, mfcc(wav, FEATURES), FEATURES, 4), wav, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 800])
def test_any_length_that_the_mfccs_may_have(samples):
    """It is kept, silence among the candidates or not; full scale is not passed."""
    given = mfcc(speech(0)[:640], FEATURES)
    wav = agreed([speech(0)[:samples], np.zeros(samples, np.float32)], given + 50, FEATURES, 4)
    assert wav.shape == (samples,) and wav.dtype == np.float32 and np.abs(wav).max(initial=0) <= 1


# --- an Inverter's ----------------------------------------------------------------------------------


def test_one_candidate_is_what_the_seed_gives(inverter):
    given, sampling = mfcc(WAVS["a"], FEATURES), {"temperature": 0.8, "seed": 5}
    alone = inverter.invert(given, **sampling)
    np.testing.assert_array_equal(inverter.invert(given, candidates=1, **sampling), alone)
    codes = inverter.invert_codes(given, **sampling)
    np.testing.assert_array_equal(alone, corrected(mulaw.decode(codes, 256), given, FEATURES, 4))


@pytest.mark.parametrize(("count", "corrections"), [(2, None), (5, 2)])
def test_candidates_are_what_the_next_seeds_give(inverter, count, corrections):
    """From the given one on, sample for sample, although they are generated as a batch."""
    given = mfcc(WAVS["b"], FEATURES)
    wavs = [
        inverter.invert(given, samples=1750, temperature=0.8, seed=5 + number, corrections=0) for number in range(count)
    ]
    assert not np.array_equal(wavs[0], wavs[1])
    wav = inverter.invert(given, samples=1750, temperature=0.8, seed=5, candidates=count, corrections=corrections)
    np.testing.assert_array_equal(wav, agreed(wavs, given, FEATURES, corrections or 4))


def test_a_list_gives_the_audio_of_each_array(inverter):
    """However many there are, of different lengths, nothing among them; more than one batch takes."""
    lengths = [*LENGTHS.values(), 0] * 3
    arrays = [mfcc(wav, FEATURES) for wav in [*WAVS.values(), WAVS["c"]]] * 3
    chosen = {"temperature": 0.8, "top_k": 20, "seed": 2, "candidates": 3}
    for array, samples, wav in zip(arrays, lengths, inverter.invert(arrays, samples=lengths, **chosen), strict=True):
        np.testing.assert_array_equal(wav, inverter.invert(array, samples=samples, **chosen))


def test_all_candidates_of_an_utterance_are_complete_at_once(inverter):
    """They are counted as one; each utterance is finished once, a shorter one before those that are longer."""
    added, finished = [], {}
    arrays = [mfcc(wav, FEATURES) for wav in WAVS.values()]
    codes = inverter.invert_candidates(
        arrays, 3, samples=list(LENGTHS.values()), speaker=None, temperature=0.8, top_k=0, seed=7,
        progress=added.append, finished=lambda index, made: finished.setdefault(index, [one.copy() for one in made]),
    )  # fmt: skip
    assert sum(added) == sum(LENGTHS.values()) and sorted(finished) == [0, 1, 2] and next(iter(finished)) == 2
    for index, of_one in enumerate(codes):
        np.testing.assert_array_equal(of_one, finished[index])


# --- files ------------------------------------------------------------------------------------------


@pytest.fixture
def type_in(tmp_path, monkeypatch, capsys) -> CommandLine:
    """Models that sample by default, and a folder of wavs."""
    for name, model in {"model": checkpoint(training=False), "units": autoencoder()}.items():
        checkpoints.save(tmp_path / f"{name}.pt", replace(model, temperature=0.8))
    (tmp_path / "in").mkdir()
    for name, wav in WAVS.items():
        soundfile.write(tmp_path / "in" / f"{name}.wav", wav, RATE, subtype="FLOAT")
    return CommandLine(tmp_path, monkeypatch, capsys)


def expected(inverter: Inverter, wav: np.ndarray, **chosen) -> np.ndarray:
    """Of a wav, as a file of 16 bits has it."""
    made = inverter.invert(mfcc(wav, FEATURES), samples=len(wav), temperature=0.8, **chosen)
    return np.clip(np.round(made * 2.0**15), -(2**15), 2**15 - 1)


def samples_of(path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


def test_files_are_what_an_inverter_makes(type_in, inverter):
    """One alone, and each in a folder, which is made again with another number of candidates, and not with the same."""
    line = "mode=generate checkpoint=model.pt sampling_seed=3"
    done = type_in(f"{line} input=in/a.wav output=a.wav candidates=3")
    assert done.code == 0 and "a.wav: 1,600 samples, " in done.out and "match" not in done.out, done
    for count, summary in ((1, "wrote 3 files"), (3, "wrote 3 files"), (3, "3 files existed already")):
        done = type_in(f"{line} input=in output=out candidates={count}")
        assert done.code == 0 and summary in done.out, done
        for name, wav in WAVS.items():
            made = samples_of(type_in.folder / "out" / f"{name}.wav")
            np.testing.assert_allclose(made, expected(inverter, wav, seed=3, candidates=count), atol=1)
    np.testing.assert_array_equal(samples_of(type_in.folder / "a.wav"), samples_of(type_in.folder / "out" / "a.wav"))


def test_a_folder_that_was_killed_resumes(type_in):
    """A file is there when all of its candidates were; the same command makes the rest."""
    folder, words = type_in.folder, ("mode=generate", "checkpoint=model.pt", "input=in", "output=out", "candidates=2")
    soundfile.write(folder / "in" / "long.wav", np.resize(speech(1), 20 * RATE), RATE)
    ledger = folder / "out" / LEDGER
    with subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words], cwd=folder, stdout=subprocess.PIPE
    ) as process:
        while not ledger.is_file() or ledger.read_text().count('"output"') < 3:
            assert process.poll() is None and not time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL and not (folder / "out" / "long.wav").exists()
    (folder / "in" / "long.wav").unlink()
    soundfile.write(folder / "in" / "rest.wav", speech(1)[:1600], RATE)
    done = type_in(" ".join(words))
    assert done.code == 0 and "wrote 1 file," in done.out and "3 files existed already" in done.out, done
    assert type_in(" ".join([*words[:3], "output=whole", "candidates=2"])).code == 0
    for name in (*WAVS, "rest"):
        whole, resumed = (samples_of(folder / one / f"{name}.wav") for one in ("whole", "out"))
        np.testing.assert_array_equal(whole, resumed)


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "two", None])
def test_a_number_that_is_none_is_refused(inverter, wrong):
    sentence = f"candidates={wrong}: it must be a whole number, 1 or more."
    assert refused(checked_candidates, wrong, Sampling(0.8), 4, inverter.settings) == sentence
    assert refused(inverter.invert, mfcc(WAVS["a"], FEATURES), temperature=0.8, candidates=wrong) == sentence


def test_several_are_refused_where_they_would_change_nothing(inverter):
    """One is the default of every model."""
    given = mfcc(WAVS["a"], FEATURES)
    assert "at temperature=0 are all the same" in refused(inverter.invert, given, temperature=0, candidates=2)
    chosen = {"temperature": 0.8, "corrections": 0, "candidates": 2}
    assert "with corrections=0 change nothing" in refused(inverter.invert, given, **chosen)
    of_units = Inverter(autoencoder())
    for corrections in (None, 4):
        chosen = {"temperature": 0.8, "corrections": corrections, "candidates": 2}
        assert "is not for an autoencoder" in refused(of_units.invert, given, **chosen)
        assert len(of_units.invert(given[:, :3], **chosen | {"candidates": 1})) == 320


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mode=generate checkpoint=model.pt input=in candidates=0", ["candidates=0: ", "1 or more"]),
        ("mode=generate checkpoint=model.pt input=in candidates=-1", ["candidates=-1: ", "or more"]),
        ("mode=generate checkpoint=model.pt input=in candidates=1.5", ["candidates", "1.5"]),
        ("mode=generate checkpoint=model.pt input=in candidates=true", ["candidates", "True"]),
        ("mode=generate checkpoint=model.pt input=in candidates=2 temperature=0", ["candidates=2", "all the same"]),
        ("mode=generate checkpoint=model.pt input=in candidates=2 corrections=0", ["candidates=2 with corrections=0"]),
        ("mode=generate checkpoint=units.pt input=in candidates=2", ["candidates=2 is not for an autoencoder"]),
        ("mode=evaluate checkpoint=model.pt data.root=in candidates=0", ["candidates=0: ", "1 or more"]),
        ("mode=evaluate checkpoint=model.pt data.root=in candidates=2 temperature=0", ["all the same"]),
        ("mode=encode checkpoint=units.pt input=in candidates=2", ["candidates=... is for mode=generate or mode=ev"]),
        ("mode=decode checkpoint=units.pt input=x.npz candidates=2", ["candidates=... is for mode=generate or"]),
        ("mode=pin checkpoint=model.pt candidates=2", ["candidates=... is for mode=generate or mode=evaluate"]),
        (f"{QUICK} candidates=2", ["candidates=... is for mode=generate or mode=evaluate; this is mode=train."]),
    ],
)
def test_what_cannot_be_done_is_one_sentence(type_in, line, words):
    type_in.refused(line, *words)
    assert not (type_in.folder / "inverted").exists()

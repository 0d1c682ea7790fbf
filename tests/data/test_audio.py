"""One file at a time: what is there is read to its end, and what would be wrong is refused in one sentence."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.corpora import FEATURES, RATE, refused, speech

from mfcc_wavenet.data import audio
from mfcc_wavenet.data.audio import MAX_PEAK, read_audio

SIZE_OF_DATA, SAMPLE_RATE = 40, 24  # their places in the header of a WAV


def with_number(path: Path, place: int, number: int) -> Path:
    """The WAV file, changed: that number in its header."""
    content = bytearray(path.read_bytes())
    content[place : place + 4] = struct.pack("<I", number)
    path.write_bytes(content)
    return path


def write_mp3(path: Path, wave: np.ndarray, mode: str, declares_length: bool) -> Path:
    """MP3 of constant or variable bit rate, without its first frame if that is not to say how long it is."""
    with soundfile.SoundFile(
        path, "w", RATE, 1, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5
    ) as file:
        file.write(wave)
    content = path.read_bytes()
    assert (b"Xing" in content[:64]) or (b"Info" in content[:64])
    if not declares_length:
        path.write_bytes(content[content.index(content[:2], 4) :])
    return path


# --- to the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "IMA_ADPCM", "GSM610"])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_are_what_one_read_gives(tmp_path, monkeypatch, subtype, channels):
    """GSM can be read only once, from its start to its end."""
    if subtype == "GSM610" and channels == 2:
        pytest.skip("GSM has one channel")
    wave = np.stack([speech(number) for number in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype)
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        whole = file.read(file.frames, dtype="float32", always_2d=True)
    monkeypatch.setattr(audio, "BLOCK_VALUES", 1001)
    assert np.array_equal(read_audio(tmp_path / "a.wav", RATE), whole.mean(axis=1))


@pytest.mark.parametrize("loud_first", [False, True])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_does_not_say_how_long_it_is_is_read_to_its_end(tmp_path, mode, loud_first):
    """An estimate from its first frame is too long where that is quiet, and too short where it is loud."""
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, RATE).astype(np.float32)
    start = noise if loud_first else np.zeros(RATE, np.float32)
    wave = np.concatenate([start, *(speech(number) for number in range(4))])
    known = read_audio(write_mp3(tmp_path / "known.mp3", wave, mode, declares_length=True), RATE)
    assert len(known) == len(wave)
    path = write_mp3(tmp_path / "a.mp3", wave, mode, declares_length=False)
    path.write_bytes(b"ID3\x03\0\0\0\0\x02\x00" + bytes(256) + path.read_bytes())
    found = read_audio(path, RATE)
    assert 0 < len(found) - len(wave) < 3000  # the delay of the codec, which that frame would have said
    delay = max(range(2000), key=lambda shift: found[shift : shift + len(wave) - 2000] @ known[: len(wave) - 2000])
    assert np.abs(found[delay:][: len(known)] - known[: len(found) - delay]).max() < 1e-5


def test_an_mp3_that_ends_before_it_says_is_truncated(tmp_path):
    path = write_mp3(tmp_path / "a.mp3", np.tile(speech(), 8), "VARIABLE", declares_length=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"truncated, {4 * len(speech()) // 10000}" in refused(read_audio, path, RATE)


@pytest.mark.parametrize("promised", [2_000_000_000, 0x7FFFF000, 0xFFFFFFFF, "44 too many"])
def test_a_header_that_promises_what_nobody_wrote_is_complete(tmp_path, promised):
    """Placeholders of who writes to a pipe, and a size that counts the header."""
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), RATE)
    with_number(path, SIZE_OF_DATA, path.stat().st_size if promised == "44 too many" else promised)
    assert len(read_audio(path, RATE)) == len(speech())


def test_a_wav_that_was_cut_is_refused(tmp_path):
    """By as little as a few milliseconds."""
    soundfile.write(tmp_path / "a.wav", speech(), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    for missing in (46, 200, len(content) // 2):
        (tmp_path / "a.wav").write_bytes(content[:-missing])
        sentence = refused(read_audio, tmp_path / "a.wav", RATE)
        assert f"truncated, {2 * len(speech()) - missing} of {2 * len(speech())} bytes" in sentence


def test_a_flac_from_a_pipe_does_not_say_how_long_it_is(tmp_path):
    """36 bits of its header are 0 then."""
    soundfile.write(tmp_path / "a.flac", speech(), RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert np.array_equal(read_audio(tmp_path / "a.flac", RATE), speech())


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2**31 - 1])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    """Before a second of it becomes 16,000, or billions of samples."""
    soundfile.write(tmp_path / "a.wav", np.zeros(10**6, np.float32), RATE)
    sentence = refused(read_audio, with_number(tmp_path / "a.wav", SAMPLE_RATE, rate), RATE)
    assert f"{rate} Hz" in sentence or "not readable as audio" in sentence


def test_what_does_not_fit_into_memory_is_refused(tmp_path):
    """From the header, before anything is read or allocated."""
    soundfile.write(tmp_path / "a.flac", speech(), RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(content)
    sentence = refused(read_audio, tmp_path / "a.flac", RATE)
    assert "68,719,476,735 samples need 1,792 GiB of memory" in sentence and "several files" in sentence


@pytest.mark.parametrize("factor", [32768.0, 9.0])
def test_integers_stored_as_floats_are_refused(tmp_path, factor):
    """Beyond any peak that is a matter of level; up to it, every amplitude is kept."""
    wave = speech() / np.abs(speech()).max()
    soundfile.write(tmp_path / "a.wav", wave * factor, RATE, subtype="FLOAT")
    assert f"its peak is {factor:,.6g}" in refused(read_audio, tmp_path / "a.wav", RATE)
    soundfile.write(tmp_path / "a.wav", wave * MAX_PEAK, RATE, subtype="FLOAT")
    assert np.array_equal(read_audio(tmp_path / "a.wav", RATE), np.float32(wave * MAX_PEAK))


def test_only_regular_files_are_read(tmp_path):
    """At once: nobody waits for who writes to a pipe, and a device has no end."""
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path("/dev/zero"), tmp_path):
        assert f"{path}: not a regular file" in refused(read_audio, path, RATE)
    assert "No such file" in refused(read_audio, tmp_path / "none.wav", RATE)
    assert "File name too long" in refused(read_audio, tmp_path / ("x" * 300), RATE)
    assert "null byte" in refused(read_audio, tmp_path / "a\0b", RATE)


def test_a_name_that_is_not_text_is_a_name(tmp_path):
    path = tmp_path / os.fsdecode(b"gr\xfc\xdfe.mp3")
    write_mp3(tmp_path / "a.mp3", speech(), "CONSTANT", declares_length=False).rename(path)
    assert len(read_audio(path, FEATURES.sample_rate)) > len(speech())

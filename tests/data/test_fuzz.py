"""Whatever bytes a file holds, there is audio or one sentence, and nothing else; and never much memory."""

import tempfile
import tracemalloc
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given
from support.architectures import examples, random_type_checks
from support.corpora import HOP, RATE, prepare_from, speech

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.sources import find_sources

pytestmark = random_type_checks

FORMATS = ("wav", "flac", "mp3", "ogg", "aiff", "au")
HEADER_BYTES = 120  # where most changes are made
MAX_BYTES = 2**28  # of memory: audio of half a second takes far less, at whatever rate its header claims


@cache
def encoded(suffix: str) -> bytes:
    """Half a second of speech as a file of that format."""
    with tempfile.NamedTemporaryFile(suffix=f".{suffix}") as file:
        soundfile.write(file.name, speech(), RATE)
        return Path(file.name).read_bytes()


def changed(suffix: str, changes: list[tuple[float, int, bool]], length: float) -> bytes:
    """Bytes at those fractions of the header, or of the whole file, replaced; then cut to that fraction."""
    content = bytearray(encoded(suffix))
    for place, byte, in_header in changes:
        content[int(place * (HEADER_BYTES if in_header else len(content)))] = byte
    return bytes(content[: int(length * len(content))])


FRACTIONS = st.floats(0, 1, exclude_max=True)
BYTES = st.integers(0, 255) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])
LENGTHS = st.just(1.0) | FRACTIONS
HEADERS = st.lists(st.tuples(FRACTIONS, BYTES, st.just(True)), max_size=6)
ANYWHERE = st.lists(st.tuples(FRACTIONS, BYTES, st.booleans()), max_size=6)


def is_sentence(error: UserError) -> bool:
    return "\n" not in str(error) and str(error).endswith(".")


@pytest.mark.parametrize("suffix", FORMATS)
@examples(150)
@given(changes=HEADERS | ANYWHERE, length=LENGTHS)
def test_changed_audio_is_audio_or_a_sentence(suffix, changes, length):
    """Headers changed, content changed, cut anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        path.write_bytes(changed(suffix, changes, length))
        tracemalloc.start()
        try:
            audio = read_audio(path, RATE, HOP)
            assert audio.dtype == np.float32 and audio.ndim == 1 and len(audio) >= HOP and np.isfinite(audio).all()
        except UserError as error:
            assert str(path) in str(error) and is_sentence(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MAX_BYTES


@examples(10)
@given(rows=st.lists(st.tuples(st.sampled_from(FORMATS), HEADERS, LENGTHS), min_size=1, max_size=4))
def test_a_folder_of_changed_audio_is_a_corpus_or_a_sentence(rows):
    """Of what can be used, all is there; the codes and frames of it are finite."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "audio").mkdir()
        for number, (suffix, changes, length) in enumerate(rows):
            (folder / "audio" / f"{number}.{suffix}").write_bytes(changed(suffix, changes, length))
        try:
            corpus = prepare_from(folder, folder / "audio")
        except UserError as error:
            assert is_sentence(error)
        else:
            assert 0 < len(corpus) <= len(rows)
            assert all(np.isfinite(corpus.frames(utterance)).all() for utterance in range(len(corpus)))


WORDS = st.sampled_from(
    ["anna", "\t", "\n", "\r\n", " ", "a.wav", "none.wav", "~", "~nobody/", "/", ".", "..", "/dev/zero", "x" * 300]
)
TEXT = st.lists(WORDS, max_size=12).map("".join).map(str.encode)


@examples(200)
@given(manifest=TEXT | st.binary(max_size=60) | st.tuples(TEXT, st.binary(max_size=9)).map(b"".join))
def test_any_manifest_is_sources_or_a_sentence(manifest):
    """All of them regular files, spoken by someone whose name is text."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a.wav").write_bytes(encoded("wav"))
        (Path(name) / "manifest").write_bytes(manifest)
        try:
            sources = find_sources((f"{name}/manifest",))
        except UserError as error:
            assert is_sentence(error)
        else:
            assert sources and all(source.path.is_file() for source in sources)
            assert all(source.speaker.encode() for source in sources)

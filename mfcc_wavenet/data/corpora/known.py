"""The corpora that data.corpus names, and how they are found or downloaded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import expanded
from mfcc_wavenet.config.settings import DataSettings
from mfcc_wavenet.data.corpora.archives import of_torchaudio
from mfcc_wavenet.data.corpora.layouts import WHOLE, Layout, ListedLayout
from mfcc_wavenet.data.corpora.source import Source

LIBRI_SUBSETS = (
    "train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other", "test-clean", "test-other",
)  # fmt: skip
ARCTIC_SUBSETS = (
    "aew", "ahw", "aup", "awb", "axb", "bdl", "clb", "eey", "fem", "gka", "jmk", "ksp", "ljm", "lnh", "rms", "rxr",
    "slp", "slt",
)  # fmt: skip

CORPORA = {
    "librispeech": Layout(
        title="LibriSpeech",
        home="LibriSpeech",
        subsets=LIBRI_SUBSETS,
        audio="{}",
        utterance=re.compile(r"(?P<speaker>\d+)/(?P<chapter>\d+)/(?P<id>(?P=speaker)-(?P=chapter)-\d+)", re.ASCII),
        archives=partial(of_torchaudio, "librispeech", r"(.+)\.tar\.gz"),
        in_archive="LibriSpeech",
        speakers_file="SPEAKERS.TXT",
        speaker_line=re.compile(r"(?P<speaker>\d+)\s*\|\s*\w\s*\|\s*(?P<subset>[\w-]+)", re.ASCII),
    ),
    "libritts": Layout(
        title="LibriTTS",
        home="LibriTTS",
        subsets=LIBRI_SUBSETS,
        audio="{}",
        utterance=re.compile(r"(?P<speaker>\d+)/(?P<chapter>\d+)/(?P<id>(?P=speaker)_(?P=chapter)_\d+_\d+)", re.ASCII),
        archives=partial(of_torchaudio, "libritts", r"(.+)\.tar\.gz"),
        in_archive="LibriTTS",
    ),
    "ljspeech": ListedLayout(
        title="LJSpeech",
        home="LJSpeech-1.1",
        subsets=(WHOLE,),
        audio="wavs",
        utterance=re.compile(r"(?P<id>LJ\d{3}-\d{4})", re.ASCII),
        archives=partial(of_torchaudio, "ljspeech", r"()LJSpeech"),
        in_archive="LJSpeech-1.1",
        speaker="LJ",
    ),
    "vctk": Layout(
        title="VCTK 0.92",
        home="VCTK-Corpus-0.92",
        subsets=(WHOLE,),
        audio="wav48_silence_trimmed",
        utterance=re.compile(r"(?P<speaker>p\d+|s5)/(?P<id>(?P=speaker)_\d+)_mic1", re.ASCII),
        archives=partial(of_torchaudio, "vctk", r"()VCTK"),
        unwanted=re.compile(r"(p\d+|s5)/\w+_mic2", re.ASCII),
        speakers_file="speaker-info.txt",
        speaker_line=re.compile(r"(?P<speaker>p\d+|s5)\s", re.ASCII),
    ),
    "cmu_arctic": Layout(
        title="CMU ARCTIC",
        home="ARCTIC",
        subsets=ARCTIC_SUBSETS,
        audio="cmu_us_{}_arctic/wav",
        utterance=re.compile(r"(?P<id>arctic_[ab]\d{4})", re.ASCII),
        archives=partial(of_torchaudio, "cmuarctic", r"cmu_us_(\w+)_arctic"),
        speaker="{subset}",
        identity="{subset}/{id}",  # the speakers read the same sentences
    ),
}


def find_known(corpus: str, root: str, subsets: tuple[str, ...] | None) -> list[Source]:
    """The utterances of a corpus that lies in the folder root; UserError if they are not there or unreadable."""
    with _os_errors_as_user_errors(f"data.root={root}: cannot be read"):
        return CORPORA[corpus].sources(expanded(root), subsets)


def download(data: DataSettings) -> list[Source]:
    """The utterances of the corpus, of which what is not there is downloaded first; UserError if it cannot be had."""
    if data.corpus is None:
        raise UserError(f"mode=download is for known corpora: data={' or data='.join(CORPORA)}.")
    with _os_errors_as_user_errors(f"data.root={data.root[0]}: {CORPORA[data.corpus].title} could not be written"):
        CORPORA[data.corpus].download(expanded(data.root[0]), data.subsets)
    return find_known(data.corpus, data.root[0], data.subsets)


@contextmanager
def _os_errors_as_user_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{what} ({error.strerror or error}).") from error

"""Utterances of a corpus with their original audio, of which a prepared corpus keeps only the codes."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.sources import Source, find_sources
from mfcc_wavenet.data.windows import Windows


class Clip(NamedTuple):
    """An utterance, or its beginning."""

    name: str
    speaker: int  # as the model numbers them
    original: Float32[np.ndarray, " samples"]  # at the rate of the features, full scale 1


def clips(windows: Windows, settings: Settings, count: int, seconds: float) -> list[Clip]:
    """As many utterances of a corpus, or all, spread evenly over it, and of each as many seconds from its start.

    windows: of the corpus that was prepared from the sources in the settings. UserError if a file of it is gone.
    """
    longest = round(seconds * settings.features.sample_rate)
    corpus, by_id = windows.corpus, _by_id(settings)
    chosen = np.arange(len(corpus)) if count >= len(corpus) else (np.arange(count) + 0.5) * len(corpus) / count
    found = []
    for utterance in chosen.astype(int).tolist():
        original = _original(windows, utterance, by_id, settings)[:longest]
        found.append(Clip(corpus.names[utterance], int(windows.speaker_index[utterance]), original))
    return found


def _by_id(settings: Settings) -> dict[str, list[Source]]:
    sources = defaultdict(list)
    data = settings.data
    for source in find_sources(data.root, data.corpus, data.subsets):
        sources[source.id].append(source)
    return sources


def _original(windows: Windows, utterance: int, by_id: dict[str, list[Source]], settings: Settings) -> np.ndarray:
    """The audio whose codes the corpus has; several files of a list may have the same id."""
    corpus, features = windows.corpus, settings.features
    for source in by_id.get(corpus.ids[utterance], []):
        audio = read_audio(source.path, features.sample_rate, features.hop_length)[: corpus.lengths[utterance]]
        codes = mulaw.encode(audio, corpus.quantization_channels, corpus.preemphasis)
        if np.array_equal(codes, corpus.codes(utterance)):
            return audio
    raise UserError(
        f"The audio of {corpus.names[utterance]} is not in data.root any more as it was when the corpus was prepared."
    )

"""What a model generates free-running, from MFCCs alone, next to the audio that they are of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Integer
from tqdm import tqdm

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.data.mulaw import decode
from mfcc_wavenet.data.prepared import splits
from mfcc_wavenet.data.prepared.prepare import prepare
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.sharing import ALONE, Alone
from mfcc_wavenet.generation.generator import GREEDY, Generator
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.checkpoint import Checkpoint


class Sample(NamedTuple):
    """An utterance and what a model makes of its MFCCs, as amplitudes in [-1, 1]."""

    name: str
    original: Float32[np.ndarray, " samples"]
    generated: Float32[np.ndarray, " samples"]


def corpus_windows(checkpoint: Checkpoint, processes: Alone = ALONE, part: str = splits.TRAIN) -> Windows:
    """That part of the corpus of the checkpoint's settings, normalised and indexed as its model expects.

    processes: that open the same one, once the first of them has prepared it. UserError where the part is empty.
    """
    settings = checkpoint.settings
    corpus = processes.open_corpus(lambda: prepare(settings.data, settings.features, *settings.wavenet.coding))
    corpus = splits.part(corpus, settings.data, part)
    speakers = checkpoint.speakers if settings.wavenet.speaker_channels else None
    statistics = checkpoint.statistics
    linear_prediction = LinearPrediction.of(settings.features, settings.wavenet, statistics)
    return Windows(
        corpus, checkpoint.geometry, settings.window, statistics, speakers, settings.train.seed, linear_prediction
    )


def generated(
    model: Model, windows: Windows, utterances: Sequence[int], max_samples: int | None = None,
    sampling: Sampling = GREEDY, processes: Alone = ALONE,
) -> list[Integer[np.ndarray, " _"]]:  # fmt: skip
    """Free-running codes of each of these utterances, from its MFCCs and its length alone.

    max_samples: of each utterance; None: all of it. processes: that share them, and of which each gets all codes.
    """
    lengths = [windows.corpus.lengths[utterance] for utterance in utterances]
    own = processes.share(lengths)
    codes = _generated(model, windows, [utterances[number] for number in own], max_samples, sampling)
    return list(processes.collect(dict(zip(own, codes))).values())


def _generated(
    model: Model, windows: Windows, utterances: Sequence[int], max_samples: int | None, sampling: Sampling
) -> list[Integer[np.ndarray, " _"]]:
    if not utterances:  # as where no sound is asked for: packing the weights takes its time
        return []
    corpus = windows.corpus
    lengths = [min(corpus.lengths[utterance], max_samples or corpus.samples) for utterance in utterances]
    generator = Generator(model, linear_prediction=windows.linear_prediction)
    with tqdm(total=sum(lengths), desc="generating", unit="sample", leave=False, disable=None) as bar:
        return generator.generate_all(
            [generator.encoder(windows.frames(utterance)) for utterance in utterances],
            [windows.speaker_index[utterance] for utterance in utterances],
            lengths,
            sampling,
            progress=bar.update,
        )


def first_utterances(
    model: Model, windows: Windows, settings: Settings, sampling: Sampling, processes: Alone = ALONE
) -> Iterator[Sample]:
    """The start of each of the first utterances, as train.sample_utterances and train.sample_seconds say, inverted."""
    corpus = windows.corpus
    max_samples = round(settings.train.sample_seconds * settings.features.sample_rate)
    utterances = range(min(settings.train.sample_utterances, len(corpus)) if max_samples else 0)
    for utterance, codes in zip(utterances, generated(model, windows, utterances, max_samples, sampling, processes)):
        original = corpus.codes(utterance)[:max_samples]
        amplitudes = (decode(c, corpus.quantization_channels, corpus.preemphasis) for c in (original, codes))
        yield Sample(corpus.names[utterance], *amplitudes)


def reproduced(model: Model, windows: Windows, processes: Alone = ALONE) -> int:
    """Samples that free-running generation gives back exactly, over all utterances."""
    own = processes.share(windows.corpus.lengths)
    pairs = zip(own, _generated(model, windows, own, None, GREEDY))
    same = sum(int((copy == windows.corpus.codes(utterance)).sum()) for utterance, copy in pairs)
    return sum(processes.gather(same))

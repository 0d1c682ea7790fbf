"""What the latents of an autoencoder are worth: how many bits they carry, what the decoder makes of them, who speaks.

The decoder of a WaveNet autoencoder may ignore its latents, and the likelihood alone hardly shows it: units of some 300
bit/s can save no more than 0.013 nats of each sample. What is lost with the latents of another place does.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped

from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.probe import speaker_accuracy
from mfcc_wavenet.evaluation.sharing import ALONE, Alone
from mfcc_wavenet.evaluation.teacher_forced import PASS_WINDOW, pass_of
from mfcc_wavenet.generation.cpu.encoder import PackedEncoder
from mfcc_wavenet.generation.float32 import float32_products
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.bottleneck import entropy_bits

MAX_PROBED = 2000  # utterances that speakers are probed in, spread evenly over the corpus
PROBED = ("mfcc", "latents", "units")


class _Utterance(NamedTuple):
    """What was found of one."""

    latents: int
    counts: Int64[np.ndarray, " K"] | None  # of each unit; None: there are none
    margin: float | None
    elsewhere: float  # log likelihood in nats, with the latents of another place
    vectors: dict[str, Float32[np.ndarray, " _"]]  # what speakers are probed in, of utterances that are


@torch.no_grad()
def latent_figures(
    model: Model, windows: Windows, nats: float, sample_rate: int, processes: Alone = ALONE
) -> dict[str, float | int | None]:
    """Measures of the latents of a corpus, by name; none of a model without an encoder.

    nats: per sample, with the utterances' own latents. processes: that share the utterances, and of which each gets the
    same result. None where there is no such measure: of units without a codebook, of speakers where there are not 2
    with 10 utterances each.
    """
    if model.encoder is None:
        return {}
    was_training = model.training
    model.eval()
    encoder, corpus = PackedEncoder(model), windows.corpus
    probed = set(np.linspace(0, len(corpus) - 1, min(len(corpus), MAX_PROBED)).astype(int).tolist())
    own = {
        utterance: _found(model, encoder, windows, utterance, utterance in probed)
        for utterance in processes.share(corpus.lengths)
    }
    model.train(was_training)
    found = list(processes.collect(own).values())
    rate = sample_rate / model.geometry.latent_hop
    return {
        "latents": sum(one.latents for one in found),
        "latent_rate_hz": rate,
        "gain": -sum(one.elsewhere for one in found) / corpus.samples - nats,
        **_of_units(found, rate),
        **_of_speakers(found, [corpus.speakers[number] for number in sorted(probed)]),
    }


def _found(model: Model, encoder: PackedEncoder, windows: Windows, utterance: int, is_probed: bool) -> _Utterance:
    frames = windows.frames(utterance)
    transmitted = encoder.encode(frames)
    has_units = encoder.codebook is not None
    counts = np.bincount(transmitted, minlength=len(encoder.codebook)) if has_units else None
    vectors = {}
    if is_probed:
        vectors = {"mfcc": _moments(frames), "latents": _moments(encoder.unquantised(frames))}
        if has_units:
            vectors["units"] = (counts / counts.sum()).astype(np.float32)
    return _Utterance(
        len(transmitted),
        counts,
        encoder.margin(frames) if has_units else None,
        _elsewhere(model, windows, utterance, encoder.latents(transmitted)),
        vectors,
    )


def _elsewhere(model: Model, windows: Windows, utterance: int, latents: Float32[np.ndarray, "J D"]) -> float:
    """The log likelihood of the utterance, teacher-forced, with its latents half an utterance away from their place."""
    device = next(model.parameters()).device
    moved, total = np.roll(latents, len(latents) // 2, axis=0), 0.0
    for number, batch in enumerate(windows.whole(utterance, PASS_WINDOW)):
        span = model.geometry.window_latent_span((number * PASS_WINDOW, (number + 1) * PASS_WINDOW))
        of_window = torch.from_numpy(moved[clamped_indices(span, len(moved))])[None]
        with float32_products(device):
            predictions = model.predict(batch.to(device), of_window.to(device))
        total += pass_of(predictions).log_likelihood
    return total


def _moments(vectors: Shaped[np.ndarray, "T C"]) -> Float32[np.ndarray, " 2*C"]:
    """Their mean and deviation."""
    vectors = vectors.astype(np.float64)
    return np.concatenate([vectors.mean(0), vectors.std(0)]).astype(np.float32)


def _of_units(found: Sequence[_Utterance], rate: float) -> dict[str, float | int | None]:
    names = ("units_used", "units_perplexity", "bits_per_second", "max_bits_per_second", "unit_margin")
    if found[0].counts is None:
        return dict.fromkeys(names)
    counts = sum(one.counts for one in found)
    bits = entropy_bits(counts)
    margin = min(one.margin for one in found)
    return dict(zip(names, (int((counts > 0).sum()), 2**bits, bits * rate, math.log2(len(counts)) * rate, margin)))


def _of_speakers(found: Sequence[_Utterance], speakers: Sequence[str]) -> dict[str, float | None]:
    """speakers: of the utterances that are probed, in their order."""
    probed = [one.vectors for one in found if one.vectors]
    accuracies = {
        name: speaker_accuracy(np.stack([vectors[name] for vectors in probed]).astype(np.float64), speakers)
        for name in PROBED
        if name in probed[0]
    }
    known = [one for one in accuracies.values() if one is not None]
    return {
        **{f"speaker_accuracy_{name}": getattr(accuracies.get(name), "accuracy", None) for name in PROBED},
        "speaker_accuracy_chance": known[0].chance if known else None,
    }

"""What latents are worth: counted exactly, the same in parts, and 0 where the decoder does not look at them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from support.architectures import (
    ARCHITECTURE,
    AUTOENCODER,
    Architecture,
    autoencoders,
    examples,
    random_type_checks,
    whole_utterance,
    windows,
)

from mfcc_wavenet.evaluation import latents
from mfcc_wavenet.evaluation.latents import latent_figures
from mfcc_wavenet.evaluation.sharing import Alone
from mfcc_wavenet.evaluation.teacher_forced import teacher_forced
from mfcc_wavenet.generation.cpu.encoder import PackedEncoder
from mfcc_wavenet.models.base import Model

pytestmark = random_type_checks

RATE = 16000
LONG = (400, 16, 333)  # samples
MANY = tuple(60 + 7 * number for number in range(24))  # of utterances by two speakers in turns


def figures(architecture: Architecture, model: Model, lengths: tuple[int, ...] = LONG, processes=None) -> dict:
    corpus = windows(architecture, lengths=lengths)
    nats = teacher_forced(model, corpus).nats
    return latent_figures(model, corpus, nats, RATE, *filter(None, [processes]))


@examples(15)
@given(architecture=autoencoders())
def test_the_gain_is_what_is_lost_with_the_latents_of_another_place(architecture):
    """By the network on each whole utterance; a unit more or less where two codes are as near is possible."""
    model, corpus = architecture.model(), windows(architecture, lengths=LONG)
    found = figures(architecture, model)
    if found["unit_margin"] is not None and found["unit_margin"] < 1e-4:
        return
    nats = {0: 0.0, 1: 0.0}
    for utterance in range(len(LONG)):
        codes, frames = corpus.corpus.codes(utterance), corpus.frames(utterance)
        half = model.geometry.encoder.latents_of(len(frames)) // 2
        for moves in nats:
            logits = whole_utterance(model, codes, frames, corpus.speaker_index[utterance], moved=moves * half)
            log_likelihood = logits.double().log_softmax(-1)[np.arange(len(codes)), codes.astype(int)]
            nats[moves] -= log_likelihood.sum().item() / sum(LONG)
    assert found["gain"] == pytest.approx(nats[1] - nats[0], abs=1e-4)


def test_a_decoder_that_does_not_look_gains_nothing():
    model = AUTOENCODER.model()
    assert abs(figures(AUTOENCODER, model)["gain"]) > 1e-3
    with torch.no_grad():
        model.upsampling.stages[-1].kernel.weight.zero_()
    assert abs(figures(AUTOENCODER, model)["gain"]) < 1e-6


@examples(10)
@given(architecture=autoencoders(kinds=("vqvae", "vqvae-ema")))
def test_units_are_counted_exactly(architecture):
    """And what follows of the counts keeps its bounds: 1 <= perplexity <= used <= codes."""
    model, corpus = architecture.model(), windows(architecture, lengths=LONG)
    found, packed = figures(architecture, model), PackedEncoder(model)
    units = np.concatenate([packed.encode(corpus.frames(utterance)) for utterance in range(len(LONG))])
    shares = np.unique(units, return_counts=True)[1] / len(units)
    bits = -(shares * np.log2(shares)).sum()
    rate = RATE / architecture.geometry.latent_hop
    assert (found["latents"], found["units_used"], found["latent_rate_hz"]) == (len(units), len(shares), rate)
    assert found["bits_per_second"] == pytest.approx(bits * rate)
    assert found["units_perplexity"] == pytest.approx(2**bits)
    assert 1 <= found["units_perplexity"] <= found["units_used"] + 1e-9 <= 4 + 1e-9
    assert found["bits_per_second"] <= found["max_bits_per_second"] == math.log2(4) * rate
    assert found["unit_margin"] == min(packed.margin(corpus.frames(utterance)) for utterance in range(len(LONG)))


def test_one_code_for_all_carries_nothing():
    model = AUTOENCODER.model()
    with torch.no_grad():
        model.bottleneck.codebook.weight[1:] += 1e3
    found = figures(AUTOENCODER, model)
    assert (found["units_used"], found["units_perplexity"], found["bits_per_second"]) == (1, 1, 0)


def test_speakers_are_probed_in_frames_latents_and_units():
    """Of utterances by two speakers; units of one code say nothing, and with fewer utterances nothing is said."""
    model = AUTOENCODER.model()
    found = figures(AUTOENCODER, model, MANY)
    accuracies = [found[f"speaker_accuracy_{name}"] for name in latents.PROBED]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies) and found["speaker_accuracy_chance"] == 0.5
    with torch.no_grad():
        model.bottleneck.codebook.weight[1:] += 1e3
    again = figures(AUTOENCODER, model, MANY)
    assert again["speaker_accuracy_units"] == 0.5 and again["speaker_accuracy_mfcc"] == accuracies[0]
    few = figures(AUTOENCODER, model)
    assert {few[f"speaker_accuracy_{name}"] for name in (*latents.PROBED, "chance")} == {None}


def test_without_a_codebook_there_are_no_figures_of_units():
    architecture = replace(AUTOENCODER, bottleneck=replace(AUTOENCODER.bottleneck, kind="vae", normalise=False))
    found = figures(architecture, architecture.model(), MANY)
    none = {"units_used", "units_perplexity", "bits_per_second", "max_bits_per_second", "unit_margin"}
    assert {name for name, value in found.items() if value is None} == none | {"speaker_accuracy_units"}


def test_without_an_encoder_there_are_no_figures():
    """So that an inverter's evaluation is what it was."""
    assert figures(ARCHITECTURE, ARCHITECTURE.model()) == {}


class _InTurns(Alone):
    """Two processes that share the utterances, one after the other: what each of them finds is exchanged at the end."""

    size = 2

    def __init__(self, rank: int, others: list):
        self.rank, self.others = rank, others

    def gather(self, value):
        return [value, *self.others]


def test_processes_that_share_utterances_find_the_same():
    """Whichever of them has measured which."""
    model, corpus, found = AUTOENCODER.model(), windows(AUTOENCODER, lengths=MANY), []

    class First(_InTurns):
        def gather(self, value):
            found.append(value)
            raise StopIteration

    nats = teacher_forced(model, corpus).nats
    with pytest.raises(StopIteration):
        latent_figures(model, corpus, nats, RATE, First(0, []))
    assert 0 < len(found[0]) < len(MANY)
    assert latent_figures(model, corpus, nats, RATE, _InTurns(1, found)) == latent_figures(model, corpus, nats, RATE)

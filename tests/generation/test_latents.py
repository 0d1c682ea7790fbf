"""The front door of an autoencoder: whole utterances, encoded one by one."""

from functools import cache

import numpy as np
import pytest
import torch
from support.corpora import FEATURES, RATE, speech
from support.settings import OF_UNITS, SMALL, compose_settings

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.statistics import Statistics
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.generation.latents import encoded
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.models.checkpoint import Checkpoint


@cache
def inverter(*overrides: str) -> Inverter:
    """Of an autoencoder that is not trained, with large weights and a codebook of four codes."""
    small = ("bottleneck=vqvae_ema64", "bottleneck.channels=4", "bottleneck.codes=4", "encoder.channels=8")
    settings = compose_settings(*SMALL, *OF_UNITS, *small, "wavenet.speaker_channels=4", *overrides)
    geometry = Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)
    torch.manual_seed(0)
    model = build_model(settings, geometry, speakers=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
        model.bottleneck.codebook.weight.normal_()
        model.bottleneck.ready.fill_(True)
    statistics = Statistics.of([features(speech(), settings.features)])
    return Inverter(Checkpoint(settings, ("ann", "bob"), statistics, model.state_dict(), None))


def mfccs(*seconds: float) -> list[np.ndarray]:
    return [inverter().features(speech()[: round(RATE * length)], RATE) for length in seconds]


def test_several_are_each_alone():
    """Whatever else is encoded and generated; the length follows from the frames."""
    given = mfccs(0.05, 0.12, 0.031)
    together = inverter().invert_codes(given, temperature=1.0, check_front_end=False)
    for codes, mfcc in zip(together, given, strict=True):
        np.testing.assert_array_equal(codes, inverter().invert_codes(mfcc, temperature=1.0, check_front_end=False))
        assert len(codes) == (mfcc.shape[1] - 1) * FEATURES.hop_length and len(np.unique(codes)) > 10


def test_every_latent_is_a_code_and_speakers_share_them():
    """What is generated depends on the speaker, the latents do not; there is one every second frame."""
    (mfcc,) = mfccs(0.12)
    model = inverter().generator.model
    latents = encoded(model, inverter()._frames(mfcc))
    assert len(latents) == -(-mfcc.shape[1] // 2)
    codes = model.bottleneck.codebook.weight.detach().numpy()
    assert all((latent == codes).all(1).any() for latent in latents)
    ann, bob = (inverter().invert(mfcc, speaker=name) for name in inverter().speakers)
    assert not np.array_equal(ann, bob)


def test_frames_that_arrive_are_for_models_without_an_encoder():
    with pytest.raises(UserError, match=r"stream\(\) takes a model without an encoder; invert\(\) takes all frames"):
        next(inverter().stream(mfccs(0.05)[0].T))

"""Small checkpoints, and the sentences that refuse others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.statistics import Statistics
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.models.checkpoint import Checkpoint, load
from support.settings import SMALL, compose_settings
from support.sounds import SENTENCES

SETTINGS = compose_settings(*SMALL, "train.products=null")  # as what is read of an older format


def checkpoint(seed: int = 0, training: bool = True) -> Checkpoint:
    """Of a model that is not trained; in the training state is one value of each kind that there is."""
    torch.manual_seed(seed)
    model = built(SETTINGS)
    draws = np.random.default_rng(seed).normal(size=(2, SETTINGS.features.channels)).astype(np.float32)
    state = {
        "optimizer": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4)}},
        "random": torch.get_rng_state(),
        "history": [{"step": 5, "loss": 0.1}, {"step": 10, "loss": float("inf")}],
        "run_id": "abc",
    }
    statistics = Statistics(draws[0], np.abs(draws[1]))
    return Checkpoint(SETTINGS, ("bob", "ann"), statistics, model.state_dict(), state if training else None)


def built(settings: Settings) -> Model:
    return build_model(
        settings, Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet), speakers=2
    )


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load(path)
    sentence = str(error.value)
    assert str(path) in sentence and "\n" not in sentence and sentence.endswith(".")
    return sentence


def content_of(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def autoencoder(*overrides: str, seed: int = 0, speakers: tuple[str, ...] = ("bob", "ann")) -> Checkpoint:
    """Of an autoencoder that is not trained, but reacts to what it sees, and whose codes are latents of speech."""
    settings = compose_settings(
        *SMALL, "encoder=channels128", "encoder.channels=12", "upsampling=units", "upsampling.channels=8",
        "upsampling.frame_channels=[16]", "bottleneck=vqvae_ema64", "bottleneck.channels=8", "bottleneck.codes=16",
        "wavenet.speaker_channels=4", *overrides,
    )  # fmt: skip
    torch.manual_seed(seed)
    model, frames = built(settings), features(SENTENCES[0], settings.features)
    statistics = Statistics(frames.mean(1), frames.std(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
        if settings.bottleneck.has_codes:
            (latents,) = model.encode(torch.from_numpy(statistics.normalise(frames).T)[None])
            chosen = np.linspace(10, len(latents) - 10, settings.bottleneck.codes).astype(int)
            model.bottleneck.codebook.weight.copy_(latents[chosen])
            model.bottleneck.ready.fill_(True)
    return Checkpoint(settings, speakers, statistics, model.state_dict(), None)

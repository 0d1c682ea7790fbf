"""Every group of settings refuses by itself what it cannot mean, in one sentence."""

import warnings
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.architectures import examples
from support.settings import compose_settings

from mfcc_wavenet import librosa
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError

DEFAULTS = compose_settings("optim.warmup_steps=10", "optim.decay_steps=110", "features.n_fft=512")


def refused(group: str, changes: dict) -> str:
    """The sentence with which these changes of a group are refused."""
    with pytest.raises(UserError) as error:
        replace(getattr(DEFAULTS, group), **changes)
    sentence = str(error.value)
    assert sentence.endswith((".", "?")) and "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"hop_length": 0}, ["hop_length", "0", "at least 1"]),
        ({"sample_rate": -16000}, ["sample_rate", "-16000", "at least 1"]),
        ({"n_fft": 511}, ["n_fft", "511", "even"]),
        ({"win_length": 600}, ["win_length", "600", "n_fft", "512"]),
        ({"n_mfcc": 81}, ["n_mfcc", "81", "n_mels", "80"]),
        ({"n_mels": 200}, ["n_mels", "200", "n_fft", "512"]),
        ({"delta_order": 3}, ["delta_order", "3", "0, 1, 2"]),
        ({"delta_width": 4}, ["delta_width", "4", "odd"]),
        ({"delta_width": 1}, ["delta_width", "1", "at least 3"]),
        ({"backend": "kaldi"}, ["backend", "kaldi", "librosa", "torchaudio"]),
    ],
)
def test_features(mistake, named):
    assert all(word in refused("features", mistake) for word in named)


@examples(200)
@given(
    sample_rate=st.sampled_from([1000, 8000, 16000, 22050, 48000]),
    n_fft=st.integers(8, 512).map(lambda half: 2 * half),
    n_mels=st.integers(1, 300),
)
def test_refused_for_empty_filters_exactly_when_one_is_empty(sample_rate, n_fft, n_mels):
    changes = {"sample_rate": sample_rate, "n_fft": n_fft, "win_length": n_fft, "n_mels": n_mels, "n_mfcc": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa's own, about empty filters
        filters = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels)
    try:
        replace(DEFAULTS.features, **changes)
        refused = False
    except UserError:
        refused = True
    assert refused == (filters.max(axis=1) == 0).any()


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"corpus": "libri"}, ["data.corpus is libri", "librispeech, libritts"]),
        ({"corpus": "vctk", "root": ("a", "b")}, ["data.root names 2", "data.corpus is vctk"]),
        ({"subsets": ("dev-clean",)}, ["data.subsets is ['dev-clean']", "data.corpus is null", "data=librispeech"]),
        ({"corpus": "librispeech", "subsets": ()}, ["data.subsets is []", "null"]),
    ],
)
def test_corpora_and_subsets(mistake, named):
    assert all(word in refused("data", mistake) for word in named)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"kernel_sizes": (4, 8, 8)}, ["upsampling.strides", "1", "upsampling.kernel_sizes", "3"]),
        ({"kernel_sizes": (3,)}, ["upsampling.kernel_sizes", "3", "stride 160"]),
        ({"frame_kernel_size": 0}, ["upsampling.frame_kernel_size", "0", "at least 1"]),
        ({"channels": 0}, ["upsampling.channels", "0", "at least 1"]),
        ({"frame_channels": (8, 0)}, ["upsampling.frame_channels", "[8, 0]", "from 1 on"]),
        ({"strides": (), "kernel_sizes": ()}, ["upsampling.strides", "[]", "one or more"]),
        ({"jitter": 1.5}, ["upsampling.jitter", "1.5", "at most 1"]),
    ],
)
def test_upsampling(mistake, named):
    assert all(word in refused("upsampling", mistake) for word in named)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"kernel_size": 1}, ["wavenet.kernel_size", "1", "at least 2"]),
        ({"blocks": 0}, ["wavenet.blocks", "0", "at least 1"]),
        ({"layers_per_block": -1}, ["wavenet.layers_per_block", "-1", "at least 1"]),
        ({"layers_per_block": 40}, ["wavenet.layers_per_block", "40", "at most 20"]),
        ({"gate_channels": 0}, ["wavenet.gate_channels", "0", "at least 1"]),
        ({"quantization_channels": 1}, ["wavenet.quantization_channels", "is 1", "2 to 65536"]),
        ({"quantization_channels": 65537}, ["wavenet.quantization_channels", "is 65537", "2 to 65536"]),
        ({"prediction": "ltp"}, ["wavenet.prediction", "ltp", "none, lpc"]),
        ({"prediction_order": 0}, ["wavenet.prediction_order", "0", "at least 1"]),
        ({"prediction_order": 65}, ["wavenet.prediction_order", "65", "at most 64"]),
        ({"classes": "both"}, ["wavenet.classes", "both", "prediction is none", "prediction=lpc"]),
        ({"classes": "difference"}, ["wavenet.classes", "difference", "codes, differences"]),
    ],
)
def test_wavenet(mistake, named):
    assert all(word in refused("wavenet", mistake) for word in named)


@pytest.mark.parametrize(("name", "value"), [("samples", 0), ("batch_size", -2)])
def test_window(name, value):
    assert refused("window", {name: value}) == f"window.{name} is {value}; it must be at least 1."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "sgd"}, ["sgd", "adam, adamw"]),
        ({"schedule": "exponential"}, ["exponential", "constant, linear, cosine, step"]),
        ({"warmup_steps": 110}, ["decay_steps is 110", "warmup_steps is 110", "after the warm-up"]),
        ({"schedule": "cosine", "decay_steps": 0}, ["decay_steps is 0", "warmup_steps is 10"]),
        ({"milestones": (1, 2), "milestone_factors": (0.5,)}, ["milestones has 2", "milestone_factors 1"]),
        ({"milestones": (2, 1), "milestone_factors": (0.5, 0.1)}, ["milestones is [2, 1]", "ascend"]),
        ({"betas": (0.9, 1.0)}, ["betas is [0.9, 1.0]", "less than 1"]),
        ({"ema_decay": 1.0}, ["ema_decay is 1.0", "less than 1"]),
    ],
)
def test_optim(changes, words):
    assert all(word in refused("optim", changes) for word in words)


@pytest.mark.parametrize("changes", [{}, *({"schedule": name, "decay_steps": 0} for name in ("constant", "step"))])
def test_what_a_schedule_does_not_use_is_not_held_against_it(changes):
    """A constant rate needs no decay_steps."""
    replace(DEFAULTS.optim, **changes)


def test_precision():
    sentence = "train.precision is float16; there are float32, bfloat16; did you mean bfloat16?"
    assert refused("train", {"precision": "float16"}) == sentence
    assert refused("train", {"precision": "quick"}) == "train.precision is quick; there are float32, bfloat16."


def test_tracking():
    assert refused("tracking", {"mode": "sometimes"}) == (
        "tracking.mode is sometimes; there are auto, online, offline, disabled."
    )


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"temperature": -0.5}, "temperature=-0.5"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "finite"),
        ({"top_k": -1}, "top_k=-1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_sampling(mistake, words):
    with pytest.raises(UserError, match=words):
        Sampling(**mistake)


def test_a_step_has_a_window_for_each_part():
    compose_settings("window.batch_size=3", "train.accumulation=3")
    with pytest.raises(UserError, match=r"train.accumulation is 4, but window.batch_size is 3; .* at most that"):
        compose_settings("window.batch_size=3", "train.accumulation=4")
    with pytest.raises(UserError, match=r"train.accumulation is 0; it must be at least 1"):
        compose_settings("train.accumulation=0")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"valid": 0.5, "test": 0.5}, ["data.valid is 0.5", "data.test 0.5", "less than 1"]),
        ({"split_by": "subset"}, ["data.subsets=[train-clean-100,dev-clean]"]),
        ({"split_by": "subset", "corpus": "cmu_arctic", "subsets": ("bdl",)}, ["begin with train-, dev- or test-"]),
        ({"split_by": "subset", "valid": 0.1}, ["data.valid and data.test must be 0"]),
        ({"split_by": "chapter"}, ["data.split_by is chapter; there are utterance, speaker, subset."]),
    ],
)
def test_data(changes, words):
    sentence = refused("data", changes)
    assert all(word in sentence for word in words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patience": 3}, ["train.patience is 3", "train.validate_interval is 0"]),
        ({"patience": 0, "validate_interval": 5}, ["train.patience is 0", "at least 1"]),
        ({"validate_samples": 0}, ["train.validate_samples is 0", "at least 1"]),
    ],
)
def test_validation(changes, words):
    sentence = refused("train", changes)
    assert all(word in sentence for word in words)


def test_validation_needs_something_to_validate_on():
    with pytest.raises(UserError, match=r"train\.validate_interval is 10, but data\.valid is 0.*data\.valid=0\.05"):
        compose_settings("train.validate_interval=10")


def test_held_out_speakers_are_not_for_a_network_that_knows_its_speakers():
    """It has no embedding for them; without fractions nobody is held out."""
    settings = compose_settings("wavenet.speaker_channels=8", "data.split_by=speaker")
    with pytest.raises(UserError, match=r"data\.split_by=speaker holds out speakers.*speaker_channels=8\).*would work"):
        replace(settings, data=replace(settings.data, test=0.1))


# ------------------------------------------------------------------------------------- autoencoders


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"channels": 0}, ["encoder.channels is 0", "at least 1"]),
        ({"kernel_sizes": (3, 4), "strides": (1,)}, ["encoder.strides has 1", "encoder.kernel_sizes 2"]),
        ({"kernel_sizes": (3, 3), "strides": (1, 0)}, ["encoder.strides is [1, 0]", "from 1 on"]),
        ({"kernel_sizes": (3, 2), "strides": (1, 3)}, ["encoder.kernel_sizes has 2", "stride 3"]),
    ],
)
def test_encoder(mistake, named):
    assert all(word in refused("encoder", mistake) for word in named)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"kind": "vqvae_ema"}, ["bottleneck.kind is vqvae_ema", "none, ae, vae, vqvae, vqvae-ema"]),
        ({"channels": 0}, ["bottleneck.channels is 0", "at least 1"]),
        ({"codes": 1}, ["bottleneck.codes is 1", "at least 2"]),
        ({"codes": 65537}, ["bottleneck.codes is 65537", "at most 65536"]),
        ({"decay": 1.0}, ["bottleneck.decay is 1.0", "less than 1"]),
        ({"revive_below": 1.5}, ["bottleneck.revive_below is 1.5", "at most 1"]),
        ({"kind": "vqvae", "codes": 100, "memory": 99}, ["bottleneck.codes is 100", "bottleneck.memory is 99"]),
        ({"kind": "vae"}, ["bottleneck.normalise is true", "bottleneck.kind is vae", "normalise=false"]),
        ({"kind": "vqvae", "channels": 1}, ["bottleneck.channels is 1", "normalise=false"]),
    ],
)
def test_bottleneck(mistake, named):
    assert all(word in refused("bottleneck", mistake) for word in named)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["encoder=channels128"], "but bottleneck.kind is none.*bottleneck=vqvae_ema64"),
        (["bottleneck=ae"], r"bottleneck.kind is ae, but encoder.strides is \[\].*encoder=channels128"),
        (
            ["encoder=channels128", "bottleneck=vqvae_ema64", "train.steps=500"],
            "bottleneck.quantise_from is 500, but train.steps is 500.*would work",
        ),
    ],
)
def test_encoder_and_bottleneck_come_together_and_are_used(overrides, words):
    with pytest.raises(UserError, match=words):
        compose_settings(*overrides)


def test_a_divergence_that_weighs_at_once_is_no_mistake():
    compose_settings("encoder=channels128", "bottleneck=vae", "bottleneck.anneal_steps=0", "train.steps=10")

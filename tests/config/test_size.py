"""What settings take is known before anything is allocated."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from support.architectures import FEATURES, SPEAKERS, architectures, autoencoders, examples, random_type_checks
from support.settings import OF_UNITS, ROOT, compose_settings

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.config.size import count_weights, memory_bytes, refuse_too_large, training_bytes
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.training.chassis import Chassis

DEFAULTS = compose_settings()


def geometry_of(settings: Settings) -> Geometry:
    return Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)


@random_type_checks
@examples(60)
@given(architecture=architectures(speaker_channels=(0, 3), predictions=("none", "lpc")) | autoencoders())
def test_weights_are_counted_as_the_model_has_them(architecture):
    settings = replace(
        DEFAULTS, features=FEATURES, upsampling=architecture.upsampling, wavenet=architecture.wavenet,
        encoder=architecture.encoder, bottleneck=architecture.bottleneck or DEFAULTS.bottleneck,
    )  # fmt: skip
    geometry = geometry_of(settings)
    model = build_model(settings, geometry, len(SPEAKERS))
    assert count_weights(settings, len(SPEAKERS)) == sum(parameter.numel() for parameter in model.parameters())


def test_a_longer_window_takes_more():
    """a39d's 64 windows of 5,000 samples want a large GPU."""
    settings = compose_settings("experiment=a39d", "data.root=folder")
    geometry = geometry_of(settings)
    assert 30e9 < training_bytes(settings, geometry) < 80e9
    longer = replace(settings, window=replace(settings.window, samples=10_000))
    assert training_bytes(longer, geometry) > 1.5 * training_bytes(settings, geometry)


def test_what_a_codebook_remembers_is_reckoned():
    """And refused by name, before any of it is allocated."""
    of_units = (*OF_UNITS, "bottleneck=vqvae_ema64")
    few, more, many = (compose_settings(*of_units, f"bottleneck.memory={2**power}") for power in (10, 11, 36))
    geometry = geometry_of(few)
    taken = training_bytes(more, geometry) - training_bytes(few, geometry)
    assert taken == 4 * 2**10 * few.bottleneck.channels
    with pytest.raises(UserError, match=r"These settings need .* a smaller bottleneck.memory would fit"):
        build_model(many, geometry, 1)


def test_a_step_takes_what_was_reckoned_and_less_than_twice_that():
    """The peak of a process of its own, over what it had before its first step."""
    code = (
        "import re, sys, tempfile; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from support.settings import OF_UNITS, ROOT, compose_settings\n"
        "from mfcc_wavenet.config.size import FLOAT_BYTES, count_weights, training_bytes\n"
        "from mfcc_wavenet.data.batch import Position; from mfcc_wavenet.training.chassis import Chassis\n"
        "kilobytes = lambda key: int(re.search(key + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    settings = compose_settings('experiment=baseline', 'window.samples=2000', 'window.batch_size=4',\n"
        "        'data.prepared=' + folder, 'train.device=cpu', 'train.compile=false', 'train.precision=float32')\n"
        "    chassis = Chassis(settings, Path(folder) / 'run'); batches = chassis._batches(Position())\n"
        "    before = kilobytes('VmRSS')\n"
        "    for _ in range(3): chassis.training_step(batches)\n"
        "taken = 1024 * (kilobytes('VmHWM') - before) + FLOAT_BYTES * count_weights(settings, 1)\n"
        "print(taken / training_bytes(settings, chassis.geometry))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 2


def test_parts_and_processes_take_less():
    """Both together about as little as that many fewer windows; the logits of all parts are kept."""
    settings = compose_settings("experiment=a39d", "data.root=folder")
    geometry = geometry_of(settings)
    whole = training_bytes(settings, geometry)
    eighth = training_bytes(replace(settings, window=replace(settings.window, batch_size=8)), geometry)
    assert training_bytes(settings, geometry, processes=8) == eighth
    parts = replace(settings, train=replace(settings.train, accumulation=4))
    assert eighth < training_bytes(parts, geometry, processes=2) < 1.2 * eighth < whole / 5


@pytest.mark.parametrize(
    "override",
    ["window.samples=1000000000", "window.batch_size=1000000000", "wavenet.residual_channels=1000000000",
     "upsampling.channels=1000000000", "upsampling.frame_kernel_size=1000000000000"],
)  # fmt: skip
def test_what_no_machine_holds_is_refused_before_it_is_allocated(tmp_path, override):
    with pytest.raises(UserError, match=r"need [\d,]+ GiB of memory or more, and there are \d+; a smaller .* fit"):
        Chassis(compose_settings(override, "tracking.mode=disabled", "data.root=/nowhere"), tmp_path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("wavenet.blocks=2000000", "1000 layers"),
        ("features.delta_width=100000001", "at most 999"),
        ("features.n_fft=100000000", "at most 65536"),
        ("train.threads=100000", "at most 1024"),
        ("train.workers=100000", "at most 1024"),
    ],
)
def test_what_nobody_means_is_refused(override, words):
    with pytest.raises(UserError, match=words):
        compose_settings(override)


def test_the_memory_is_what_the_limit_is():
    assert memory_bytes() > 2**28
    refuse_too_large(memory_bytes(), "network")
    with pytest.raises(UserError, match="a smaller network would fit"):
        refuse_too_large(memory_bytes() + 1, "network")

"""The packed encoder is the model's, and the same to the last bit in whichever blocks it is computed."""

import hashlib
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from support.architectures import (
    ARCHITECTURE,
    AUTOENCODER,
    FEATURES,
    Architecture,
    autoencoders,
    examples,
    random_type_checks,
)

from mfcc_wavenet.generation.cpu.encoder import PackedEncoder

pytestmark = random_type_checks

ROUNDING = 1e-4  # in float32; latents are some 1 to 10 in size
COUNTS = st.integers(1, 40)


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, FEATURES.channels), np.float32)


def before_the_codebook(architecture: Architecture) -> PackedEncoder:
    model = architecture.model()
    if model.bottleneck.codebook is not None:
        model.bottleneck.ready.fill_(False)
    return PackedEncoder(model)


@examples(40)
@given(architecture=autoencoders(), count=COUNTS)
def test_it_is_the_encoder_of_the_model(architecture, count):
    """Latents up to rounding, and units exactly, unless two codes are nearly as near."""
    model, frames = architecture.model(), frames_of(count)
    packed = PackedEncoder(model)
    with torch.no_grad():
        (expected,) = model.double().encode(torch.from_numpy(frames).double()[None]).numpy()
    latents = packed(frames)
    assert latents.shape == expected.shape and latents.dtype == np.float32
    if packed.codebook is None or packed.margin(frames) > ROUNDING:
        np.testing.assert_allclose(latents, expected, rtol=ROUNDING, atol=ROUNDING)


@examples(40)
@given(architecture=autoencoders(), count=COUNTS, data=st.data())
def test_blocks_change_no_bit(architecture, count, data):
    """Of a unit, and of the latent that the nearest code is of, however few frames are there at a time."""
    for packed in (PackedEncoder(architecture.model()), before_the_codebook(architecture)):
        frames, latents_of = frames_of(count), packed.geometry.latents_of(count)
        whole = packed.encode(frames)
        assert len(whole) == latents_of
        start = data.draw(st.integers(0, latents_of - 1))
        stop = data.draw(st.integers(start + 1, latents_of))
        span = packed.geometry.frame_span((start, stop))
        part = packed.encode_span(frames[np.clip(np.arange(*span), 0, count - 1)])
        np.testing.assert_array_equal(part, whole[start:stop])


@examples(20)
@given(architecture=autoencoders(kinds=("vqvae", "vqvae-ema")), count=COUNTS)
def test_a_unit_is_the_nearest_code(architecture, count):
    """By squared distances in float64, and the margin is how much nearer it is than the next one."""
    packed, frames = PackedEncoder(architecture.model()), frames_of(count)
    latents = before_the_codebook(architecture)(frames).astype(np.float64)
    squares = np.square(latents[:, None] - packed.codebook.astype(np.float64)).sum(-1)
    nearest = np.sort(squares, axis=1)
    assert abs(packed.margin(frames) - (nearest[:, 1] - nearest[:, 0]).min()) < ROUNDING * squares.max()
    chosen = np.take_along_axis(squares, packed.encode(frames)[:, None].astype(int), axis=1)[:, 0]
    assert (chosen <= nearest[:, 0] + ROUNDING * squares.max()).all()


def test_of_equal_codes_the_first_is_the_unit():
    model = AUTOENCODER.model()
    with torch.no_grad():
        model.bottleneck.codebook.weight[:] = model.bottleneck.codebook.weight[0]
    packed = PackedEncoder(model)
    assert not packed.encode(frames_of(20)).any() and packed.margin(frames_of(20)) == 0


def test_the_digest_is_that_of_what_units_mean():
    """It changes with the codebook; of latents, with the map to them."""
    model = AUTOENCODER.model()
    packed = PackedEncoder(model)
    assert packed.digest == hashlib.sha256(packed.codebook.tobytes()).hexdigest()
    with torch.no_grad():
        model.wavenet.logits.weight += 1
        model.bottleneck.linear.weight += 1
    assert PackedEncoder(model).digest == packed.digest
    vae = replace(AUTOENCODER, bottleneck=replace(AUTOENCODER.bottleneck, kind="vae", normalise=False))
    assert len({PackedEncoder(vae.model(seed)).digest for seed in (0, 1)}) == 2


def test_without_an_encoder_frames_pass_as_they_are():
    packed, frames = PackedEncoder(ARCHITECTURE.model()), frames_of(5)
    assert packed(frames).tobytes() == frames.tobytes() and packed.digest is None

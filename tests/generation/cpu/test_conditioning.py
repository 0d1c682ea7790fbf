"""Packed conditioning is the model's, and the same to the last bit in whichever blocks it is computed."""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from support.architectures import FEATURES, Architecture, architectures, examples, random_type_checks

from mfcc_wavenet.config.geometry import Span
from mfcc_wavenet.generation.cpu.conditioning import Conditioner

pytestmark = random_type_checks

ROUNDING = 1e-5  # relative to the largest value, in float32
SPANS = st.tuples(st.integers(-40, 40), st.integers(1, 60)).map(lambda span: (span[0], sum(span)))


def frames_at(architecture: Architecture, samples: Span) -> np.ndarray:
    """(F, K): noise, the same for the same frame; all that the conditioning of these samples depends on."""
    coefficients = FEATURES.channels
    return np.stack(
        [
            np.random.default_rng(frame + 1000).standard_normal(coefficients, np.float32)
            for frame in range(*architecture.geometry.latent_span(samples))
        ]
    )


@examples(30)
@given(architecture=architectures(), samples=SPANS, speaker=st.integers(0, 1))
def test_it_is_the_conditioning_of_the_model(architecture, samples, speaker):
    model, frames = architecture.model(), frames_at(architecture, samples)
    geometry = model.geometry
    offset = samples[0] - geometry.upsampled_span(geometry.latent_span(samples))[0]
    with torch.no_grad():
        (expected,) = model.conditioning(
            torch.from_numpy(frames)[None], torch.tensor([offset]), samples[1] - samples[0], torch.tensor([speaker])
        ).numpy()
    conditioning = Conditioner(model)(frames, speaker, samples)
    assert conditioning.shape == expected.shape
    assert np.abs(conditioning - expected).max() <= ROUNDING * np.abs(expected).max()


@examples(30)
@given(architecture=architectures(), samples=SPANS, cut=st.integers(1, 59))
def test_blocks_change_no_bit(architecture, samples, cut):
    conditioner = Conditioner(architecture.model())
    border = min(samples[0] + cut, samples[1])
    parts = [
        conditioner(frames_at(architecture, part), 0, part)
        for part in ((samples[0], border), (border, samples[1]))
        if part[0] < part[1]
    ]
    whole = conditioner(frames_at(architecture, samples), 0, samples)
    np.testing.assert_array_equal(np.concatenate(parts), whole)

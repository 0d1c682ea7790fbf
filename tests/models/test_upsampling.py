"""Upsampling gives each sample the same numbers however the frames are cut."""

import dataclasses
from pathlib import Path

import hypothesis.strategies as st
import torch
from hypothesis import assume, given
from support.architectures import FEATURES, architectures, examples, random_type_checks
from support.corpora import prepare_from
from support.settings import compose_settings
from torch.nn import functional

from mfcc_wavenet.models.upsampling import TransposedConvolution, Upsampling

pytestmark = random_type_checks

TOLERANCE = {"rtol": 0, "atol": 1e-12}  # in float64; the values are around 1


def upsampling(architecture) -> Upsampling:
    torch.manual_seed(0)
    return Upsampling(architecture.upsampling, FEATURES.channels).double()


def noise(frames: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, frames, FEATURES.channels, dtype=torch.float64)


@examples(30)
@given(architecture=architectures(), start=st.integers(0, 8), stop=st.integers(9, 40))
def test_a_window_is_a_slice_of_the_whole(architecture, start, stop):
    """Some of the frames give just the samples that the geometry says, with the numbers that all frames give."""
    first, last = architecture.geometry.upsampled_span((start, stop))
    assume(first < last)  # fewer frames than meet in a sample give none
    frames = noise(40)
    whole, part = upsampling(architecture)(frames), upsampling(architecture)(frames[:, start:stop])
    origin = architecture.geometry.upsampled_span((0, 40))[0]
    assert part.shape == (2, last - first, architecture.upsampling.channels)
    torch.testing.assert_close(part, whole[:, first - origin : last - origin], **TOLERANCE)


@examples(30)
@given(architecture=architectures())
def test_frames_that_stay_repeat_every_hop(architecture):
    """Up to both edges: no sample there lacks a contribution that its like inside has."""
    hop = FEATURES.hop_length
    frames = noise(1).expand(-1, 40, -1)
    samples = upsampling(architecture)(frames)
    torch.testing.assert_close(samples[:, hop:], samples[:, :-hop], **TOLERANCE)
    assert samples.std(dim=1).max() > 0.01  # within a hop they do differ


@examples(20)
@given(architecture=architectures())
def test_frames_enter_with_their_signs(architecture):
    """With nothing at frame rate and a single jump, the samples are linear in the frames: no relu is before it."""
    single = dataclasses.replace(
        architecture.upsampling, frame_channels=(), frame_whitening=False, strides=(16,), kernel_sizes=(20,)
    )
    jump = Upsampling(single, FEATURES.channels).double()
    frames = noise(10)
    torch.testing.assert_close(jump(frames) + jump(-frames), 2 * jump(0 * frames), **TOLERANCE)
    assert (jump(frames) - jump(0 * frames)).abs().max() > 0.1


@examples(20)
@given(architecture=architectures())
def test_items_of_a_batch_are_apart(architecture):
    frames = noise(40)
    together = upsampling(architecture)(frames)
    for item, alone in zip(together, frames):
        torch.testing.assert_close(item[None], upsampling(architecture)(alone[None]), **TOLERANCE)


@examples(40)
@given(stride=st.integers(1, 8), beyond=st.integers(0, 20), length=st.integers(1, 12), channels=st.integers(1, 4))
def test_one_product_is_torchs_transposed_convolution(stride, beyond, length, channels):
    """Of which it keeps the outputs that no input beyond the edges would have changed."""
    kernel_size, complete = stride + beyond, (length + 1) * stride - (stride + beyond)
    assume(complete > 0)
    layer = TransposedConvolution(FEATURES.channels, channels, kernel_size, stride).double()
    torch.nn.init.normal_(layer.bias)
    inputs = noise(length)
    kernel = layer.kernel.weight.view(kernel_size, channels, -1).permute(2, 1, 0)  # in, out, taps
    expected = functional.conv_transpose1d(inputs.transpose(1, 2), kernel, layer.bias, stride).transpose(1, 2)
    expected = expected[:, kernel_size - stride : length * stride]
    assert expected.shape[1] == complete
    torch.testing.assert_close(layer(inputs), expected, **TOLERANCE)


@examples(10)
@given(architecture=architectures(), gain=st.sampled_from([0.5, 3.0]))
def test_the_gain_is_of_the_first_weights_at_frame_rate(architecture, gain):
    """And of no others."""
    plain = upsampling(architecture).state_dict()
    settings = dataclasses.replace(architecture.upsampling, frame_gain=gain)
    torch.manual_seed(0)
    louder = Upsampling(settings, FEATURES.channels).double().state_dict()
    for name, weights in plain.items():
        factor = gain if name.startswith("frame_layers") else 1
        torch.testing.assert_close(louder[name], factor * weights)


def of_a_sentence(folder: Path, gain: float) -> tuple[Upsampling, torch.Tensor]:
    """Weights as they are drawn, and the frames (1, F, K) that they are for."""
    corpus = prepare_from(folder, "package:demo", seconds=3.335)
    frames = torch.from_numpy(corpus.statistics.normalise(corpus.frames(0).T).T)[None]
    settings = dataclasses.replace(
        compose_settings().upsampling, frame_channels=(256,), frame_gain=gain, frame_whitening=True
    )
    return Upsampling(settings, frames.shape[2]).requires_grad_(False), frames


def test_whitened_frames_differ_in_more_directions(tmp_path):
    """Counted by the participation ratio of the first layer's variances. Their spread is still the gain's."""
    gain = 3.0
    network, frames = of_a_sentence(tmp_path, gain)
    layer, found = network.frame_layers[0], []
    for whiten in (False, True):
        if whiten:
            network.whiten(frames)
        outputs = layer(frames.mT)[0].T  # F, C
        variances = torch.linalg.eigvalsh(outputs.T.cov())
        found.append(variances.sum().square() / variances.square().sum())
    drawn, whitened = found
    assert drawn < 20 and whitened > 3 * drawn
    spread = torch.full_like(outputs[0], gain / 3**0.5)
    torch.testing.assert_close(outputs.std(0), spread, rtol=0.25, atol=0)  # norms of drawn weights differ
    assert outputs.mean(0).abs().max() < 1.01 * gain / 3**0.5  # so ReLU is at work in every channel


def test_centred_frames_are_nearly_orthogonal(tmp_path):
    """So what the next layer learns of one does not move what it gives for another."""
    network, frames = of_a_sentence(tmp_path, gain=3.0)
    network.whiten(frames)
    given = []
    network.stages[0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][0]))
    for mean in (torch.zeros_like(network.frame_mean), network.frame_mean.clone()):
        network.frame_mean.copy_(mean)
        network(frames)
    centred = given[1]
    torch.testing.assert_close(centred.mean(0), torch.zeros(256), rtol=0, atol=1e-4)
    plain, orthogonal = (functional.cosine_similarity(x[:, None], x[None], dim=-1).abs().mean() for x in given)
    assert plain > 0.3 and orthogonal < 0.1

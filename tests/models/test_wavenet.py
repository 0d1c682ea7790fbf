"""A prediction sees the codes of its receptive field, all of them and no others."""

import dataclasses

import hypothesis.strategies as st
import torch
from hypothesis import given
from support.architectures import Architecture, architectures, examples, random_type_checks
from torch.nn import functional

from mfcc_wavenet.config.settings import CLASSES
from mfcc_wavenet.models.wavenet import WaveNet

pytestmark = random_type_checks

TOLERANCE = {"rtol": 0, "atol": 1e-10}  # in float64; logits reach some 10
CONDITIONING = 3  # channels
PREDICTIONS = 20  # in all; windows have fewer


def network(architecture: Architecture) -> WaveNet:
    """In float64, its weights so large that every input shows."""
    torch.manual_seed(0)
    wavenet = WaveNet(architecture.wavenet, architecture.geometry.dilations, CONDITIONING).double()
    with torch.no_grad():
        for parameter in wavenet.parameters():
            parameter *= 2
    return wavenet


def inputs(architecture: Architecture) -> tuple[torch.Tensor, torch.Tensor]:
    """codes (1, T) and conditioning (1, T, C) for that many predictions."""
    positions = PREDICTIONS + architecture.geometry.receptive_field - 1
    codes = torch.randint(architecture.wavenet.quantization_channels, (1, positions))
    return codes, torch.randn(1, positions, CONDITIONING, dtype=torch.float64)


def changed(codes: torch.Tensor, position: int, architecture: Architecture) -> torch.Tensor:
    codes = codes.clone()
    codes[:, position] = (codes[:, position] + 1) % architecture.wavenet.quantization_channels
    return codes


def differing(one: torch.Tensor, other: torch.Tensor) -> list[int]:
    """The predictions that are not equal bit for bit."""
    return (one != other).any(-1)[0].nonzero()[:, 0].tolist()


@examples(30)
@given(architecture=architectures(), prediction=st.integers(0, PREDICTIONS - 1), count=st.integers(1, PREDICTIONS))
def test_a_window_is_a_slice_of_the_whole(architecture, prediction, count):
    """Given its receptive field and no more, a window is predicted as within the whole."""
    wavenet, (codes, conditioning) = network(architecture), inputs(architecture)
    whole = wavenet(codes, conditioning, PREDICTIONS)
    count = min(count, PREDICTIONS - prediction)
    positions = slice(prediction, prediction + count + architecture.geometry.receptive_field - 1)
    window = wavenet(codes[:, positions], conditioning[:, positions], count)
    assert window.shape == (1, count, architecture.wavenet.quantization_channels)
    torch.testing.assert_close(window, whole[:, prediction : prediction + count], **TOLERANCE)


@examples(40)
@given(architecture=architectures(), prediction=st.integers(0, PREDICTIONS - 1))
def test_the_past_is_the_receptive_field(architecture, prediction):
    """The oldest code of the receptive field reaches its prediction, and its next one no further ahead.

    The code at position p is of sample p - 1, so the oldest that prediction n sees stands at position n.
    """
    wavenet, (codes, conditioning) = network(architecture), inputs(architecture)
    before = wavenet(codes, conditioning, PREDICTIONS)
    after = wavenet(changed(codes, prediction, architecture), conditioning, PREDICTIONS)
    assert max(differing(before, after)) == prediction


@examples(40)
@given(architecture=architectures(), prediction=st.integers(0, PREDICTIONS - 1))
def test_the_future_is_unseen(architecture, prediction):
    """What stands at a position, code or conditioning, reaches the prediction made there and none before it."""
    wavenet, (codes, conditioning) = network(architecture), inputs(architecture)
    before = wavenet(codes, conditioning, PREDICTIONS)
    position = prediction + architecture.geometry.receptive_field - 1
    after = wavenet(changed(codes, position, architecture), conditioning, PREDICTIONS)
    assert min(differing(before, after)) == prediction
    conditioning = conditioning.clone()
    conditioning[:, position] += 1
    after = wavenet(codes, conditioning, PREDICTIONS)
    assert min(differing(before, after)) == prediction


@examples(30)
@given(architecture=architectures())
def test_matrix_products_are_the_papers_convolutions(architecture):
    """The same weights in dilated convolutions over padded channels-first tensors, one skip product per layer."""
    wavenet, (codes, conditioning) = network(architecture), inputs(architecture)
    settings = architecture.wavenet
    taps = settings.kernel_size * settings.residual_channels
    x = wavenet.embedding(codes).transpose(1, 2)  # B, C, T
    skip = wavenet.skip.bias[:, None]
    for layer, skip_weight in zip(wavenet.layers, wavenet.skip.weight.split(settings.gate_channels, dim=1)):
        kernel = layer.gate.weight[:, :taps].unflatten(1, (settings.kernel_size, -1)).transpose(1, 2)
        padded = functional.pad(x, ((settings.kernel_size - 1) * layer.dilation, 0))
        both = functional.conv1d(padded, kernel, layer.gate.bias, dilation=layer.dilation)
        both = both + functional.conv1d(conditioning.transpose(1, 2), layer.gate.weight[:, taps:, None])
        z = both[:, : settings.gate_channels].tanh() * both[:, settings.gate_channels :].sigmoid()
        skip = skip + skip_weight @ z
        if layer.residual is not None:
            x = x + functional.conv1d(z, layer.residual.weight[:, :, None], layer.residual.bias)
    logits = wavenet.logits(wavenet.post(skip.relu().transpose(1, 2)).relu())[:, -PREDICTIONS:]
    torch.testing.assert_close(wavenet(codes, conditioning, PREDICTIONS), logits, **TOLERANCE)


@examples(20)
@given(architecture=architectures(predictions=("lpc",)))
def test_both_kinds_of_classes_are_added(architecture):
    """The logits of codes and those of differences, of the same network; it begins as that of codes alone."""
    networks = {}
    for classes in CLASSES:
        networks[classes] = network(
            dataclasses.replace(architecture, wavenet=dataclasses.replace(architecture.wavenet, classes=classes))
        )
    codes, conditioning = inputs(architecture)
    predicted = torch.randint(architecture.wavenet.quantization_channels, codes.shape)

    def logits(classes: str) -> torch.Tensor:
        with torch.no_grad():
            return networks[classes](codes, conditioning, PREDICTIONS, predicted)

    ours, codes_weights = networks["both"].state_dict(), networks["codes"].state_dict()
    for name, weights in codes_weights.items():
        ours[name][: len(weights)] = weights
    assert torch.equal(logits("both"), logits("codes"))
    of_differences = torch.randn_like(codes_weights["logits.weight"])
    networks["differences"].load_state_dict(codes_weights | {"logits.weight": of_differences})
    ours["logits.weight"][len(of_differences) :] = of_differences
    ours["logits.bias"][len(of_differences) :] = codes_weights["logits.bias"]
    torch.testing.assert_close(logits("both"), logits("codes") + logits("differences"), **TOLERANCE)

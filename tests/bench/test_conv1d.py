"""The network that ours is compared with is the same network."""

import numpy as np
import pytest
import torch

from mfcc_wavenet.bench.conv1d import Conv1dWaveNet, conv1d_steps
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.models.mfcc_inverter import MfccInverter
from mfcc_wavenet.training.chassis import Chassis

HOP = 160
SPAN = 15 * HOP  # of a window, in samples
EDGE = 4 * HOP  # at either end of it, in which the padding differs
FIRST = 50  # frame of the window
UPSAMPLINGS = {
    "wide": ("upsampling.frame_channels=[12]",),
    "staged": ("upsampling=staged5442", "upsampling.channels=8", "wavenet.speaker_channels=3", "wavenet.kernel_size=3"),
}


def with_the_weights_of(model: MfccInverter, reference: Conv1dWaveNet) -> Conv1dWaveNet:
    """The reference, computing what the model computes where it sees what the model sees."""
    theirs, wavenet = reference, model.wavenet
    for layer, conv in zip(model.upsampling.frame_layers, theirs.upsampling.frame_layers):
        conv.load_state_dict(layer.state_dict())
    for stage, conv in zip(model.upsampling.stages, theirs.upsampling.stages):
        conv.weight.copy_(stage.kernel.weight.view(stage.kernel_size, -1, conv.in_channels).permute(2, 1, 0))
        conv.bias.copy_(stage.bias)
    theirs.embedding.load_state_dict(wavenet.embedding.state_dict())
    if model.speaker:
        theirs.speaker.load_state_dict(model.speaker.state_dict())
    skips = wavenet.skip.weight.chunk(len(wavenet.layers), dim=1)
    for layer, conv, skip in zip(wavenet.layers, theirs.layers, skips):
        size, inputs = layer.kernel_size, conv.dilated.in_channels
        taps = layer.gate.weight[:, : size * inputs].view(-1, size, inputs)
        conv.dilated.weight.copy_(taps.transpose(1, 2))
        conv.dilated.bias.copy_(layer.gate.bias)
        conv.conditioning.weight.copy_(layer.gate.weight[:, size * inputs :, None])
        conv.skip.weight.copy_(skip[:, :, None])
        conv.skip.bias.copy_(wavenet.skip.bias / len(wavenet.layers))
        if layer.residual is not None:
            conv.residual.weight.copy_(layer.residual.weight[:, :, None])
            conv.residual.bias.copy_(layer.residual.bias)
    for linear, conv in ((wavenet.post, theirs.post), (wavenet.logits, theirs.logits)):
        conv.weight.copy_(linear.weight[:, :, None])
        conv.bias.copy_(linear.bias)
    return theirs


@pytest.mark.parametrize("overrides", UPSAMPLINGS.values(), ids=UPSAMPLINGS)
@torch.no_grad()
def test_it_computes_the_logits_of_the_model(overrides, small, tmp_path):
    """Given the model's weights, at every sample whose past and frames all lie in the window."""
    chassis = Chassis(small("data.seconds=3", *overrides), tmp_path / "run")
    first = FIRST * HOP
    batch = chassis.windows.assemble(np.array([[0, first]]), SPAN, Position())
    expected = chassis.model.run(batch).pred
    reference = with_the_weights_of(chassis.model, Conv1dWaveNet(chassis.settings, 1))
    past = torch.from_numpy(chassis.corpus.codes(0)[first - 1 : first - 1 + SPAN].astype(np.int64))
    frames = torch.from_numpy(chassis.windows.frames(0)[FIRST : FIRST + SPAN // HOP + 2])
    logits = reference(past[None], frames[None], torch.tensor([0]))
    assert logits.shape == expected.shape
    inside = slice(EDGE, SPAN - EDGE)
    torch.testing.assert_close(logits[:, :, inside], expected[:, :, inside], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits[:, :, :HOP], expected[:, :, :HOP], rtol=1e-4, atol=1e-5)  # zeros for the past


def test_a_logit_sees_no_later_code(small):
    """Each changes with the code before its sample, and those before that one do not."""
    network = Conv1dWaveNet(small(), 1)
    past, frames = torch.randint(256, (1, SPAN)), torch.randn(1, SPAN // HOP + 2, 39)
    changed = past.clone()
    changed[0, SPAN // 2] += 1 if past[0, SPAN // 2] < 255 else -1
    one, other = (network(codes, frames, torch.tensor([0])) for codes in (past, changed))
    differs = (one != other).any(dim=1)[0].nonzero()[:, 0]
    assert differs[0] == SPAN // 2


def test_it_learns(small, tmp_path):
    """The first steps find out how often each code is; more takes the past."""
    wider = ("wavenet.residual_channels=32", "wavenet.gate_channels=32", "window.batch_size=4")
    chassis = Chassis(small("data.seconds=0.5", *wider), tmp_path / "run")
    step = conv1d_steps(chassis.settings, chassis.windows, chassis.device, chassis.precision, False)
    losses = [step().item() for _ in range(100)]
    assert np.mean(losses[:5]) > 5.4 and np.mean(losses[-20:]) < 4.5

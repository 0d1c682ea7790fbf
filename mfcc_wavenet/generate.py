"""Cached generation: the network one sample at a time, every hidden vector computed once.

Full convolutions recompute the past for each new sample. Here every layer keeps its last inputs in
a ring (Paine et al. 2016, "Fast WaveNet generation algorithm"), so a sample costs each weight one
multiplication. Conditioning does not depend on what is generated, and is computed ahead in chunks.
The loop over samples itself is in kernel.py.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int

from mfcc_wavenet.inverter import MfccInverter
from mfcc_wavenet.kernel import sample
from mfcc_wavenet.mulaw import silence

CHUNK = 4096  # samples whose conditioning is computed ahead; bounds memory, not results


class Generator:
    """The weights of a model, laid out for the loop; one can generate any number of utterances."""

    def __init__(self, model: MfccInverter):
        self.model = model
        wavenet = model.wavenet
        layers = list(wavenet.layers)
        channels = wavenet.embedding.embedding_dim
        taps = layers[0].kernel_size * channels
        # (in, out) each: the loop adds rows, which run over neighbouring memory.
        self.embedding = _array(wavenet.embedding.weight)
        self.gates = _array(torch.stack([layer.gate.weight[:, :taps].T for layer in layers]))
        gate_channels = wavenet.skip.in_features // len(layers)
        self.residuals = np.zeros((len(layers) - 1, gate_channels, channels), np.float32)
        self.residual_biases = np.zeros((len(layers) - 1, channels), np.float32)
        for index, layer in enumerate(layers[:-1]):
            self.residuals[index] = _array(layer.residual.weight.T)
            self.residual_biases[index] = _array(layer.residual.bias)
        self.head = tuple(
            _array(t) for linear in (wavenet.skip, wavenet.post, wavenet.logits) for t in (linear.weight.T, linear.bias)
        )
        # One product gives the conditioning of all layers: (C, L * 2G).
        self.conditioning_weight = torch.cat([layer.gate.weight[:, taps:] for layer in layers]).detach().T
        self.conditioning_bias = torch.cat([layer.gate.bias for layer in layers]).detach()
        self.dilations = np.array([layer.dilation for layer in layers])
        self.kernel_size = layers[0].kernel_size

    def generate(
        self, frames: Float[np.ndarray, "F K"], speaker: int, samples: int, temperature: float = 0.0, seed: int = 0
    ) -> Int[np.ndarray, " samples"]:
        """The codes of one utterance, from its normalised frames (F, K) alone.

        temperature 0 takes the most likely code each time; above, codes are drawn from the softmax of
        logits / temperature by a generator that the seed starts.
        """
        return np.concatenate(list(self.chunks(frames, speaker, samples, temperature, seed)))

    def chunks(
        self, frames: Float[np.ndarray, "F K"], speaker: int, samples: int, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[Int[np.ndarray, " chunk"]]:
        """The same, in pieces as they are done."""
        start = self.model.geometry.input_span((0, samples))[0]
        random = np.random.default_rng(seed)
        rings = np.zeros(
            (len(self.dilations), (self.kernel_size - 1) * self.dilations.max(), self.embedding.shape[1]), np.float32
        )
        last = silence(self.embedding.shape[0])
        # The positions in front of the first sample only fill the rings: their codes are silence by definition.
        for first in range(start, samples, CHUNK):
            stop = min(first + CHUNK, samples)
            draws = (
                random.random(stop - max(first, 0))
                if temperature and stop > 0
                else np.zeros(max(stop - max(first, 0), 0))
            )
            codes = sample(
                self._conditioning(frames, speaker, first, stop),
                first, last, draws, np.float32(temperature), rings, self.dilations, self.kernel_size,
                self.embedding, self.gates, self.residuals, self.residual_biases, *self.head,
            )  # fmt: skip
            if len(codes):
                last = codes[-1]
                yield codes

    @torch.no_grad()
    def _conditioning(self, frames: np.ndarray, speaker: int, first: int, stop: int) -> np.ndarray:
        """(positions, layers, 2G): the conditioning's part of every gate, biases included."""
        geometry = self.model.geometry
        span = geometry.frame_span((first, stop))
        device = self.conditioning_weight.device
        inside = np.clip(np.arange(*span), 0, len(frames) - 1)
        conditioning = self.model.conditioning(
            torch.from_numpy(frames[inside])[None].to(device),
            torch.tensor([first - geometry.upsampled_span(span)[0]]),
            stop - first,
            torch.tensor([speaker], device=device),
        )[0]
        projected = torch.addmm(self.conditioning_bias, conditioning, self.conditioning_weight)
        return projected.view(stop - first, len(self.dilations), -1).cpu().numpy()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())

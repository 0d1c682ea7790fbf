"""Cached generation: the network one sample at a time, every hidden vector computed once.

Full convolutions recompute the past for each new sample. Here every layer keeps its last inputs in
a ring (Paine et al. 2016, "Fast WaveNet generation algorithm"), so a sample costs each weight one
multiplication. Conditioning does not depend on what is generated, and is computed ahead, a few hops at a time.
The loop over samples itself is in kernel.py.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int

from mfcc_wavenet.geometry import Span
from mfcc_wavenet.inverter import MfccInverter
from mfcc_wavenet.kernel import sample
from mfcc_wavenet.mulaw import silence
from mfcc_wavenet.windows import inside

# Hops whose conditioning is computed at once. A frame's wide layers cost the same for one frame as for several,
# and a stream is late by the block: four hops take most of the gain for 30 ms.
BLOCK_HOPS = 4


class Generator:
    """The weights of a model, laid out for the loop; one can generate any number of utterances."""

    def __init__(self, model: MfccInverter):
        self.model = model
        wavenet = model.wavenet
        layers = list(wavenet.layers)
        channels = wavenet.embedding.embedding_dim
        taps = layers[0].kernel_size * channels
        gate_channels = wavenet.skip.in_features // len(layers)
        self.embedding = _array(wavenet.embedding.weight)
        self.gates = _array(torch.stack([layer.gate.weight[:, :taps] for layer in layers]))
        self.residuals = np.zeros((len(layers) - 1, channels, gate_channels), np.float32)
        self.residual_biases = np.zeros((len(layers) - 1, channels), np.float32)
        for index, layer in enumerate(layers[:-1]):
            self.residuals[index] = _array(layer.residual.weight)
            self.residual_biases[index] = _array(layer.residual.bias)
        head = wavenet.skip, wavenet.post, wavenet.logits
        self.head = [_array(tensor) for linear in head for tensor in (linear.weight, linear.bias)]
        # One product gives the conditioning of all layers: (C, L * 2G).
        self.conditioning_weight = torch.cat([layer.gate.weight[:, taps:] for layer in layers]).detach().T
        self.conditioning_bias = torch.cat([layer.gate.bias for layer in layers]).detach()
        self.dilations = np.array([layer.dilation for layer in layers])
        self.kernel_size = layers[0].kernel_size

    def generate(
        self,
        frames: Float[np.ndarray, "F K"],
        speaker: int,
        samples: int,
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
    ) -> Int[np.ndarray, " samples"]:
        """The codes of one utterance, from its normalised frames (F, K) alone; the last three are Voice's."""
        voice = Voice(self, speaker, temperature, seed, top_k)
        stops = self.stops(0, samples)
        return np.concatenate([voice.speak(stop, lambda span: frames[inside(span, len(frames))]) for stop in stops])

    def stops(self, spoken: int, samples: int) -> list[int]:
        """Where the blocks end in which an utterance is spoken, from the sample spoken on."""
        block = BLOCK_HOPS * self.model.geometry.hop_length
        return [*range(spoken + block, samples, block), samples]

    @torch.no_grad()
    def conditioning(self, frames: Float[np.ndarray, "F K"], speaker: int, samples: Span) -> np.ndarray:
        """(positions, layers, 2G): the conditioning's part of every gate, biases included.

        frames: those of geometry.frame_span(samples).
        """
        geometry = self.model.geometry
        device = self.conditioning_weight.device
        conditioning = self.model.conditioning(
            torch.from_numpy(frames)[None].to(device),
            torch.tensor([samples[0] - geometry.upsampled_span(geometry.frame_span(samples))[0]]),
            samples[1] - samples[0],
            torch.tensor([speaker], device=device),
        )[0]
        projected = torch.addmm(self.conditioning_bias, conditioning, self.conditioning_weight)
        return projected.view(len(conditioning), len(self.dilations), -1).cpu().numpy()


class Voice:
    """One utterance in the making: what the network remembers of it.

    It is spoken in the same blocks whether its frames are all there or still arriving; so both ways
    compute the same products, and give the same codes to the last bit.
    """

    def __init__(self, generator: Generator, speaker: int, temperature: float = 0.0, seed: int = 0, top_k: int = 0):
        """temperature 0 takes the most likely code each time; above, codes are drawn from the softmax of
        logits / temperature, of the top_k most likely ones (0: of all), by a generator that the seed starts.
        """
        self.generator = generator
        self.speaker = speaker
        self.choice = np.float32(temperature), top_k
        self.random = np.random.default_rng(seed)
        self.spoken = 0  # samples
        self.last = silence(len(generator.embedding))
        longest = (generator.kernel_size - 1) * generator.dilations.max()
        self.rings = np.zeros((len(generator.dilations), longest, generator.embedding.shape[1]), np.float32)

    def speak(self, stop: int, frames_of: Callable[[Span], Float[np.ndarray, "F K"]]) -> Int[np.ndarray, " codes"]:
        """The codes from where it stands to the sample stop; frames_of gives the normalised frames of a span."""
        generator, geometry = self.generator, self.generator.model.geometry
        # In front of the first sample there is silence by definition, which has to pass through the network once.
        first = self.spoken or geometry.input_span((0, 1))[0]
        codes = sample(
            generator.conditioning(frames_of(geometry.frame_span((first, stop))), self.speaker, (first, stop)),
            first, self.last, self.random.random(stop - self.spoken), *self.choice, self.rings, generator.dilations,
            generator.kernel_size, generator.embedding, generator.gates, generator.residuals,
            generator.residual_biases, *generator.head,
        )  # fmt: skip
        self.spoken, self.last = stop, int(codes[-1])
        return codes


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())

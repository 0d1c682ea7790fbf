"""The encoder and the bottleneck of a model: from frames to units, and from units to what conditions the decoder.

The layers are those of models/encoder.py, each as one gemm. A latent is the same to the last bit, and so its unit the
same, in whichever block it is computed: also in a stream, where frames are still to come.
"""

import copy
import hashlib

import numpy as np
from jaxtyping import Float, Shaped

from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.generation.cpu.conditioning import Convolution
from mfcc_wavenet.generation.cpu.gemm import PANEL, gemm, pack
from mfcc_wavenet.models.base import Model

NORM_EPSILON = 1e-5  # torch's, of a normalised layer
UNIT_TYPE = np.uint16


class PackedEncoder:
    """What turns frames into what is transmitted, and that into latents; without an encoder both are the frames.

    Transmitted are units, or latents where there is no codebook: of an ae or a vae, and of a training that has not
    come to its codebook yet.
    """

    def __init__(self, model: Model):
        self.geometry = model.geometry.encoder
        self.layers: list[tuple[Convolution, int | None]] = []  # and the vectors before an output's own, to be added
        self.codebook: Float[np.ndarray, "K D"] | None = None
        self.normalises = False
        self.digest: str | None = None  # SHA-256 of what units, or latents, mean to the decoder; None: no encoder
        if model.encoder is None:
            return
        encoder = copy.deepcopy(model.encoder).cpu().requires_grad_(False)
        bottleneck = copy.deepcopy(model.bottleneck).cpu().requires_grad_(False)
        for layer in encoder.layers:
            size, (stride,) = layer.kernel_size[0], layer.stride
            adds_input = stride == 1 and layer.in_channels == layer.out_channels
            convolution = Convolution(layer.weight.movedim(1, 2), layer.bias, stride)
            self.layers.append((convolution, (size - 1) // 2 if adds_input else None))
        weight, bias = bottleneck.evaluated_map()
        self.linear = Convolution(weight[:, None], bias)
        self.normalises = bottleneck.normalises
        meaning = weight
        if bottleneck.codebook is not None and bottleneck.ready:
            meaning = bottleneck.codebook.weight
            self.codebook = np.ascontiguousarray(meaning.numpy())
            self.codes = pack(-2 * self.codebook)  # whose product with a latent is -2 z e
            norms = np.full((1, self.codes.shape[0] * PANEL), np.inf, np.float32)  # padding is never the nearest
            norms[0, : len(self.codebook)] = np.square(self.codebook, dtype=np.float64).sum(1)
            self.norms = norms
        self.digest = hashlib.sha256(np.ascontiguousarray(meaning.numpy()).astype("<f4").tobytes()).hexdigest()

    def __call__(self, frames: Float[np.ndarray, "F K"]) -> Float[np.ndarray, "J D"]:
        """The latents that condition the decoder, from all normalised frames of an utterance."""
        return self.latents(self.encode(frames))

    def encode(self, frames: Float[np.ndarray, "F K"]) -> Shaped[np.ndarray, "..."]:
        """What is transmitted of an utterance, from all its normalised frames: (J,), or (J, D) without a codebook.

        J is EncoderGeometry.latents_of(F).
        """
        return self._quantised(self.unquantised(frames))

    def encode_span(self, frames: Float[np.ndarray, "F K"]) -> Shaped[np.ndarray, "..."]:
        """The same for the latents of EncoderGeometry.latent_span of these frames, which all are there."""
        return self._quantised(self._mapped(frames))

    def unquantised(self, frames: Float[np.ndarray, "F K"]) -> Float[np.ndarray, "J D"]:
        """The latents of an utterance as they are before a codebook."""
        span = self.geometry.frame_span((0, self.geometry.latents_of(len(frames))))
        return self._mapped(frames[clamped_indices(span, len(frames))])

    def latents(self, transmitted: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "J D"]:
        """What conditions the decoder."""
        return transmitted if self.codebook is None else self.codebook[transmitted]

    def margin(self, frames: Float[np.ndarray, "F K"]) -> float:
        """Of an utterance, the smallest difference of a latent's squared distances from its two nearest codes.

        Where it is near 0, another order of sums may choose another unit.
        """
        distances = self._distances(self.unquantised(frames))
        nearest = np.partition(distances, 1, axis=1)[:, :2]
        return float((nearest[:, 1] - nearest[:, 0]).min())

    def _quantised(self, latents: Float[np.ndarray, "L D"]) -> Shaped[np.ndarray, "..."]:
        return latents if self.codebook is None else self._distances(latents).argmin(1).astype(UNIT_TYPE)

    def _mapped(self, frames: Float[np.ndarray, "F K"]) -> Float[np.ndarray, "L D"]:
        """Latents of all spans of frames that are long enough, before a codebook."""
        if not self.layers:
            return frames
        x = frames
        for convolution, before in self.layers:
            active = np.maximum(convolution(x), 0)
            x = active if before is None else active + x[before : before + len(active)]
        x = self.linear(x)
        return _normalised(x) if self.normalises else np.ascontiguousarray(x)

    def _distances(self, latents: Float[np.ndarray, "L D"]) -> Float[np.ndarray, "L codes"]:
        """Squared distances from all codes, without the square of the latent, which is the same for all."""
        out = np.empty((len(latents), self.norms.shape[1]), np.float32)
        gemm(out, self.norms, self.codes, latents)
        return out[:, : len(self.codebook)]


def _normalised(x: Float[np.ndarray, "L D"]) -> Float[np.ndarray, "L D"]:
    """Each vector to mean 0 and deviation 1, its sums in order, so that they are the same in any block."""
    x = x.astype(np.float64)
    centred = x - np.add.accumulate(x, axis=1)[:, -1:] / x.shape[1]
    variance = np.add.accumulate(np.square(centred), axis=1)[:, -1:] / x.shape[1]
    return (centred / np.sqrt(variance + NORM_EPSILON)).astype(np.float32)

"""The latents of utterances, by torch: what the generator is given."""

import numpy as np
import torch
from jaxtyping import Float, Float32

from mfcc_wavenet.generation.float32 import float32_products
from mfcc_wavenet.models.base import Model


@torch.no_grad()
def encoded(model: Model, frames: Float32[np.ndarray, "F K"]) -> Float[np.ndarray, "L C"]:
    """The latents of one utterance from all its normalised frames; without an encoder, the frames themselves.

    One utterance at a time, so that its latents do not depend on what else is encoded.
    """
    device = next(model.parameters()).device
    with float32_products(device):
        return model.encode(torch.from_numpy(frames)[None].to(device))[0].cpu().numpy()

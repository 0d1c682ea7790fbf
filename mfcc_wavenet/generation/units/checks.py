"""Units that callers pass: each function returns what was meant, or raises UserError."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from mfcc_wavenet.config.autoencoder_settings import BottleneckSettings
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.generation.arguments import detached, float_array
from mfcc_wavenet.generation.cpu.encoder import PackedEncoder


def refuse_without_units(settings: Settings, encoder: PackedEncoder) -> None:
    """UserError for a model that makes no units of MFCCs, and none yet."""
    if not settings.encoder.strides:
        raise UserError(
            "The model has no encoder (encoder.strides is []), so its MFCCs become no units; one that was trained with "
            "an encoder, as in encoder=channels128 bottleneck=vqvae_ema64 upsampling=units, has them."
        )
    if settings.bottleneck.has_codes and encoder.codebook is None:
        raise UserError(
            "The model has no codebook yet, so there are no units: it begins after bottleneck.quantise_from="
            f"{settings.bottleneck.quantise_from} steps of training; a later checkpoint has one."
        )


def checked_units(given: Any, bottleneck: BottleneckSettings) -> Int64[np.ndarray, " J"] | Float32[np.ndarray, "J D"]:
    """(J,) units of the codebook, or latents (J, D) of a bottleneck without one; at least one."""
    return _units(given, bottleneck.codes) if bottleneck.has_codes else _latents(given, bottleneck.channels)


def length_of_units(units: int, given: int | None, geometry: Geometry) -> int:
    """Samples: the number that is given, which so many units must be able to have, or the most that are whole hops."""
    longest = geometry.samples_of(units * geometry.encoder.stride)
    least, most = (units - 1) * geometry.latent_hop, max(units * geometry.latent_hop - 1, longest)
    if given is not None and not least <= given <= most:
        raise UserError(
            f"samples={given} does not match {units} units, which are those of {least} to {most} samples; without it, "
            f"{longest} are generated."
        )
    return longest if given is None else given


def _units(given: Any, codes: int) -> Int64[np.ndarray, " J"]:
    """(J,) units, at least one, each of 0 to codes - 1, of an array, a tensor, or a list or tuple of integers."""
    expected = f"expected are whole numbers (units,) from 0 to {codes - 1}"
    try:
        array = np.asarray(detached(given) if isinstance(given, torch.Tensor) else given)
    except Exception as error:  # as in float_array
        raise UserError(f"These units are not an array of numbers; {expected}.") from error
    if array.ndim != 1 or not len(array):
        raise UserError(f"These units have the shape {array.shape}; {expected}, at least one.")
    if array.dtype.kind not in "iu":
        raise UserError(f"These units are of the type {array.dtype}; {expected}.")
    wrong = np.flatnonzero((array < 0) | (array >= codes))
    if len(wrong):
        raise UserError(f"The unit at index {wrong[0]} is {array[wrong[0]]}; {expected}.")
    return array.astype(np.int64)


def _latents(given: Any, channels: int) -> Float32[np.ndarray, "J D"]:
    """(J, D) float32, at least one latent, of a bottleneck without a codebook."""
    array = float_array(given, "These latents", f"floats (latents, {channels})")
    if array.ndim != 2 or array.shape[1] != channels or not len(array):
        raise UserError(f"These latents have the shape {array.shape}; the model expects (1 or more, {channels}).")
    return array

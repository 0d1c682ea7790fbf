"""What settings take, in numbers of weights and bytes: arithmetic, before anything is allocated."""

import os
from itertools import pairwise
from math import ceil
from pathlib import Path

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings

FLOAT_BYTES = 4
COPIES_IN_TRAINING = 4  # of the weights: themselves, gradients and Adam's two moments
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def count_weights(settings: Settings, speakers: int) -> int:
    """Numbers that the model learns, biases included."""
    upsampling, wavenet = settings.upsampling, settings.wavenet
    widths = [_latent_channels(settings), *upsampling.frame_channels]
    frame_layers = sum((before * upsampling.frame_kernel_size + 1) * after for before, after in pairwise(widths))
    widths = [widths[-1]] + [upsampling.channels] * len(upsampling.strides)
    stages = sum((width * size + 1) * upsampling.channels for width, size in zip(widths, upsampling.kernel_sizes))
    layers, residual, gate = wavenet.blocks * wavenet.layers_per_block, wavenet.residual_channels, wavenet.gate_channels
    rows, columns = gate_matrix(settings)
    layer_weights = layers * rows * (columns + 1) + (layers - 1) * (gate + 1) * residual
    codes, skip, post = wavenet.quantization_channels, wavenet.skip_channels, wavenet.post_channels
    logits = codes * (2 if wavenet.classes == "both" else 1)
    head = (layers * gate + 1) * skip + (skip + 1) * post + (post + 1) * logits
    embeddings = codes * residual * (1 if wavenet.prediction == "none" else 2) + speakers * wavenet.speaker_channels
    return _encoder_weights(settings) + frame_layers + stages + embeddings + layer_weights + head


def gate_matrix(settings: Settings) -> tuple[int, int]:
    """Rows and columns, which are taps and conditioning, of the matrix of a gated layer: most weights are in these."""
    wavenet = settings.wavenet
    inputs = wavenet.kernel_size * wavenet.residual_channels + settings.upsampling.channels + wavenet.speaker_channels
    return 2 * wavenet.gate_channels, inputs


def _latent_channels(settings: Settings) -> int:
    """Of what is upsampled: latents or, without an encoder, frames."""
    return settings.bottleneck.channels if settings.encoder.strides else settings.features.channels


def _encoder_weights(settings: Settings) -> int:
    """Of the encoder, if there is one, the linear map to latents, and the codebook."""
    encoder, bottleneck = settings.encoder, settings.bottleneck
    if not encoder.strides:
        return 0
    widths = [settings.features.channels, *[encoder.channels] * len(encoder.strides)]
    layers = sum((before * size + 1) * after for (before, after), size in zip(pairwise(widths), encoder.kernel_sizes))
    mapped = bottleneck.channels * (2 if bottleneck.kind == "vae" else 1)
    codebook = bottleneck.codes * bottleneck.channels if bottleneck.has_codes else 0
    return layers + (encoder.channels + 1) * mapped + codebook


def remembered_bytes(settings: Settings) -> int:
    """Of the latents that are kept for a codebook."""
    bottleneck = settings.bottleneck
    return FLOAT_BYTES * bottleneck.memory * bottleneck.channels if bottleneck.has_codes else 0


def sizes(settings: Settings, speakers: int, samples: int) -> dict[str, int | float]:
    """What a run's config says of them next to its settings; samples: of the corpus."""
    hours = samples / settings.features.sample_rate / 3600
    return {"size.weights": count_weights(settings, speakers), "size.speakers": speakers, "size.hours": round(hours, 6)}


def windows_at_once(settings: Settings, processes: int) -> int:
    """In a pass through the network, of a step that these processes share and compute in parts."""
    return ceil(ceil(settings.window.batch_size / processes) / settings.train.accumulation)


def training_bytes(settings: Settings, geometry: Geometry, number_bytes: int = FLOAT_BYTES, processes: int = 1) -> int:
    """What a training step needs at the least: weights, and what every position keeps for the backward pass.

    number_bytes: of each number that a layer keeps; processes: that share a step's windows, of which one is meant.
    """
    wavenet, window = settings.wavenet, settings.window
    at_once = windows_at_once(settings, processes)
    inputs = wavenet.kernel_size * wavenet.residual_channels + settings.upsampling.channels
    per_layer = inputs + 3 * wavenet.gate_channels  # and tanh, sigmoid and their product
    positions = at_once * (window.samples + geometry.receptive_field // 2)  # fewer in each later layer
    gated = 2 * wavenet.gate_channels  # once more of all layers, in one array for the skips, and its gradient
    kept = len(geometry.dilations) * (positions * per_layer + at_once * window.samples * gated)
    frames = [geometry.window_frame_span((0, window.samples)), geometry.window_latent_span((0, window.samples))]
    per_frame = settings.encoder.channels * len(settings.encoder.strides)
    kept += at_once * per_frame * max(stop - start for start, stop in frames)
    # Logits of all parts, which the metrics are computed from, and the gradients of those of one.
    predictions = (ceil(window.batch_size / processes) + at_once) * window.samples
    logits = predictions * wavenet.quantization_channels
    trained = (COPIES_IN_TRAINING * count_weights(settings, speakers=1) + logits) * FLOAT_BYTES
    return trained + kept * number_bytes + remembered_bytes(settings)


def memory_bytes() -> int:
    """Of this machine, or of the container that this process is in."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    return min(machine, int(limit)) if limit.isdigit() else machine


def refuse_too_large(needed: int, what: str, there: int | None = None) -> None:
    """UserError if that many bytes cannot be had; what: the settings that decide, for the sentence.

    there: bytes of the device; None: of this machine.
    """
    there = memory_bytes() if there is None else there
    if needed > there:
        raise UserError(
            f"These settings need {needed / 2**30:,.0f} GiB of memory or more, and there are {there / 2**30:,.0f}; "
            f"a smaller {what} would fit."
        )

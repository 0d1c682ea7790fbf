"""The figures of the autoencoder: `python -m docs.autoencoder` draws docs/autoencoder.png and docs/codebook.png.

Every number in them is that of units64, read from its pinned checkpoint, and the units are those of the sentence.
"""

from pathlib import Path

import numpy as np
import soundfile
from matplotlib.figure import Figure

from docs.model import (
    AMBER,
    AMBER_BAND,
    BLUE,
    BLUE_BAND,
    BLUE_FILL,
    FRAMES,
    GREEN,
    GREEN_FILL,
    GREY,
    INK,
    PURPLE,
    PURPLE_FILL,
    RED,
    RED_FILL,
    SENTENCE,
    Page,
    draw_mfccs,
)
from mfcc_wavenet import Inverter
from mfcc_wavenet.config.experiments import pinned_checkpoint
from mfcc_wavenet.config.files import replacing
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs import plots

PICTURE, CODES = (Path(__file__).with_name(name) for name in ("autoencoder.png", "codebook.png"))
RECORD = "units64"
SHOWN_UNITS = 6
HEIGHT = 300  # of the page, which is as wide as that of the model


def draw(checkpoint: Checkpoint) -> Figure:
    """From MFCC frames to units above, and from units to samples below."""
    page = Page(HEIGHT)
    audio, rate = soundfile.read(SENTENCE, dtype="float32")
    page.band(8, 8, 784, 136, BLUE_BAND)
    page.band(8, 156, 784, 136, AMBER_BAND)
    draw_encoder(page, checkpoint, audio)
    inverter = Inverter(checkpoint)
    units = inverter.encode(inverter.features(audio, rate))
    draw_decoder(page, checkpoint, [int(unit) for unit in units[FRAMES.start // 2 : FRAMES.stop // 2]], audio)
    return page.figure


def draw_encoder(page: Page, checkpoint: Checkpoint, audio: np.ndarray) -> None:
    """The frames, the convolutions over them, and the codebook."""
    settings, geometry = checkpoint.settings, checkpoint.geometry
    bottleneck, encoder = settings.bottleneck, settings.encoder
    page.text(22, 24, "mode=encode", ha="left", weight="bold", color=BLUE)
    draw_mfccs(page, checkpoint, audio)
    page.text(99, 126, f"MFCCs and deltas (F, {settings.features.channels})")
    page.arrow((178, 75), (238, 75))
    layers, seen = len(encoder.kernel_sizes), geometry.encoder.receptive_field
    page.box(238, 46, 156, 58, f"{layers} convolutions\n{encoder.channels} wide, over {seen} frames", BLUE, BLUE_FILL)
    page.arrow((394, 75), (494, 75))
    page.text(444, 64, f"50 Hz (J, {bottleneck.channels})")
    page.box(494, 46, 156, 58, f"nearest of {bottleneck.codes} codes\nmoving averages", PURPLE, PURPLE_FILL)
    page.arrow((650, 75), (712, 75), (712, 180))
    page.text(718, 128, "units (J,)", ha="left", weight="bold", color=RED)


def draw_decoder(page: Page, checkpoint: Checkpoint, units: list[int], audio: np.ndarray) -> None:
    """The units, what they are upsampled to, and the WaveNet with its past."""
    settings, geometry = checkpoint.settings, checkpoint.geometry
    wavenet, hop = settings.wavenet, geometry.latent_hop
    page.text(22, 172, "mode=decode", ha="left", weight="bold", color=AMBER)
    written = f"{' '.join(map(str, units[:SHOWN_UNITS]))} ...\nedited, or written\nby another model"
    page.box(638, 180, 148, 58, written, RED, RED_FILL)
    page.arrow((638, 209), (576, 209))
    page.box(428, 180, 148, 58, f"codes, upsampled\nfrom 1 to {hop} samples", BLUE, BLUE_FILL)
    page.arrow((428, 209), (360, 209))
    page.text(394, 198, f"(T, {settings.upsampling.channels})")
    wavenet_sees = f"WaveNet\n{geometry.receptive_field} past samples,\n{wavenet.quantization_channels} codes"
    page.box(222, 180, 138, 58, wavenet_sees, GREEN, GREEN_FILL)
    page.arrow((222, 209), (178, 209))
    wave = page.inset(24, 186, 150, 46)
    wave.plot(audio[FRAMES.start * 160 : FRAMES.start * 160 + 2400], color=INK, linewidth=0.6)
    page.text(99, 244, "samples (T,)", color=INK)
    page.box(318, 252, 146, 30, "speaker embedding", GREY, "white")
    page.arrow((318, 267), (291, 267), (291, 238))
    page.text(22, 280, f"channels are those of {RECORD}", ha="left", color=GREY)


def main() -> None:
    checkpoint = checkpoints.load(pinned_checkpoint(RECORD))
    with replacing(PICTURE) as unfinished:
        draw(checkpoint).savefig(unfinished, format="png")
    codes = checkpoint.model().codes_in_use()
    plots.save(plots.codebook(codes.vectors, codes.shares, codes.perplexity, RECORD), CODES)


if __name__ == "__main__":
    main()

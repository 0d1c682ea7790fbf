"""The figure of the model in the README: `python -m docs.model` draws docs/model.png.

Every number in it is the baseline's, read from its pinned checkpoint, and so is the sentence whose MFCCs and
samples are shown.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Outline

from mfcc_wavenet.config.experiments import pinned_checkpoint
from mfcc_wavenet.config.files import replacing
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.sources import PACKAGE
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

PICTURE = Path(__file__).with_name("model.png")
WIDTH, HEIGHT = 800, 716  # of the page that everything is placed on, in units that are pixels where it is shown
DPI = 200  # 100 units are an inch, so the picture has twice as many pixels as it is shown with
SENTENCE = PACKAGE / "demo" / "01_lighthouse.flac"
FRAMES = slice(14, 66)  # of the sentence, that are shown
SAMPLES = slice(3300, 3552)

INK, GREY, LINE = "#22262b", "#66707a", "#4a535c"
BLUE, BLUE_FILL, BLUE_BAND = "#1f5fa8", "#dce9f7", "#f2f7fc"
AMBER, AMBER_BAND, AMBER_EDGE = "#9a6a14", "#fdf8ef", "#d9cba6"
GREEN, GREEN_FILL = "#2e7d32", "#e3f1e4"
PURPLE, PURPLE_FILL = "#6a4c93", "#ece6f4"
RED, RED_FILL = "#c0392b", "#fbe6e3"

Point = tuple[float, float]


class Page:
    """A sheet to draw on; x runs to the right and y down, from the upper left corner."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=DPI, facecolor="white")
        self.ax = self.figure.add_axes((0, 0, 1, 1))
        self.ax.set_xlim(0, WIDTH)
        self.ax.set_ylim(height, 0)
        self.ax.axis("off")

    def band(self, x: float, y: float, width: float, height: float, fill: str, edge: str = "none") -> None:
        """A background."""
        style = "round,pad=0,rounding_size=10"
        self.ax.add_patch(
            FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=fill, edgecolor=edge, linewidth=1)
        )

    def box(
        self, x: float, y: float, width: float, height: float, text: str, edge: str, fill: str, dashed: bool = False
    ) -> None:
        """A layer: its name in bold, and below it whatever follows the first line."""
        self.ax.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle="round,pad=0,rounding_size=5", facecolor=fill, edgecolor=edge,
                linewidth=1.2, linestyle="--" if dashed else "-", zorder=3,
            )
        )  # fmt: skip
        name, *more = text.split("\n")
        middle = y + height / 2
        lines = [(name, "bold", INK), *((line, "normal", GREY) for line in more)]
        for number, (line, weight, colour) in enumerate(lines):
            at = middle + (number - (len(lines) - 1) / 2) * 14
            self.text(x + width / 2, at, line, weight=weight, color=colour)

    def text(self, x: float, y: float, text: str, size: float = 7.8, **style: object) -> None:
        placed = {"ha": "center", "va": "center", "color": INK, "zorder": 5} | style
        self.ax.text(x, y, text, fontsize=size, linespacing=1.25, **placed)

    def arrow(self, *points: Point, color: str = LINE, head: bool = True, dashed: bool = False) -> None:
        """Through the points, with an arrow head at the last one."""
        self.ax.add_patch(
            FancyArrowPatch(
                path=Outline(points), arrowstyle="-|>,head_length=4,head_width=2.2" if head else "-", color=color,
                linewidth=1.2, linestyle="--" if dashed else "-", shrinkA=0, shrinkB=0, zorder=2,
                joinstyle="round", capstyle="butt",
            )
        )  # fmt: skip

    def circle(self, x: float, y: float, text: str, edge: str = LINE, fill: str = "white", radius: float = 10) -> None:
        """An operation on two things, element by element."""
        self.ax.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=edge, linewidth=1.2, zorder=3))
        self.text(x, y, text, size=9)

    def dot(self, x: float, y: float, color: str, radius: float = 1.8) -> None:
        self.ax.add_patch(Circle((x, y), radius, facecolor=color, edgecolor="none", zorder=4))

    def inset(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes of their own, for data."""
        axes = self.figure.add_axes((x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes


def draw_mfccs(page: Page, checkpoint: Checkpoint, audio: np.ndarray) -> None:
    """The frames of the sentence that are shown, as the network sees them; an arrow leads on from (178, 75)."""
    frames = checkpoint.statistics.normalise(features(audio, checkpoint.settings.features))
    heat_map = page.inset(24, 38, 150, 74)
    heat_map.imshow(frames[:, FRAMES], cmap="magma", aspect="auto", origin="lower", vmin=-2.5, vmax=2.5)


def draw(checkpoint: Checkpoint) -> Figure:
    """The model of that checkpoint, from MFCC frames to the next sample and back."""
    page = Page(HEIGHT)
    audio, _ = soundfile.read(SENTENCE, dtype="float32")
    page.band(8, 8, 784, 134, BLUE_BAND)
    page.band(8, 150, 784, 558, AMBER_BAND)
    draw_frames(page, checkpoint, audio)
    draw_layers(page, checkpoint)
    draw_layer(page, checkpoint)
    draw_head(page, checkpoint, audio)
    return page.figure


def draw_frames(page: Page, checkpoint: Checkpoint, audio: np.ndarray) -> None:
    """MFCC frames, the convolution at frame rate and the transposed convolution, which leads down to the samples."""
    settings = checkpoint.settings
    hop, channels = settings.features.hop_length, settings.features.channels
    (width,), (stride,) = settings.upsampling.frame_channels, settings.upsampling.strides
    milliseconds = 1000 * hop // settings.features.sample_rate
    page.text(22, 24, f"frame rate: a frame every {milliseconds} ms, {hop} samples", ha="left", color=BLUE)
    page.text(22, 166, f"sample rate: {settings.features.sample_rate:,} samples a second", ha="left", color=AMBER)

    draw_mfccs(page, checkpoint, audio)
    page.text(99, 126, "MFCCs, deltas, delta-deltas")

    page.arrow((178, 75), (262, 75))
    page.text(220, 64, f"(F, {channels})")
    kernel_size = settings.upsampling.frame_kernel_size
    page.box(262, 52, 142, 46, f"convolution\nover {kernel_size} frames, ReLU", BLUE, BLUE_FILL)
    page.arrow((404, 75), (560, 75), (560, 118))
    page.text(482, 64, f"(F, {width})")
    page.box(468, 118, 184, 46, f"transposed convolution\nfrom 1 frame to {stride} samples", BLUE, BLUE_FILL)


def draw_layers(page: Page, checkpoint: Checkpoint) -> None:
    """The row of gated layers between the conditioning above and the skip connections below."""
    wavenet, dilations = checkpoint.settings.wavenet, checkpoint.geometry.dilations
    channels = wavenet.residual_channels
    top, bottom, bus, skips = 246, 306, 200, 332
    page.box(24, top, 82, bottom - top, f"embeddings\n2 × {wavenet.quantization_channels} → {channels}", RED, RED_FILL)
    page.text(129, top + 19, f"(T, {channels})")

    width, pitch, left = 42, 54, 152
    middles = [left + width / 2 + pitch * layer for layer in range(len(dilations))]
    for block in range(wavenet.blocks):
        start = left + block * wavenet.layers_per_block * pitch
        page.band(start - 4, top - 22, wavenet.layers_per_block * pitch - 4, bottom - top + 32, "#f3ead7")
        page.text(start + width / 2 + pitch * 1.5, top - 11, f"block {block + 1}", color=AMBER)
    page.arrow((106, 276), (left, 276))
    for middle, following in pairwise(middles):
        page.arrow((middle + width / 2, 276), (following - width / 2, 276))
    for middle, dilation in zip(middles, dilations):
        page.box(middle - width / 2, top, width, bottom - top, "", GREEN, GREEN_FILL)
        draw_taps(page, middle, top, dilation, max(dilations))
        page.arrow((middle, bus), (middle, top))
        page.arrow((middle, bottom), (middle, skips), head=False)

    page.arrow((560, 164), (560, bus), head=False)
    page.arrow((middles[0], bus), (722, bus), head=False)
    page.text(350, bus - 11, f"one conditioning vector per sample (T, {checkpoint.settings.upsampling.channels})")
    page.box(660, 118, 126, 46, "speaker\nembedding, optional", GREY, "white", dashed=True)
    page.arrow((722, 164), (722, bus), head=False, dashed=True)

    page.arrow((middles[0], skips), (726, skips), (726, 356))
    gated = len(dilations) * wavenet.gate_channels
    page.text(
        454,
        skips + 12,
        f"skip connections: the gated outputs of all layers (T, {gated})",
        bbox={"facecolor": AMBER_BAND, "edgecolor": "none", "pad": 2},
    )


def draw_taps(page: Page, middle: float, top: float, dilation: int, widest: int) -> None:
    """In a layer's box: of all positions, the two that it sees for one output."""
    pitch, y, output = 32 / widest, top + 42, top + 12
    now = middle + 16
    for position in range(widest + 1):
        page.dot(now - position * pitch, y, "#a9c9ab", 0.8)
    for seen in (now, now - dilation * pitch):
        page.ax.plot([seen, now], [y, output], color=GREEN, linewidth=0.9, zorder=4)
        page.dot(seen, y, GREEN)
    page.dot(now, output, GREEN)
    page.text(middle - 9, top + 17, f"{dilation}", weight="bold")


def draw_layer(page: Page, checkpoint: Checkpoint) -> None:
    """A card with one layer in detail."""
    wavenet, conditioning = checkpoint.settings.wavenet, checkpoint.settings.upsampling.channels
    residual, gate, taps = wavenet.residual_channels, wavenet.gate_channels, wavenet.kernel_size
    left, top, right, bottom = 112, 370, 648, 608
    for corner, of_card in ((314, left + 20), (356, right - 20)):  # of the third layer's box
        page.ax.plot([corner, of_card], [306, top], color="#c9b98f", linewidth=0.8, linestyle=":", zorder=1)
    page.band(left, top, right - left, bottom - top, "white", edge=AMBER_EDGE)
    page.text(left + 14, top + 17, "a layer of dilation d", ha="left", weight="bold", color=GREEN)

    rows = {432: f"conditioning (T, {conditioning})", 470: f"x[t − d] (T, {residual})", 508: f"x[t] (T, {residual})"}
    for y, label in rows.items():
        page.text(126, y, label, ha="left")
        page.arrow((238, y), (278, y))
    inputs = taps * residual + conditioning
    page.box(278, 414, 104, 112, f"dilated conv.\nand conditioning\n{inputs} → {2 * gate}", GREEN, GREEN_FILL)
    for y, name in ((444, "tanh"), (496, "sigmoid")):
        page.arrow((382, y), (424, y))
        page.box(424, y - 13, 58, 26, name, GREEN, GREEN_FILL)
        page.arrow((482, y), (512, y), (512, 470 + (10 if y > 470 else -10)))
    page.text(403, 433, f"{gate}")
    page.text(403, 485, f"{gate}")
    page.circle(512, 470, "×")
    page.arrow((522, 470), (640, 470))
    page.text(596, 448, f"to the skip sum\n(T, {gate})")
    page.dot(556, 470, LINE, 2.2)
    page.arrow((556, 470), (556, 500))
    page.box(514, 500, 84, 42, f"residual\n{gate} → {residual}", GREEN, GREEN_FILL)
    page.arrow((556, 542), (556, 568))
    page.circle(556, 578, "+")
    page.dot(256, 508, LINE, 2.2)
    page.arrow((256, 508), (256, 578), (546, 578))
    page.arrow((566, 578), (640, 578))
    page.text(606, 594, f"next x (T, {residual})")


def draw_head(page: Page, checkpoint: Checkpoint, audio: np.ndarray) -> None:
    """From the skip connections to the next code, the sample that it stands for, and back to the embedding."""
    wavenet = checkpoint.settings.wavenet
    skip, post, codes = wavenet.skip_channels, wavenet.post_channels, wavenet.quantization_channels
    gated = len(checkpoint.geometry.dilations) * wavenet.gate_channels
    x, width, middle = 668, 116, 726
    page.box(x, 356, width, 40, f"skip sum\n{gated} → {skip}, ReLU", PURPLE, PURPLE_FILL)
    page.box(x, 418, width, 40, f"post layer\n{skip} → {post}, ReLU", PURPLE, PURPLE_FILL)
    page.box(x, 480, width, 40, f"logits, summed\n{post} → 2 × {codes}", PURPLE, PURPLE_FILL)
    for y, shape in ((396, skip), (458, post), (520, codes)):
        page.arrow((middle, y), (middle, y + 22))
        page.text(middle + 8, y + 10, f"(T, {shape})", ha="left")

    bars = page.inset(x, 542, width, 40)
    heights = 1 / (1 + (np.arange(-24, 25) / 4.0) ** 2)
    bars.bar(np.arange(len(heights)), heights, width=0.8, color=["#b9a6d3"] * 24 + [RED] + ["#b9a6d3"] * 24)
    bars.set_ylim(0, 1.15)
    page.text(middle, 592, f"softmax, {codes} codes")
    page.arrow((middle, 601), (middle, 620))
    page.box(x, 620, width, 40, "next code\narg-max or drawn", RED, RED_FILL)

    page.arrow((x, 632), (65, 632), (65, 306), color=RED)
    page.text(380, 622, "fed back: past codes (T,), and their linear prediction, from the MFCCs", color=RED)
    page.arrow((middle, 660), (middle, 684), (652, 684))
    wave = page.inset(400, 662, 248, 40)
    past = audio[SAMPLES]
    wave.plot(past, color=INK, linewidth=0.9)
    wave.plot([len(past) - 1], [past[-1]], "o", color=RED, markersize=3.5)
    wave.set_xlim(-2, len(past) + 1)
    page.text(732, 678, "mu-law\ndecoding", size=7, ha="left", color=GREY)
    page.text(22, 684, "F frames, T samples; channels are the baseline's", ha="left", color=GREY)


def main() -> None:
    checkpoint = checkpoints.load(pinned_checkpoint("baseline"))
    with replacing(PICTURE) as unfinished:
        draw(checkpoint).savefig(unfinished, format="png")


if __name__ == "__main__":
    main()

"""Pictures of a run: the original next to what was generated, and how the errors went to zero.

Everything is drawn on matplotlib's Figure itself, without pyplot and its global state, so that it
works in any thread and on a machine without a screen.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image
from PIL.Image import Quantize

from mfcc_wavenet.config.files import replacing

WINDOW_SECONDS = 0.032  # of a spectrum: resolves the harmonics of a voice
COLUMNS = 450  # spectra side by side, more or less
RANGE_DB = 80.0  # from the loudest point of the original to black
SHADES = 40  # of 2 dB each: fewer shades, fewer bytes
POINTS = 2000  # of a waveform that are drawn as a line; longer ones as an envelope
COLOURS = 128  # a palette takes a fraction of the bytes of full colour
ZERO = "zero, the aim"
TITLE_CHARACTERS = 60  # of any width that fit over a picture
MAX_CODES = 512  # whose distances are drawn
MAX_MARKED = 40  # points of a curve with a marker each
UNITS = {10**9: "billions", 10**6: "millions", 10**3: "thousands"}  # of an axis whose numbers get long
SILENCE = 1e-3  # amplitude below which waveforms are drawn flat
BLUE, RED, PINK, GREEN = "#1f5fa8", "#c0392b", "#e0a49c", "#2e7d32"
GREY = "#555555"
OVER = "#e8e8e8"  # where a sound is over
WAVE_COLOURS = (BLUE, BLUE, RED)


def spectrograms(
    original: Float[np.ndarray, " original"], generated: Float[np.ndarray, " generated"], sample_rate: int, title: str
) -> Figure:
    """Both sounds, which may differ in length.

    From top to bottom: the two spectrograms on one scale of colours (dB below the loudest point of
    the original), both waveforms, and what differs between them where both have samples. How much
    that is stands under the title, which is written as it is, whatever it holds.
    """
    original, generated = (np.asarray(wav, dtype=np.float64) for wav in (original, generated))
    figure = Figure(figsize=(12, 9), dpi=100, layout="constrained")
    axes = figure.subplots(5, 1, sharex=True, height_ratios=(3, 3, 1.2, 1.2, 1.2))
    _entitle(figure, title, _in_words(original, generated))

    longest = max(len(original), len(generated), 1)
    hop = max(1, longest // COLUMNS)
    window = max(2, round(WINDOW_SECONDS * sample_rate))
    loudest = max(_magnitudes(original, window, hop).max(), np.finfo(np.float64).tiny)
    for ax, wav, label in zip(axes, (original, generated), ("original", "generated"), strict=False):
        image = _spectrogram(ax, wav, window, hop, sample_rate, loudest)
        ax.set_ylabel(f"{label}\nkHz")
    bar = figure.colorbar(image, ax=list(axes[:2]), pad=0.01, aspect=30)
    bar.set_label("dB (0: the loudest of the original)")

    common = min(len(original), len(generated))
    difference = generated[:common] - original[:common]
    peak = max([np.abs(wav).max() for wav in (original, generated) if len(wav)] + [SILENCE])
    waves = {"original": original, "generated": generated, "difference": difference}
    for ax, (label, wav), colour in zip(axes[2:], waves.items(), WAVE_COLOURS, strict=True):
        _waveform(ax, wav, sample_rate, colour)
        ax.set_ylabel(label)
        ax.set_ylim(-1.1 * peak, 1.1 * peak)
        ax.grid(alpha=0.25)
        ax.set_axisbelow(True)
    axes[4].set_xlim(0, longest / sample_rate)
    axes[4].set_xlabel("seconds")
    figure.align_ylabels(axes)
    return figure


def curves(history: list[dict], title: str) -> Figure:
    """Loss and wrong samples against the samples seen, on logarithmic scales.

    A row of the history has "samples_seen" and some of "loss" (nats per sample), "valid_nats" (the
    same, of what is held out for validation), "wrong_estimate" (wrong samples of all, judged by the
    latest training windows) and "wrong" (the same, counted in a pass over everything); one that
    lacks a value, or has None or NaN there, is left out of that curve. Zero wrong samples, the aim,
    has its own line at the bottom, with a mark where it was reached first. A row with "returned_to"
    is a vertical line: training returned to its best pass.
    The title, the run's name, is written as it is, whatever it holds.
    """
    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _entitle(figure, title)
    seen, loss = _curve(above, history, "loss", BLUE, "while training")
    validated_at, valid = _curve(above, history, "valid_nats", RED, "valid part, not trained on")
    loss = np.concatenate([loss, valid])
    _loss_scale(above, loss[loss > 0])
    above.set_ylabel("loss (nats per sample)")
    seen_then, estimates = _curve(below, history, "wrong_estimate", PINK, "while training")
    counted_at, wrong = _curve(below, history, "wrong", RED, "counted in a whole pass")
    below.set_yscale("symlog", linthresh=1, linscale=0.4)
    below.set_ylim(-0.3, max(10.0, 2 * max(wrong.max(initial=0), estimates.max(initial=0))))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    below.axhline(0, color=GREEN, linewidth=1, linestyle="--", label=ZERO)
    below.set_ylabel("wrong samples")
    if (wrong == 0).any():
        first = counted_at[np.argmax(wrong == 0)]
        label = f"first 0 wrong, at {first:,.0f} samples seen"
        mark = {"marker": "*", "markersize": 15, "linestyle": "none", "clip_on": False, "zorder": 5}
        below.plot(first, 0, color=GREEN, markeredgecolor="white", label=label, **mark)
    _samples_scale(below, np.concatenate([seen, validated_at, seen_then, counted_at]))
    for number, row in enumerate(row for row in history if "returned_to" in row):
        label = "_another" if number else "returned to the best pass"
        above.axvline(row["samples_seen"], color=GREY, linewidth=1, linestyle=":", label=label)
    for ax, curve in ((above, loss), (below, np.concatenate([estimates, wrong]))):
        ax.grid(alpha=0.25, which="both")
        if ax.get_legend_handles_labels()[0]:  # over the axes, where it covers nothing
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2)
        if not len(curve):
            ax.text(0.5, 0.5, "nothing logged yet", transform=ax.transAxes, ha="center")
            ax.set_yticks([])
    return figure


def bare_spectrograms(sounds: Sequence[Float[np.ndarray, " _"]], sample_rate: int) -> list[Image.Image]:
    """Pictures, without axes, of sounds to be looked at side by side.

    All have one scale of time, from 0 to the end of the longest, of frequency, from 0 to half the
    sample rate, and of colours, dB below the loudest point of the first sound.
    """
    hop = max(1, max(len(wav) for wav in sounds) // COLUMNS)
    window = max(2, round(WINDOW_SECONDS * sample_rate))
    magnitudes = [_magnitudes(wav.astype(np.float64), window, hop) for wav in sounds]
    loudest = max(magnitudes[0].max(), np.finfo(np.float64).tiny)
    columns = max(of_sound.shape[1] for of_sound in magnitudes)
    return [_bare(_decibels(of_sound, loudest), columns) for of_sound in magnitudes]


def codebook(
    vectors: Float[np.ndarray, "K D"], shares: Float[np.ndarray, " K"], perplexity: float, title: str
) -> Figure:
    """How often each code is used, the most frequent first, and how far codes are from each other.

    shares: of all latents; perplexity: of these. The distances are Euclidean, with similar codes side by side; of a
    large codebook, those of the most frequent codes.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # a second of imports, for a model that has a codebook
    from scipy.spatial.distance import pdist, squareform

    by_use = np.argsort(-shares, kind="stable")
    shown = vectors[by_use[:MAX_CODES]]
    distances = pdist(shown)
    order = leaves_list(linkage(distances, "average"))
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    used, matrix = figure.subplots(1, 2)
    _entitle(figure, title, f"{len(shares):,} codes, in use as {perplexity:.1f} that are equally frequent would be")
    used.bar(np.arange(len(shares)), 100 * shares[by_use], width=1, color=BLUE)
    used.axhline(100 / len(shares), color=GREEN, linewidth=1, linestyle="--", label="if all were equally frequent")
    used.set_xlabel("codes, the most frequent first")
    used.set_ylabel("% of all latents")
    used.legend(frameon=False)
    image = matrix.imshow(squareform(distances)[np.ix_(order, order)], cmap="magma", vmin=0, interpolation="nearest")
    matrix.set_xlabel("codes, similar ones side by side")
    figure.colorbar(image, ax=matrix, label="distance")
    return figure


@lru_cache(maxsize=1)
def drawn(figure: Figure) -> Image.Image:
    """The figure as a picture; a letter that the font lacks, in a name, is drawn as a box.

    Drawing takes most of a second: what goes to W&B and then into a file is drawn once.
    """
    canvas = FigureCanvasAgg(figure)  # savefig would draw twice, and pack what is unpacked at once
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()).copy())


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as a PNG picture, whole or not at all."""
    picture = drawn(figure).convert("RGB").quantize(COLOURS, Quantize.MAXCOVERAGE)
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG", optimize=True)


def _magnitudes(wav: Float[np.ndarray, " samples"], window: int, hop: int) -> Float[np.ndarray, "frequencies frames"]:
    """Of the short-time spectra; frame f is centred on sample f * hop."""
    from mfcc_wavenet import librosa  # seconds of imports, which the pictures of a sweep do without

    wav = wav if len(wav) else np.zeros(1)
    with warnings.catch_warnings(action="ignore"):  # about a sound that is shorter than a window
        return np.abs(librosa.stft(wav, n_fft=window, hop_length=hop, pad_mode="constant"))


def _decibels(
    magnitudes: Float[np.ndarray, "frequencies frames"], loudest: float
) -> Float[np.ndarray, "frequencies frames"]:
    return 20 * np.log10(np.maximum(magnitudes / loudest, 10 ** (-RANGE_DB / 20)))


def _bare(decibels: np.ndarray, columns: int) -> Image.Image:
    """A pixel per frequency and spectrum, the lowest frequency at the bottom, grey up to that many columns."""
    shades = np.minimum((decibels / RANGE_DB + 1) * SHADES, SHADES - 1).astype(np.uint8)
    shades = np.pad(shades, ((0, 0), (0, columns - shades.shape[1])), constant_values=SHADES)
    picture = Image.fromarray(shades[::-1])
    colours = [*colormaps["magma"].resampled(SHADES)(range(SHADES)), to_rgba(OVER)]
    picture.putpalette([round(255 * part) for colour in colours for part in colour[:3]])
    return picture


def _spectrogram(ax: Axes, wav: np.ndarray, window: int, hop: int, sample_rate: int, loudest: float) -> AxesImage:
    magnitudes = _magnitudes(wav, window, hop)
    end = max(len(wav), 1) / sample_rate
    ax.set_facecolor(OVER)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax.imshow(
        _decibels(magnitudes, loudest), extent=(0, end, 0, sample_rate / 2000), vmin=-RANGE_DB, vmax=0,
        cmap=colormaps["magma"].resampled(SHADES), origin="lower", aspect="auto",
        interpolation="nearest",
    )  # fmt: skip


def _waveform(ax: Axes, wav: np.ndarray, sample_rate: int, colour: str) -> None:
    if len(wav) <= POINTS:
        marker = "." if len(wav) <= POINTS // 20 else None
        seconds = np.arange(len(wav)) / sample_rate
        ax.plot(seconds, wav, color=colour, linewidth=0.9, marker=marker)
        return
    starts = np.arange(0, len(wav), len(wav) // (POINTS // 2))
    low, high = np.minimum.reduceat(wav, starts), np.maximum.reduceat(wav, starts)
    # The outline keeps the envelope visible where it has no height.
    ax.fill_between(starts / sample_rate, low, high, color=colour, linewidth=0.8)


def _in_words(original: np.ndarray, generated: np.ndarray) -> str:
    common = min(len(original), len(generated))
    if not common:
        return "nothing to compare"
    difference = generated[:common] - original[:common]
    lengths = "" if len(original) == len(generated) else f" in the first {common:,} samples"
    if not difference.any():
        return f"identical{lengths or ', sample for sample'}"
    signal, noise = np.square(original[:common]).sum(), np.square(difference).sum()
    ratio = f", signal to difference {10 * np.log10(signal / noise):.1f} dB" if signal else ""
    return f"largest difference {np.abs(difference).max():.3g}{ratio}{lengths}"


def _entitle(figure: Figure, title: str, below: str = "") -> None:
    """Over the figure. Names are not formulas: what is between dollar signs is text."""
    half = TITLE_CHARACTERS // 2
    title = title if len(title) <= TITLE_CHARACTERS else f"{title[:half]}...{title[-half:]}"
    visible = "".join(letter if letter.isprintable() else " " for letter in title)
    figure.suptitle("\n".join(filter(None, [visible, below])), fontsize=14, parse_math=False)


def _curve(ax: Axes, history: list[dict], key: str, colour: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws it; returns samples seen and values. A curve without points has no place in the legend."""
    rows = [(row["samples_seen"], row[key]) for row in history if row.get(key) is not None]
    points = np.array(rows, dtype=np.float64).reshape(-1, 2)
    seen, values = points[np.isfinite(points).all(axis=1)].T
    marker = "o" if len(seen) <= MAX_MARKED else None
    label = label if len(seen) else "_nothing"
    ax.plot(seen, values, color=colour, linewidth=1.4, marker=marker, markersize=3.5, label=label)
    return seen, values


def _loss_scale(ax: Axes, loss: np.ndarray) -> None:
    """Logarithmic, with ticks in plain decimals: the denser, the less the loss has changed."""
    if not len(loss):
        return
    ax.set_yscale("log")
    decades = np.log10(loss.max() / loss.min())
    if decades < 1:
        ax.yaxis.set_major_locator(MaxNLocator(6))
    else:
        ax.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 3 else (1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain_decimal(value)))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _samples_scale(ax: Axes, seen: np.ndarray) -> None:
    """From 0, unless the first row is far from it; one unit for all ticks."""
    most, fewest = seen.max(initial=0), seen.min(initial=np.inf)
    unit = next((unit for unit in UNITS if most >= 2 * unit), 1)
    ax.set_xlabel(f"samples seen ({UNITS[unit]})" if unit in UNITS else "samples seen")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:,.6g}"))
    if not most:
        ax.set_xticks([])
    elif fewest < most / 2 or fewest == most:
        ax.set_xlim(0, 1.02 * most)


def _plain_decimal(value: float) -> str:
    """Without an exponent."""
    return np.format_float_positional(float(f"{value:.6g}"), trim="-")

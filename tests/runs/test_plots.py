"""What the pictures claim: one scale for both sounds, seconds and kHz, every error visible, zero drawn as zero."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from support.settings import DEMO, ROOT

from mfcc_wavenet.models.bottleneck import CodesInUse
from mfcc_wavenet.runs import plots

RATE = 16000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    wav, rate = soundfile.read(min(DEMO.glob("*.flac")), dtype="float32")
    assert rate == RATE
    return wav


def row(samples_seen: int, loss: float | None, errors: float | None) -> dict:
    return {"step": samples_seen // 1000, "samples_seen": samples_seen, "loss": loss, "wrong": errors}


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ticks(figure: Figure) -> list[str]:
    """What is written at the ticks of all axes."""
    figure.canvas.draw()
    labels = [
        label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels(which="both")
    ]
    return [label.get_text() for label in labels if label.get_text()]


def test_both_spectrograms_share_one_scale(speech):
    """At half the amplitude the same sound is 6 dB darker; scaled to itself it would look the same."""
    figure = plots.spectrograms(speech, 0.5 * speech, RATE, "half")
    original, generated = (ax.images[0] for ax in figure.axes[:2])
    assert original.get_clim() == generated.get_clim()
    assert original.get_array().max() == pytest.approx(0)
    assert generated.get_array().max() == pytest.approx(20 * np.log10(0.5))


def test_a_tone_is_where_the_axes_say():
    """1 kHz in the second half of a second: brightest at 1 kHz, after 0.5 s, on axes up to 8 kHz and 1 s."""
    seconds = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * seconds) * (seconds >= 0.5)
    ax = plots.spectrograms(tone, tone, RATE, "tone").axes[0]
    loudness = np.asarray(ax.images[0].get_array())
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (0, 1, 0, 8)
    frequency = bottom + (top - bottom) * (loudness.mean(axis=1).argmax() + 0.5) / loudness.shape[0]
    start = left + (right - left) * (loudness.max(axis=0) > -20).argmax() / loudness.shape[1]
    assert frequency == pytest.approx(1, abs=0.05) and start == pytest.approx(0.5, abs=0.015)
    assert ax.get_xlim() == (0, 1)


def test_identity_is_claimed_only_where_it_holds(speech):
    """One code changed by one step in three seconds is no identity, and its peak is in the drawn difference."""
    changed = speech.copy()
    changed[len(speech) // 2] += 0.01
    for generated, claimed in ((speech.copy(), True), (changed, False)):
        figure = plots.spectrograms(speech, generated, RATE, "claim")
        assert ("identical, sample for sample" in figure.get_suptitle()) == claimed
        difference = figure.axes[4].collections[0].get_paths()[0].vertices[:, 1]
        assert difference.max() == pytest.approx(0 if claimed else 0.01, rel=1e-4)
        assert not any(ax.texts for ax in figure.axes), "words over a curve hide it"
    part = plots.spectrograms(speech, speech[:4000], RATE, "part")
    assert "identical in the first 4,000 samples" in part.get_suptitle()


@pytest.mark.parametrize(
    "lengths", [(0, 0), (0, 1), (1, 1), (40, 60), (60, 40), (2000, 2001), (5, 30000), (30000, 5), (160000, 150000)]
)
def test_any_lengths_are_drawn(lengths, tmp_path):
    """Down to nothing and up to 10 s of noise, the worst to compress: 1200 pixels wide, small, without a warning."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, max(lengths)).astype(np.float32)
    figure = plots.spectrograms(noise[: lengths[0]], noise[: lengths[1]], RATE, "any length")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save(figure, tmp_path / "picture.png")
    assert figure.axes[0].get_xlim() == (0, max(*lengths, 1) / RATE)
    assert (tmp_path / "picture.png").stat().st_size < 250_000
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width == 1200


def test_returns_to_the_best_pass_are_vertical_lines():
    """At the samples seen then; one entry in the legend, however many there are."""
    history = [row(1000, 2.0, 9), {"samples_seen": 1500, "returned_to": 4}, {"samples_seen": 2500, "returned_to": 4}]
    figure = plots.curves([*history, row(3000, 1.0, 5)], "a run")
    above = figure.axes[0]
    drawn = [line.get_xdata()[0] for line in above.lines if line.get_linestyle() == ":"]
    legend = [text.get_text() for text in above.get_legend().get_texts()]
    assert drawn == [1500, 2500] and legend.count("returned to the best pass") == 1


def test_bare_spectrograms_can_be_laid_side_by_side(speech):
    """One scale of time, one of colours: half the amplitude is 6 dB darker, and where a sound is over it is grey."""
    pictures = plots.bare_spectrograms([speech, 0.5 * speech, speech[: len(speech) // 2]], RATE)
    original, softer, shorter = (np.asarray(picture).astype(int) for picture in pictures)
    assert original.shape == softer.shape == shorter.shape
    loud = original > 10
    steps = (original - softer)[loud] * plots.RANGE_DB / plots.SHADES
    assert steps.mean() == pytest.approx(20 * np.log10(2), abs=0.2)
    over = shorter == plots.SHADES
    assert over.all(axis=0).mean() == pytest.approx(0.5, abs=0.01) and not (original == plots.SHADES).any()


def test_a_codebook_is_drawn_by_use_and_by_likeness():
    """Four codes, two of which are alike and stand side by side; the most frequent one is the first bar."""
    vectors = np.array([[0, 0], [9, 9], [0, 1], [9, 0]], np.float32)
    codes = CodesInUse(vectors, np.array([0.1, 0.0, 0.5, 0.4], np.float32))
    figure = plots.codebook(codes.vectors, codes.shares, codes.perplexity, "a run, step 5")
    used, matrix = figure.axes[:2]
    assert [bar.get_height() for bar in used.patches] == pytest.approx([50, 40, 10, 0])
    assert "4 codes, in use as 2.6 that" in figure.get_suptitle()
    distances = np.asarray(matrix.images[0].get_array())
    assert (np.diag(distances) == 0).all() and np.isclose(np.diag(distances, 1), 1).sum() == 1
    assert plots.codebook(np.eye(600, dtype=np.float32), np.full(600, 1 / 600, np.float32), 600.0, "large").axes[1]


def test_zero_errors_have_a_place_of_their_own():
    """On a scale that is logarithmic above 1, zero is drawn, below 1, and the first time it is reached is named."""
    history = [row(1000, 5.0, 900), row(2000, 0.5, 30), row(3000, 0.05, 1), row(4000, 0.005, 0), row(5000, 0.001, 0)]
    figure = plots.curves(history, "a run")
    above, below = figure.axes
    assert above.get_yscale() == "log"
    np.testing.assert_array_equal(below.lines[1].get_xydata(), [(r["samples_seen"], r["wrong"]) for r in history])
    zero, one, ten, hundred = (below.transData.transform((1000, y))[1] for y in (0, 1, 10, 100))
    assert below.bbox.ymin < zero < one < ten and hundred - ten == pytest.approx(ten - one)
    assert below.lines[-1].get_xydata().tolist() == [[4000, 0]]
    assert legend(below)[-2:] == ["zero, the aim", "first 0 wrong, at 4,000 samples seen"]


@pytest.mark.parametrize(
    ("history", "losses", "errors"),
    [
        ([], 0, 0),
        ([row(1000, 5.0, None), row(2000, 4.0, 7), row(3000, float("nan"), 6)], 2, 2),
        ([{"step": 1, "samples_seen": 1000, "loss": 1.0}], 1, 0),
        ([row(1000, 0.0, 0)], 1, 1),
    ],
)
def test_a_history_with_gaps_is_drawn(history, losses, errors, tmp_path):
    """Values that are missing are left out, those that are there stay, and nothing is drawn for nothing."""
    figure = plots.curves(history, "a run")
    above, below = figure.axes
    assert [len(line.get_xdata()) for line in (above.lines[0], below.lines[1])] == [losses, errors]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save(figure, tmp_path / "curves.png")


def falling(rows: int, samples_seen: int, zero_from: float, loss: tuple[float, float] = (5.0, 0.005)) -> list[dict]:
    """A run whose second half has counted passes, which find nothing wrong from that fraction of the run on."""
    first, last = loss
    history = []
    for i in range(1, rows + 1):
        fraction = i / rows
        wrong = None if fraction <= 0.5 else 0 if fraction >= zero_from else max(1, round(40000 * 2e-5**fraction))
        history.append(row(round(samples_seen * fraction), first * (last / first) ** fraction, wrong))
        history[-1]["wrong_estimate"] = round(50000 * 2e-5**fraction)
    return history


HISTORIES = {
    "a single pass": [*falling(15, 180_000, 1), row(181_500, None, 0)],
    "zero early": falling(100, 1_049_295, 0.51),
    "zero late": falling(100, 1_049_295, 1),
    "zero never": falling(100, 1_049_295, 2),
    "thousands of rows": falling(5000, 2 * 10**9, 0.9, (5.2, 1e-6)),
    "a level loss": falling(30, 9000, 0.9, (2.95, 2.61)),
    "one row": falling(1, 500, 2),
    "only a pass": [row(1000, None, 0)],
    "nothing": [],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_nothing_covers_a_curve_and_every_number_is_plain(name):
    """Wherever zero is reached first, its mark is inside, the words are above the axes, and ticks have one unit."""
    figure = plots.curves(HISTORIES[name], f"the run {name}")
    assert figure.get_suptitle() == f"the run {name}"
    labels = ticks(figure)
    assert all(re.fullmatch(r"[\d,]+(\.\d+)?", label) for label in labels), labels
    assert len(labels) >= 8 or len(HISTORIES[name]) < 2
    for ax in figure.axes:
        assert ax.get_window_extent().height > 200, "axes that make room for words shrink"
        if ax.get_legend():
            assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1
            assert ax.get_legend().get_window_extent().x1 < ax.get_window_extent().x1
    below = figure.axes[1]
    zero = [seen["samples_seen"] for seen in HISTORIES[name] if seen["wrong"] == 0]
    assert "zero, the aim" in legend(below)
    assert (f"first 0 wrong, at {min(zero, default=0):,} samples seen" in legend(below)) == bool(zero)
    if zero:
        left, right = below.get_xlim()
        assert left <= min(zero) <= right and below.get_ylim()[0] < 0


@pytest.mark.parametrize("name", ["$x^{$", "$", r"\frac{", "a\tb\x1b[1m\n", "日本語", "n" * 251, "\ufffd", "%s_^"])
def test_any_name_is_a_title(name, tmp_path):
    """Names of files are not formulas, need not be short, and may hold letters that the font lacks."""
    sound = np.zeros(9, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (plots.spectrograms(sound, sound, RATE, name), plots.curves([], name)):
            plots.save(figure, tmp_path / "picture.png")
            extent = figure.texts[0].get_window_extent()
            assert extent.x0 >= 0 and extent.x1 <= 1200 and extent.height < 80
            assert len(name) > 9 or figure.get_suptitle().startswith(name[:1])


def test_a_picture_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that fills up while writing leaves the former picture and no remains; success replaces it."""
    path = tmp_path / "new folder" / "curves.png"
    plots.save(plots.curves([], "a run"), path)
    before = path.read_bytes()

    whole = Image.Image.save

    def half(picture: Image.Image, target: object, *arguments: object, **options: object) -> None:
        if not isinstance(target, Path):
            return whole(picture, target, *arguments, **options)
        target.write_bytes(b"half a picture")
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Image.Image, "save", half)
        with pytest.raises(OSError, match="No space left"):
            plots.save(plots.curves([row(1000, 1.0, 1)], "a run"), path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
    plots.save(plots.curves([row(1000, 1.0, 1)], "a run"), path)
    assert path.read_bytes() != before and list(path.parent.iterdir()) == [path]


def test_pyplot_is_never_imported():
    """Its global state keeps figures alive and may look for a screen."""
    program = (
        "import sys, numpy; from mfcc_wavenet.runs import plots;"
        "plots.spectrograms(numpy.zeros(9), numpy.zeros(9), 16000, 't').canvas.draw();"
        "plots.curves([], 't').canvas.draw(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_what_is_held_out_has_a_curve_of_its_own():
    """Next to the loss and on its scale; a run that does not validate has none."""
    history = [row(1000, 3.0, None), {"step": 1, "samples_seen": 1500, "valid_nats": 30.0}, row(2000, 2.0, None)]
    above = plots.curves(history, "validated").axes[0]
    assert legend(above) == ["while training", "valid part, not trained on"]
    assert above.lines[1].get_ydata().tolist() == [30.0] and above.get_ylim()[1] > 30
    assert legend(plots.curves(history[:1], "not").axes[0]) == ["while training"]

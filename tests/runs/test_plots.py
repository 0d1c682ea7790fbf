"""What the pictures claim: one scale for both sounds, seconds and kHz, every error visible, zero drawn as zero."""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from PIL import Image
from support.settings import DEMO, ROOT

from mfcc_wavenet.runs import plots

RATE = 16000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    wav, rate = soundfile.read(min(DEMO.glob("*.flac")), dtype="float32")
    assert rate == RATE
    return wav


def row(samples_seen: int, loss: float | None, errors: float | None) -> dict:
    return {"step": samples_seen // 1000, "samples_seen": samples_seen, "loss": loss, "wrong": errors}


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


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
        assert ("identical, sample for sample" in words(figure)) == claimed
        difference = figure.axes[4].collections[0].get_paths()[0].vertices[:, 1]
        assert difference.max() == pytest.approx(0 if claimed else 0.01, rel=1e-4)
    assert "identical in the first 4,000 samples" in words(plots.spectrograms(speech, speech[:4000], RATE, "part"))


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


def test_bare_spectrograms_can_be_laid_side_by_side(speech):
    """One scale of time, one of colours: half the amplitude is 6 dB darker, and where a sound is over it is grey."""
    pngs = plots.bare_spectrograms([speech, 0.5 * speech, speech[: len(speech) // 2]], RATE)
    original, softer, shorter = (np.asarray(Image.open(io.BytesIO(png))).astype(int) for png in pngs)
    assert original.shape == softer.shape == shorter.shape
    loud = original > 10
    steps = (original - softer)[loud] * plots.RANGE_DB / plots.SHADES
    assert steps.mean() == pytest.approx(20 * np.log10(2), abs=0.2)
    over = shorter == plots.SHADES
    assert over.all(axis=0).mean() == pytest.approx(0.5, abs=0.01) and not (original == plots.SHADES).any()


def test_zero_errors_have_a_place_of_their_own():
    """On a scale that is logarithmic above 1, zero is drawn, below 1, and the first time it is reached is named."""
    history = [row(1000, 5.0, 900), row(2000, 0.5, 30), row(3000, 0.05, 1), row(4000, 0.005, 0), row(5000, 0.001, 0)]
    figure = plots.curves(history)
    above, below = figure.axes
    assert above.get_yscale() == "log"
    np.testing.assert_array_equal(below.lines[1].get_xydata(), [(r["samples_seen"], r["wrong"]) for r in history])
    zero, one, ten, hundred = (below.transData.transform((1000, y))[1] for y in (0, 1, 10, 100))
    assert below.bbox.ymin < zero < one < ten and hundred - ten == pytest.approx(ten - one)
    assert "first 0 wrong: 4.00 k samples" in words(figure)


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
    figure = plots.curves(history)
    above, below = figure.axes
    assert [len(line.get_xdata()) for line in (above.lines[0], below.lines[1])] == [losses, errors]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save(figure, tmp_path / "curves.png")


def test_a_picture_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that fills up while writing leaves the former picture and no remains; success replaces it."""
    path = tmp_path / "new folder" / "curves.png"
    plots.save(plots.curves([]), path)
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
            plots.save(plots.curves([row(1000, 1.0, 1)]), path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
    plots.save(plots.curves([row(1000, 1.0, 1)]), path)
    assert path.read_bytes() != before and list(path.parent.iterdir()) == [path]


def test_pyplot_is_never_imported():
    """Its global state keeps figures alive and may look for a screen."""
    program = (
        "import sys, numpy; from mfcc_wavenet.runs import plots;"
        "plots.spectrograms(numpy.zeros(9), numpy.zeros(9), 16000, 't').canvas.draw();"
        "plots.curves([]).canvas.draw(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr

"""The page that compares runs on a desktop's screen and on a telephone's, under a mouse, a finger or keys."""

import base64
import io
import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from support.chromium import Page, opened

from mfcc_wavenet.compare import page as compare
from mfcc_wavenet.compare.reader import Run
from mfcc_wavenet.config.files import write_text

DESKTOP, TELEPHONE = (1280, 900), (390, 844)  # pixels
ROWS = 100  # of a run in training
STEPS, SAMPLES = 10, 5000  # per row
DRAWN = "new Promise(done => { const check = () => charts.at(-1)?.y ? done() : setTimeout(check, 5); check(); })"
VISIBLE = "charts.map(chart => getComputedStyle(chart.values).visibility)"
BANDS = "charts.map(chart => getComputedStyle(chart.canvas.nextElementSibling).visibility)"


def a_run(number: int) -> Run:
    """One of a sweep, with a long name; only its first and last row are evaluations."""
    name = f"default+data.seconds-0.5+features-mfcc39_hop80+optim.learning_rate-0.00{number}+train-by_samples"
    history = [
        {"step": STEPS * i, "train/loss": 4 * np.exp(-i / 30), "train/samples_seen": SAMPLES * i} for i in range(ROWS)
    ]
    history.append({"step": STEPS * (ROWS - 1), "eval/wrong": 53_360})
    results = {"score": 0.5 - number / 10, "wrong": 100 * number, "samples": 53_360, "nats": 0.25}
    results |= {f"another_long_result_{i}": 1.5 * i for i in range(12)}
    return Run(name, f"runs/{number}", {"optim.learning_rate": number / 1000}, results, history, {})


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("layout")
    write_text(folder / "compare.html", compare.page([a_run(number) for number in (1, 2, 3)], ["loss", "wrong"]))
    with opened(folder / "compare.html", folder / "profile", *DESKTOP) as page:
        page.js(DRAWN)
        yield page
        assert page.complaints == []


@pytest.fixture
def desktop(shown) -> Page:
    return settled(shown, *DESKTOP)


@pytest.fixture
def telephone(shown) -> Page:
    return settled(shown, *TELEPHONE, touch=True)


def settled(page: Page, *size: int, touch: bool = False) -> Page:
    page.resize(*size, touch=touch)
    page.js("zoomTo(null); document.activeElement.blur(); scrollTo(0, 0)")
    return page


def place(page: Page, chart: int, part: float) -> tuple[float, float]:
    """In the window: that part of the way from the left of a chart's frame to its right."""
    page.js(f"charts[{chart}].canvas.scrollIntoView({{block: 'center'}})")
    x, y = page.js(
        "(({x, y, width, height}) => "
        f"[x + MARGIN.left + {part} * (width - MARGIN.left - MARGIN.right), y + height / 2])"
        f"(charts[{chart}].canvas.getBoundingClientRect())"
    )
    return x, y


def drag(page: Page, chart: int, begin: float, end: float) -> None:
    page.move(*place(page, chart, begin), "mousePressed")
    page.move(*place(page, chart, end), "mouseMoved")
    page.move(*place(page, chart, end), "mouseReleased")


# --- on a telephone -------------------------------------------------------------------------------


def test_names_leave_room_for_the_data(telephone):
    """On a telephone they take at most two fifths of a table, and nothing is wider than the screen."""
    assert telephone.js("document.documentElement.scrollWidth") == TELEPHONE[0]
    shares = telephone.js(
        "[...document.querySelectorAll('tbody th')].map(th => th.offsetWidth / th.closest('.wide').clientWidth)"
    )
    assert len(shares) == 6 and all(0.1 < share <= 0.4 for share in shares)


def test_a_tap_shows_the_values(telephone):
    """They stay after the finger has left, within the screen, and go when something else is tapped."""
    telephone.tap(*place(telephone, 0, 0.5))
    assert telephone.js(VISIBLE) == ["visible", "hidden"]
    assert (
        telephone.js("[...charts[0].values.querySelectorAll('b')].map(value => Number(value.textContent))")
        == [pytest.approx(4 * np.exp(-ROWS / 2 / 30), rel=0.1)] * 3
    )
    left, right = telephone.js("(box => [box.left, box.right])(charts[0].values.getBoundingClientRect())")
    assert 0 <= left < right <= TELEPHONE[0]
    telephone.tap(*place(telephone, 1, 0.999))
    assert telephone.js(VISIBLE) == ["hidden", "visible"]
    telephone.js("scrollTo(0, 0)")
    telephone.tap(5, 5)
    assert telephone.js(VISIBLE) == ["hidden", "hidden"]


# --- on a desktop ---------------------------------------------------------------------------------


def test_all_charts_have_the_same_range(desktop):
    """A metric with one value lies below the same sample as in its neighbour, zoomed or not."""
    ends = "charts.map(chart => [MARGIN.left, chart.canvas.clientWidth - MARGIN.right].map(chart.x.value))"
    first, second = desktop.js(ends)
    assert first == second == pytest.approx([0, SAMPLES * (ROWS - 1)], rel=1e-3)
    drag(desktop, 0, 0.25, 0.5)
    first, second = desktop.js(ends)
    assert first == second == pytest.approx([SAMPLES * (ROWS - 1) * part for part in (0.25, 0.5)], rel=0.02)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_zoomed_curve_reaches_the_frame(desktop, logarithmic):
    """Although its points lie within: at both sides of the frame there is colour, and none outside of it."""
    if not logarithmic:
        desktop.js("form.elements['log-y'].click()")
    drag(desktop, 0, 30.5 / (ROWS - 1), 33.5 / (ROWS - 1))  # around three points
    assert desktop.js("charts[0].curves[0].last - charts[0].curves[0].first") == 2
    coloured = curve_columns(desktop)
    left, right = desktop.js("[MARGIN.left, charts[0].canvas.clientWidth - MARGIN.right]")
    if not logarithmic:
        desktop.js("form.elements['log-y'].click()")
    assert left - 1 <= coloured[0] <= left + 1 and right - 2 <= coloured[-1] <= right + 1


def curve_columns(page: Page) -> np.ndarray:
    """The columns of pixels of the first chart in which the last run's colour is, which is drawn on top."""
    url, colour = page.js(
        "[charts[0].canvas.toDataURL(), getComputedStyle(document.documentElement).getPropertyValue('--run-2').trim()]"
    )
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")).astype(int)
    distance = np.abs(picture[..., :3] - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).sum(-1)
    return np.flatnonzero(((distance < 90) & (picture[..., 3] > 60)).any(0))


def test_a_selection_is_gone_once_it_is_zoomed_to(desktop):
    """And so are the values, which were those of the former range, before the pointer moves again; a button and a key
    end the zoom."""
    desktop.move(*place(desktop, 0, 0.3))
    assert desktop.js(VISIBLE)[0] == desktop.js(BANDS)[0] == "visible"
    drag(desktop, 0, 0.3, 0.6)
    assert desktop.js("zoom !== null && !whole.hidden")
    assert desktop.js(VISIBLE) == desktop.js(BANDS) == ["hidden"] * 2
    desktop.js("whole.click()")
    assert desktop.js("zoom === null && whole.hidden") and desktop.js(VISIBLE) == ["hidden"] * 2
    drag(desktop, 0, 0.3, 0.6)
    desktop.js("charts[0].canvas.focus()")
    desktop.press("Escape")
    assert desktop.js("zoom === null")


def test_no_two_ticks_read_the_same(desktop):
    """Not for a single value, which has one tick, nor for values that differ in their last digit alone, nor over all
    that a float64 can be; and none of it takes long."""
    assert desktop.js("charts[1].y.ticks.map(({text}) => text)") == ["53,360"]
    for low, high in [(53_360, 53_361), (1, 1 + 2**-40), (1e300, 1.0000000000000002e300), (600, 600), (0, 0),
                      (5e-324, sys.float_info.max), (2.1, 2.4), (-3e5, 7), (1e-9, 3e-9)]:  # fmt: skip
        for logarithmic in ("false", "true") if low > 0 else ("false",):
            texts = desktop.js(f"scale([{low!r}, {high!r}], false, 0, 300, {logarithmic}).ticks.map(t => t.text)")
            assert len(texts) == len(set(texts)) < 20, (low, high, logarithmic, texts)
            assert texts or high / (low or 1) > 1e300 or high - low < 1e-3 * high


def test_the_horizontal_axis_has_its_name(desktop):
    """It is written below the ticks of every chart."""
    desktop.js("globalThis.written = []; globalThis.former = CanvasRenderingContext2D.prototype.fillText;"
               "CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {"
               "  written.push(text); former.call(this, text, ...at); }")  # fmt: skip
    desktop.js("form.querySelector('[value=step]').click()")
    assert desktop.js("written.filter(text => text === 'step').length") == 2
    desktop.js("form.querySelector('[value=\"samples seen\"]').click()")
    assert desktop.js("written.filter(text => text === 'samples seen').length") == 2
    desktop.js("CanvasRenderingContext2D.prototype.fillText = former")


def test_a_table_that_goes_on_says_so(desktop, tmp_path):
    """By a shadow at its right side, which is gone where the table ends; no such shadow lies over a narrow table."""

    def darkness(table: int, scrolled: bool) -> float:
        x, y, width, height = desktop.js(
            f"(() => {{ const wide = document.querySelectorAll('.wide')[{table}];"
            f"wide.scrollIntoView({{block: 'center'}}); wide.scrollLeft = {int(scrolled)} * 1e6;"
            "const box = wide.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })()"
        )
        desktop.screenshot(tmp_path / "shown.png", whole=False)
        picture = np.array(Image.open(tmp_path / "shown.png").convert("L"))
        return 255 - float(np.median(picture[int(y) + 4 : int(y + height) - 4, int(x + width) - 3]))

    assert darkness(0, scrolled=False) > 30
    assert darkness(0, scrolled=True) < 5 and darkness(1, scrolled=False) < 5


def test_headers_are_reached_and_pressed_by_keys(desktop):
    """Tab leads to each of them, and Enter, which clicks a focused button, sorts by its column."""
    desktop.js("document.querySelector('#results .wide').focus()")
    names = []
    for _ in range(3):
        desktop.press("Tab")
        names.append(desktop.js("document.activeElement.textContent"))
    assert names == ["run", "score", "wrong"]
    first = "document.querySelector('#results tbody td:nth-child(3)').textContent"
    before = desktop.js(first)
    desktop.js("document.activeElement.click()")
    assert (before, desktop.js(first)) == ("300", "100")
    assert desktop.js("document.activeElement.closest('th').ariaSort") == "ascending"
    desktop.js("document.querySelectorAll('#results thead button')[1].click()")


def test_arrow_keys_show_the_values(desktop):
    """From the left to the right, until the chart is left."""
    desktop.js("charts[0].canvas.focus()")
    for _ in range(2):
        desktop.press("ArrowRight")
    assert desktop.js(VISIBLE) == ["visible", "hidden"]
    place = desktop.js("Number(charts[0].values.firstChild.textContent.match(/[0-9,]+/)[0].replaceAll(',', ''))")
    assert 0 < place < 0.05 * SAMPLES * ROWS
    desktop.js("charts[0].canvas.blur()")
    assert desktop.js(VISIBLE) == ["hidden", "hidden"]


def test_long_names_are_shortened_to_what_differs(desktop):
    """Everywhere, to one line here; the whole name is in the tooltip, and in a list for those who cannot hover."""
    names = desktop.js("[...document.querySelectorAll('.legend bdi')].map(name => name.textContent)")
    assert names == [f"learning_rate-0.00{number}" for number in (1, 2, 3)]
    titles = desktop.js("[...document.querySelectorAll('.legend button, tbody .run')].map(name => name.title)")
    assert len(titles) == 9 and all(re.match(r"default\+data.seconds-0.5\+.*\nruns/\d$", title) for title in titles)
    heights = desktop.js("[...document.querySelectorAll('.legend button')].map(button => button.offsetTop)")
    assert len(set(heights)) == 1
    assert "default+data.seconds-0.5" in desktop.js("document.querySelector('#settings').textContent")


def test_the_best_run_comes_first(desktop):
    """In both tables, although it was given last; the header says by what."""
    for table in ("#results", "#settings"):
        names = desktop.js(f"[...document.querySelectorAll('{table} tbody bdi')].map(name => name.textContent)")
        assert names == [f"learning_rate-0.00{number}" for number in (3, 2, 1)]
    assert desktop.js("document.querySelector('#results [aria-sort]').textContent") == "score"

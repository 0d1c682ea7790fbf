"""Pictures of sweeps: every text is whole and has room, and what is drawn is what the runs were given and reached."""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from support.settings import ROOT

from mfcc_wavenet.sweep import pictures, report
from mfcc_wavenet.sweep.file import read
from mfcc_wavenet.sweep.pictures import PlottedRun
from mfcc_wavenet.sweep.trials import Trials

LONG = "a_group_with_a_name.a_setting_with_a_name_that_fills_more_than_a_line"
WORDS = tuple(f"a_rather_long_option_number_{number}_of_thirty" for number in range(30))


def runs_of(columns: dict[str, list], stopped: int = 0) -> list[PlottedRun]:
    """Runs with these settings, the first of which were stopped early; their scores rise."""
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return [PlottedRun(n, n / 7 - 0.05, n >= stopped, settings) for n, settings in enumerate(rows)]


def drawn(figure: Figure) -> list[Text]:
    """The texts that are seen in the figure, once it is drawn."""
    FigureCanvasAgg(figure).draw()
    ticks = [tick for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()]
    unseen = {tick.label1 for tick in ticks if not in_view(tick)} | {tick.label2 for tick in ticks}
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in unseen]


def in_view(tick) -> bool:
    low, high = sorted(tick.axes.get_xlim() if tick in tick.axes.xaxis.get_major_ticks() else tick.axes.get_ylim())
    return low <= tick.get_loc() <= high


def assert_legible(figure: Figure) -> None:
    """No text leaves the figure, and none lies on another."""
    boxes = {text: text.get_window_extent() for text in drawn(figure)}
    width, height = figure.bbox.size
    for text, box in boxes.items():
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    overlaps = [(a.get_text(), b.get_text()) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]
    assert overlaps == []


def labels(figure: Figure, height: int) -> list[str]:
    """The ticks of the axis at that height, from left to right; the metric's is 0."""
    ticks = [text for text in figure.axes[0].texts if round(text.get_position()[1] + 0.16) == height]
    return [text.get_text() for text in sorted(ticks, key=lambda text: text.get_position()[0])]


@pytest.mark.parametrize(
    "columns",
    [
        {"x": [1, 2]},
        {LONG: [0.001, 0.0011, 0.0012], "b": list(WORDS[:3])},
        {"words": list(WORDS), "numbers": list(range(0, 3_000_000, 100_000)), "rates": list(np.geomspace(1e-6, 1, 30))},
        {f"group.setting_{number}": [0, 1, number] for number in range(40)},
    ],
    ids=["two runs", "long names", "many values", "many settings"],
)
@pytest.mark.parametrize(("sweep", "metric"), [("a_sweep", "score"), ("a sweep at $5_$, " * 12, "the $\\error_$")])
def test_every_text_is_whole_and_has_room(columns, sweep, metric):
    """Of long names, many values and many settings as of two runs; nothing in a name is a formula."""
    runs = runs_of(columns, stopped=1)
    scales = {name: tuple(values) if isinstance(values[0], str) else "linear" for name, values in columns.items()}
    if "rates" in scales:
        scales["rates"] = "log"
    importances = {name: 1 / len(columns) for name in columns}
    assert_legible(pictures.history(runs, metric, 1, sweep))
    assert_legible(pictures.parallel_coordinates(runs, scales, metric, 1, sweep))
    assert_legible(pictures.importance(importances, len(runs), metric, sweep))


def test_integers_have_integer_ticks():
    """Those that occur, if they are few; runs are counted in whole ones, too."""
    columns = {"blocks": [1, 2, 3, 3], "steps": [100, 2500, 12, 7], "rows": [1, 2, 3, 4]}
    many = {"rows": list(range(7, 107))}
    runs = runs_of(columns)
    figure = pictures.parallel_coordinates(runs, dict.fromkeys(columns, "linear"), "score", 1, "s")
    assert labels(figure, 3) == ["1", "2", "3"] and labels(figure, 1) == ["1", "2", "3", "4"]
    figure = pictures.parallel_coordinates(runs_of(many), {"rows": "log"}, "score", 1, "s")
    assert labels(figure, 1) == ["10", "20", "50", "100"]
    figure = pictures.history(runs[:2], "score", 1, "s")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels() if in_range(figure, text)] == ["0", "1"]


def in_range(figure: Figure, text: Text) -> bool:
    low, high = figure.axes[0].get_xlim()
    return low <= text.get_position()[0] <= high


@pytest.mark.parametrize("sign", [1, -1])
def test_a_line_leads_through_the_settings_of_each_run(sign):
    """At their place on every axis; the best run's is red and above the others."""
    runs = runs_of({"words": ["c", "a", "b"], "rate": [0.1, 1.0, 10.0]}, stopped=1)
    scales = {"words": ("a", "b", "c"), "rate": "log"}
    figure = pictures.parallel_coordinates(runs, scales, "score", sign, "s")
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    expected = [[5 / 6, 0, 0], [1 / 6, 0.5, 0.5], [1 / 2, 1, 1]]
    assert sorted(list(line.get_xdata()) for line in lines) == pytest.approx(np.array(sorted(expected)))
    best = max(lines, key=lambda line: line.get_zorder())
    assert best.get_color() == pictures.RED and list(best.get_xdata()) == pytest.approx(expected[0 if sign == 1 else 2])
    assert [line.get_linestyle() == "--" for line in lines].count(True) == 1


@pytest.fixture
def sweep_of(tmp_path):
    """sweep_of(n): zero_error with n runs that were not trained, of which every fourth was stopped early."""

    def make(count: int, *overrides: str) -> Trials:
        settings = dict(override.split("=") for override in overrides)
        trials = Trials(read(ROOT / "sweeps" / "zero_error.yaml"), tmp_path / "sweep", None, settings)
        generator = random.Random(0)
        for number in range(count):
            run = trials.claim(count, set())
            value = run.arguments["wavenet.blocks"] + generator.random()
            if number % 4 == 3:
                run.trial.report(value, 0)
                trials.close(run, optuna.trial.TrialState.PRUNED, None, {})
            else:
                trials.close(run, optuna.trial.TrialState.COMPLETE, value, {})
        return trials

    return make


def test_a_sweep_of_twenty_runs_has_three_pictures(sweep_of, tmp_path, monkeypatch):
    """Legible ones, with an axis for every setting that varies and for no other."""
    figures = {}
    monkeypatch.setattr(report.plots, "save", lambda figure, path: figures.update({path.stem: figure}))
    trials = sweep_of(20, "optim.schedule=cosine")
    files, missing = report.draw(trials, tmp_path)
    assert [file.name for file in files] == ["history.png", "parallel_coordinates.png", "importance.png"]
    assert missing == []
    for figure in figures.values():
        assert_legible(figure)
    names = [text.get_text() for text in figures["parallel_coordinates"].axes[0].get_yticklabels()]
    varied = [p.name for p in trials.file.parameters if p.distribution and p.name != "optim.schedule"]
    assert names == [*varied, "score (lower is better)"]
    assert labels(figures["parallel_coordinates"], names[::-1].index("features")) == [
        "mfcc39_hop80", "mfcc39", "mfcc39_hop320",
    ]  # fmt: skip


def test_importances_are_optunas(sweep_of, tmp_path, monkeypatch):
    """Of the same runs, a run that was stopped early with its latest value."""
    figures = {}
    monkeypatch.setattr(report.plots, "save", lambda figure, path: figures.update({path.stem: figure}))
    trials = sweep_of(12)
    report.draw(trials, tmp_path)
    study = optuna.create_study()
    for trial in trials.started():
        value = trial.value if trial.value is not None else trial.intermediate_values[0]
        study.add_trial(optuna.create_trial(params=trial.params, distributions=trial.distributions, value=value))
    axes = figures["importance"].axes[0]
    shown = {text.get_text(): bar.get_width() for text, bar in zip(axes.get_yticklabels(), axes.patches)}
    # Of those that vary: what was drawn at random may be the same in all twelve.
    assert shown == pytest.approx(optuna.importance.get_param_importances(study, params=list(shown)))
    assert len(shown) >= 8 and sum(shown.values()) == pytest.approx(1)


def test_a_few_runs_have_no_importances(sweep_of, tmp_path):
    """Nine are too few, which is said."""
    trials = sweep_of(9)
    files, missing = report.draw(trials, tmp_path)
    assert missing == ["importance (needs 10 runs with a score; so far: 9)"]
    for file in files:
        with Image.open(file) as image:
            assert image.width == 1200 and len(image.getcolors(2**24)) > 10
    assert not Path(tmp_path, "importance.png").exists()

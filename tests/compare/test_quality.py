"""Evaluations on the page that compares runs: a table of speech quality, and every system's clips."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import checkpoint
from support.chromium import opened
from support.corpora import refused, speech

from mfcc_wavenet.compare import page as compare
from mfcc_wavenet.compare import reader
from mfcc_wavenet.compare.reader import Run
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import write_json, write_text
from mfcc_wavenet.evaluation.clips import Clip
from mfcc_wavenet.evaluation.held_out import Quality, quality

SYSTEMS = ["ours, at 0.8", "ours, uncorrected", "ours, greedy", "librosa", "noise, floor", "mu-law, ceiling"]


@pytest.fixture(scope="module")
def measured() -> Quality:
    clips = [Clip("one", 0, speech(0)[:3210]), Clip("two/a", 1, speech(1)[:4000])]
    return quality(checkpoint(training=False), clips, Sampling(0.8))


@pytest.fixture
def evaluation(measured, tmp_path) -> Path:
    """The file that mode=evaluate writes, with its folder of clips."""
    measured.save(tmp_path / "speech.evaluation.clips")
    results = {"split": "test", **measured.results()}
    write_json(tmp_path / "speech.evaluation.json", {"experiment": "speech", "nats": 2.5, "quality": results})
    return tmp_path / "speech.evaluation.json"


def test_each_system_of_an_evaluation_is_a_run(evaluation, measured):
    """With its own means and clips; the figures that only a model has are those of the first one."""
    runs = reader.read([evaluation])
    assert [run.name for run in runs] == SYSTEMS and len({run.source for run in runs}) == 6
    assert [run.results.get("nats") for run in runs] == [2.5, *[None] * 5]
    for run, system in zip(runs, ("ours", "uncorrected", "greedy", "librosa", "noise", "mu-law")):
        assert run.results["quality"]["values"] == {system: measured.results()["values"][system]}
        assert list(run.sounds) == ["one", "two/a"]
        for clip, takes, sound in zip(measured.clips, measured.takes, run.sounds.values()):
            np.testing.assert_allclose(sound.original, clip.original, atol=2**-14)
            np.testing.assert_allclose(sound.generated, takes[system].wav, atol=2**-14)
    assert all(run.sounds == {} for run in reader.read([evaluation], audio=False))


def test_some_systems_of_an_evaluation_are_chosen(evaluation):
    """In its order, without the model's figures if it is not among them; a name that it does not have is refused."""
    names = [run.name for run in reader.read([evaluation], systems=["mu-law", "ours"])]
    assert names == ["ours, at 0.8", "mu-law, ceiling"]
    (librosa,) = reader.read([evaluation], audio=False, systems=["librosa"])
    assert librosa.is_of_another_system and "nats" not in librosa.results
    with pytest.raises(UserError, match=r"no system 'mulaw'; there are ours, .*, librosa, noise, mu-law"):
        reader.read([evaluation], systems=["mulaw"])


def test_the_page_of_an_evaluation_is_its_table_and_its_clips(evaluation, measured):
    """A row for each system, and each clip once with its original; nothing is said of curves and settings."""
    text = compare.page(reader.read([evaluation]))
    assert "Speech quality" in text and "curves" not in re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert text.count("<h3>") == 2 and text.count("<audio") == 2 * 7
    rows = compare._Quality.of(reader.read([evaluation], audio=False)).rows
    lsd = measured.results()["values"]["librosa"]["lsd"]
    assert [row[1] for row in rows] == SYSTEMS
    assert f"{lsd['mean']:.3f} ± {lsd['interval']:.3f}" in rows[3][2] and rows[3][2][0] == "2"


def test_a_run_with_a_table_in_its_results_shows_it(measured):
    """All of its systems, next to runs that have none; a mean of one clip has no interval, one of none is empty."""
    results = {"wrong": 0, "quality": measured.results()}
    results["quality"]["values"]["ours"] |= {"lsd": {"mean": 9.5, "interval": None, "clips": 1}}
    results["quality"]["values"]["ours"] |= {"mcd": {"mean": None, "interval": None, "clips": 0}}
    runs = [Run("a", "a", {}, {"wrong": 0}, [], {}), Run("b", "b", {}, results, [], {})]
    table = compare._Quality.of(runs)
    assert [(row[0], row[1]) for row in table.rows] == [(1, system) for system in SYSTEMS]
    ours = dict(zip(table.columns, table.rows[0][2]))
    assert ours["LSD, dB ↓"] == "9.500" and ours["MCD, dB ↓"] == ""
    assert "Speech quality" in compare.page(runs) and "Speech quality" not in compare.page(runs[:1])


def results_of(runs: list[Run]) -> str | None:
    """The part of the page that tells results; None if it has none."""
    found = re.search(r'<section id="results">.*?</section>', compare.page(runs), re.DOTALL)
    return found and found[0]


def test_only_a_run_can_be_unfinished(evaluation):
    """Systems that were measured next to a model have no row among the results, and nothing says that they run."""
    ours, *others = reader.read([evaluation], audio=False)
    unfinished = Run("later", "later", {}, {}, [], {})
    text = results_of([ours, *others])
    assert ours.name in text and not any(name in text for name in SYSTEMS[1:]) and "not finished" not in text
    text = results_of([unfinished, *others, ours])
    assert "A run without results has not finished." in text and text.index(ours.name) < text.index("later")
    assert not any(name in text for name in SYSTEMS[1:])
    assert results_of(others) is None and "None of these runs has finished." in results_of([unfinished, *others])


def test_a_damaged_evaluation_is_one_sentence(evaluation):
    """Of another program, without its quality, or without a clip."""
    content, index = json.loads(evaluation.read_text()), evaluation.with_name("speech.evaluation.clips") / "clips.json"
    for damaged in ({}, {"quality": 3}, content | {"quality": {"values": {"ours": {}}}}):
        write_json(evaluation, damaged)
        assert "do not hold what an evaluation leaves" in refused(reader.read, [evaluation])
    write_json(evaluation, content)
    for damaged in ({}, {"rows": []}, {"rows": [{"clip": "one"}]}):
        write_json(index, damaged)
        assert "do not hold what an evaluation leaves" in refused(reader.read, [evaluation])
    write_text(index, "{")
    assert "clips.json cannot be read" in refused(reader.read, [evaluation])
    bad = Run("bad", "s", {}, {"quality": {"columns": []}}, [], {})
    assert "The quality in the results of bad is damaged" in refused(compare.page, [bad])


def test_a_browser_shows_the_table_and_plays_the_clips(evaluation, tmp_path):
    """Sorted by a click on a measure, numbers in the order of numbers; every sound loads."""
    path = tmp_path / "page.html"
    write_text(path, compare.page(reader.read([evaluation])))
    with opened(path, tmp_path / "profile") as page:
        values = page.js("""(() => {
          const table = document.querySelector("#quality table");
          const header = [...table.querySelectorAll("thead th")].find(one => one.textContent.includes("MCD"));
          header.querySelector("button").click();
          return [...table.tBodies[0].rows].map(row => parseFloat(row.cells[header.cellIndex].textContent));
        })()""")
        assert len(values) == 6 and values == sorted(values)
        durations = page.js("""Promise.all([...document.querySelectorAll('audio')].map(player => new Promise(done => {
            player.readyState ? done(player.duration) : player.onloadedmetadata = () => done(player.duration);
        })))""")
        assert durations == pytest.approx([3210 / 16000] * 7 + [4000 / 16000] * 7, abs=1e-3)
        assert page.complaints == []

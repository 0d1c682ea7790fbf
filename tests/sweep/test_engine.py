"""Local sweeps: every run once, whatever is killed, stopped, failing or running at the same time.

Most runs here are of a program that only pretends to learn; how a sweep manages runs does not depend on the program.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from PIL import Image
from support.settings import ROOT, SMALL
from support.sweeps import GRID, PROGRAM, RANDOM, events, logged, trials, written
from support.wandb_runs import records

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.sweep.engine import sweep

TIMEOUT_SECONDS = 120

pytestmark = pytest.mark.usefixtures("program_folder")


def start(pause: float, runs: int, *words: str) -> subprocess.Popen:
    """The real command, in a process group of its own, once that many runs have logged a row."""
    line = [sys.executable, "-m", "mfcc_wavenet.sweep", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PAUSE": str(pause)}
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(list(Path("runs/sweeps/sweep").glob("*/history.jsonl"))) < runs:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"no run has begun: {process.communicate()}")
        time.sleep(0.05)
    return process


# --- what is run ----------------------------------------------------------------------------------


def test_a_grid_is_run_once_and_ends(capsys):
    """Each point, in order, with the constants; the same command then has nothing left to run, and shows the table."""
    sweep(written(GRID))
    names = ["000+x-4", "001+x-2", "002+x-8", "003+x-6"]
    assert list(logged()) == names and events() == [["began", "ended"]] * 4
    first = capsys.readouterr().out
    assert "004" not in first and re.search(r"001 +finished +2.167 .*\n000 +finished +4.167 .*\n003 .*\n002 ", first)
    sweep(written(GRID))
    assert events() == [["began", "ended"]] * 4
    assert capsys.readouterr().out.lstrip() == first[first.index("run  state") :]


def test_a_run_is_given_what_the_agent_would_give_it():
    """And its folder, and one W&B group for all; a setting of the command line takes precedence over the file's."""
    Path("program.py").write_text(PROGRAM + "(folder / 'words').write_text(json.dumps(sys.argv[1:]))\n")
    sweep(written(GRID + "project: ours\n"), count=1, overrides=["y=[1, 2]", "z=a b"])
    words = json.loads(Path("runs/sweeps/sweep/000+x-4/words").read_text())
    given = ["tracking.group=sweep", "tracking.project=ours", "x=4", "y=[1, 2]", "z=a b"]
    assert words == [*given, "runs=runs/sweeps/sweep", "name=000+x-4"]


def test_a_setting_that_the_file_varies_can_be_fixed():
    """The rest is varied as before; if there is no rest, it is a sweep of one run."""
    sweep(written(GRID), overrides=["x=3"])
    assert list(logged()) == ["000"]
    text = RANDOM.replace("y: {value: null}", "y: {values: [a, b, c]}")
    sweep(written(text), overrides=["y=b"], name="other")
    assert [path.name[:6] for path in sorted(Path("runs/sweeps/other").glob("0*"))] == [f"00{n}+x-" for n in range(5)]


def test_jobs_are_done_at_a_time():
    """Two, as the first one waits until the second has begun, and never three."""
    sweep(written(GRID), jobs=2, overrides=["together=1"])
    changes = [(float(at), {"began": 1, "ended": -1}[event]) for lines in logged().values() for event, at, _ in lines]
    running = [sum(change for _, change in sorted(changes)[: n + 1]) for n in range(len(changes))]
    assert max(running) == 2 and running[-1] == 0


def test_the_cap_holds_over_all_calls():
    """The lower one of the file's and the command's, earlier calls included; no run is drawn twice."""
    for count, runs in ((3, 3), (3, 3), (9, 5)):
        sweep(written(RANDOM), count=count, jobs=2)
        assert len(logged()) == runs
    assert len({trial.params["x"] for trial in trials()}) == 5


def test_a_target_that_is_reached_ends_a_sweep():
    """No run starts after one has reached it."""
    sweep(written(GRID.replace("{name: score}", "{name: score, target: 2.5}")))
    assert list(logged()) == ["000+x-4", "001+x-2"]


def test_bayes_draws_near_good_runs():
    """Once there are runs to learn from, which are added here as if they had been trained."""
    sweep(written(RANDOM.replace("random", "bayes")), count=1)
    study = optuna.load_study(study_name="sweep", storage="sqlite:///runs/sweeps/sweep/study.db")
    for x in (n / 20 for n in range(20)):
        study.add_trial(optuna.create_trial(params={"x": x}, distributions=trials()[0].distributions, value=x))
    sweep(written(RANDOM.replace("random", "bayes")), count=4)
    drawn = [trial.params["x"] for trial in trials()[21:]]
    assert len(drawn) == 3 and sum(drawn) / 3 < 0.5


def test_a_run_that_falls_behind_is_stopped():
    """Its program is asked to end, it counts as stopped early, and the better ones finish."""
    text = GRID + "early_terminate: {type: hyperband, max_iter: 6, s: 1, eta: 2}\n"  # judged once, at row 3
    sweep(written(text), overrides=["slow=8"])
    assert events() == [["began", "ended"], ["began", "ended"], ["began", "stopped"], ["began", "ended"]]
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    assert len(trials()[2].intermediate_values) == 3


def test_a_run_that_fails_is_reported_and_the_others_continue(capsys):
    """With the last line that it printed and the path of its log."""
    sweep(written(GRID), overrides=["refused=2"])
    out = capsys.readouterr().out
    assert "001 failed: x=2 is too large. (runs/sweeps/sweep/logs/001.log)" in out
    assert "a bar" in Path("runs/sweeps/sweep/logs/001.log").read_text()
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert re.search(r"001 +failed +- ", out.splitlines()[out.splitlines().index("") + 5])


# --- stopping and resuming -----------------------------------------------------------------------


def test_killed_with_its_runs_a_sweep_resumes_them():
    """The same runs, with the same settings and folders, and none twice."""
    process = start(5.0, 2, str(written(RANDOM)), "--jobs=2")
    pids = [int(lines[0][2]) for lines in logged().values()]
    for pid in (process.pid, *pids):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    begun = list(logged())
    assert begun and all(trial.state.name == "RUNNING" for trial in trials())
    before = [trial.params for trial in trials() if trial.params]
    sweep(written(RANDOM), jobs=2)
    assert [trial.params for trial in trials()][: len(before)] == before
    assert len(logged()) == len(trials()) == 5 and list(logged())[: len(begun)] == begun
    assert [lines[-1] for lines in events()] == ["ended"] * 5
    assert all(events()[n] == ["began", "began", "ended"] for n in range(len(pids)))
    assert [len(trial.intermediate_values) for trial in trials()] == [6] * 5


def test_killed_without_its_runs_a_sweep_lets_them_finish(capsys):
    """The next call waits for what is still running, and records it, instead of running it a second time."""
    process = start(1.0, 1, str(written(GRID)), "--count=1")
    process.kill()
    process.communicate()
    sweep(written(GRID), count=1)
    assert events()[0] == ["began", "ended", "began", "ended"], "it is started again, and has nothing left to do"
    assert len({pid for _, _, pid in logged()["000+x-4"]}) == 2
    assert trials()[0].state.name == "COMPLETE" and len(logged()) == 1
    assert "waiting for 000, which another process trains" in capsys.readouterr().out


def test_ctrl_c_ends_the_runs_and_the_same_command_resumes_them():
    """Each is asked to save itself; exit code 130."""
    process = start(5.0, 2, str(written(GRID)), "--jobs=2")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130 and err == "Stopped; the same command resumes the sweep.\n"
    assert events() == [["began", "stopped"]] * len(logged()) and "000 was interrupted" in out
    sweep(written(GRID), jobs=4)
    assert events()[0] == ["began", "stopped", "began", "ended"] and len(logged()) == 4


def test_two_processes_work_on_one_sweep():
    """Each run belongs to one of them, and both end with the table of all."""
    written(RANDOM)
    line = [sys.executable, "-m", "mfcc_wavenet.sweep", "sweep.yaml", "--jobs=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert events() == [["began", "ended"]] * 5 and len(trials()) >= 5
    assert all(len(re.findall(r"^\d\d\d +finished", out, re.MULTILINE)) == 5 for out in outs)
    assert sum(out.count("starts") for out in outs) == 5


# --- results --------------------------------------------------------------------------------------


def test_pictures_are_drawn_of_runs_that_differ(capsys):
    """What is missing of a few runs is said."""
    sweep(written(GRID), count=1)
    out = capsys.readouterr().out
    assert "no picture of    history (needs 2 runs with a score; so far: 1), parallel coordinates (no setting" in out
    sweep(written(GRID))
    out = capsys.readouterr().out
    folder = "runs/sweeps/sweep"
    assert f"pictures         {folder}/history.png, {folder}/parallel_coordinates.png\n" in out
    assert "no picture of    importance (needs 10 runs with a score; so far: 4)\n" in out
    for name in ("history", "parallel_coordinates"):
        with Image.open(Path(folder, f"{name}.png")) as image:
            assert image.width == 1200 and len(image.getcolors(2**24)) > 10
    best = f"{folder}/001+x-2 {folder}/000+x-4 {folder}/003+x-6"
    assert f"-m mfcc_wavenet.compare {best} -o compare.html" in out


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (RANDOM.replace("run_cap: 5\n", ""), {}, "has no run_cap, and random has no end: --count=20"),
        (GRID, {"overrides": ["x"]}, "'x' is not a setting; settings are given as NAME=VALUE"),
        (GRID, {"overrides": ["name=x"]}, "name cannot be set in a sweep"),
        (GRID.replace("program.py", "nowhere.py"), {}, "there is no program nowhere.py here"),
        (GRID.replace("x: {values: [4, 2, 8, 6]}", "window.samples: {value: 3}").replace("program.py", "run.py")
         .replace("  y: {value: null}\n", ""),
         {"overrides": ["windw.samples=3"]}, "windw.samples is not a setting; did you mean window.samples"),
        (GRID, {"storage": "nonsense"}, "--storage=nonsense cannot be used"),
        (GRID, {"overrides": ["runs=program.py"]}, "program.py/sweeps/sweep cannot be written to (Not a directory)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text, options, sentence):
    """And no run has started."""
    with pytest.raises(UserError) as error:
        sweep(written(text), **options)
    message = str(error.value)
    assert sentence in message and "\n" not in message and message.endswith((".", "?"))
    assert logged() == {}


def test_other_parameters_are_another_sweep():
    """Runs of two searches are not mixed; a cap may change."""
    sweep(written(RANDOM), count=1)
    sweep(written(RANDOM.replace("run_cap: 5", "run_cap: 2")))
    with pytest.raises(UserError, match=r"has runs with another parameters; --name NAME"):
        sweep(written(RANDOM.replace("max: 1.0", "max: 2.0")))
    sweep(written(RANDOM.replace("max: 1.0", "max: 2.0")), name="other", count=1)
    assert len(list(Path("runs/sweeps").glob("*/0*+*"))) == 3


def test_a_real_run_is_trained_and_logged(capsys):
    """By run.py, into the sweep's W&B group of any name, with the score that its history and its results have."""
    text = "name: größe (v2)\n" + GRID.replace("program.py", str(ROOT / "run.py")).replace("  y: {value: null}\n", "")
    text = text.replace("x: {values: [4, 2, 8, 6]}", "window.samples: {values: [200]}")
    settings = [setting for setting in SMALL if not setting.startswith(("tracking", "window"))]
    sweep(
        written(text),
        overrides=[*settings, "train.steps=10", "train.sample_utterances=0", "tracking.mode=offline"],
    )
    (folder,) = Path("runs/sweeps/größe (v2)").glob("000*")
    results = json.loads((folder / "results.json").read_text())
    (trial,) = trials("größe (v2)")
    assert trial.value == results["score"] and len(trial.intermediate_values) == 2
    (directory,) = Path("wandb").glob("offline-run-*")
    run = next(record["run"] for record in records(directory) if record["type"] == "run")
    assert (run["run_group"], run["display_name"]) == ("größe (v2)", "000+samples-200")
    assert (folder / "checkpoint.pt").is_file() and "000 ended with score" in capsys.readouterr().out

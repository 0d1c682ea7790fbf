"""What fails in a sweep ends with one sentence, and costs neither the other runs nor the sweep."""

import re
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from support.sweeps import GRID, PROGRAM, events, trials, written

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.sweep.__main__ import main
from mfcc_wavenet.sweep.engine import sweep

pytestmark = pytest.mark.usefixtures("program_folder")
COMMAND = 'command: ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]'
BROKEN_HISTORY = """
history.write_text("".join(line if step else line + '{"step": 0, "sco\\\\n\\\\n[1]\\\\n' for step, line in
                           enumerate(history.read_text().splitlines(True))))
"""


@pytest.fixture
def run_command(monkeypatch, capsys):
    """run_command(words...): exit code, what was printed and what was said on stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def is_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith((".\n", "?\n"))


# --- runs that fail -------------------------------------------------------------------------------


def test_a_sweep_of_failures_fails(run_command):
    """After the table, and without a proposal to compare runs that have no folder."""
    written(GRID.replace(COMMAND, "command: [/bin/false]"))
    code, out, err = run_command("sweep.yaml")
    assert code == 2 and is_sentence(err)
    assert (
        err
        == "Every run of the sweep failed (4 in total); runs/sweeps/sweep/logs/000.log has the output of the first.\n"
    )
    assert len(re.findall(r"^\d{3}  failed", out, re.MULTILINE)) == 4 and "compare the best" not in out
    assert run_command("sweep.yaml")[0] == 2, "the same command has nothing left to run, and says the same"


def test_only_runs_that_have_a_folder_are_proposed(run_command):
    """The one that failed before it made one is left out."""
    Path("program.py").write_text("import sys\nif 'x=2' in sys.argv: sys.exit('no folder')\n" + PROGRAM)
    written(GRID)
    code, out, err = run_command("sweep.yaml")
    (proposal,) = re.findall("compare the best (.*)", out)
    assert (code, err) == (0, "") and re.findall(r"sweep/(\d+)", proposal) == ["000", "003", "002"]


def test_damaged_files_of_a_run_are_passed_over(run_command):
    """Half a line in its history and results that are none: each is named once, and its last row counts."""
    Path("program.py").write_text(f"{PROGRAM}{BROKEN_HISTORY}\n(folder / 'results.json').write_text('[]')\n")
    written(GRID)
    code, _, err = run_command("sweep.yaml", "--count=1")
    folder = "runs/sweeps/sweep/000+x-4"
    assert code == 0 and err.count(f"{folder}/history.jsonl, line 2 is damaged and left out\n") == 1
    assert err.count(f"{folder}/results.json is not a JSON object; it is ignored\n") == 1
    assert trials()[0].value == pytest.approx(4 + 1 / 6) and "Traceback" not in err


# --- programs that cannot be started --------------------------------------------------------------


def test_a_missing_interpreter_is_one_sentence(run_command):
    """Before any run is drawn."""
    written(GRID.replace('"${env}", "${interpreter}"', "/nonexistent/python"))
    code, out, err = run_command("sweep.yaml")
    assert (code, out) == (2, "") and is_sentence(err)
    assert err.startswith("sweep.yaml: command begins with '/nonexistent/python', which is not a program")
    assert not Path("runs").exists()


def test_a_run_that_could_not_be_started_is_resumed(run_command):
    """An executable that the system refuses is one sentence; once it works, the same run is trained."""
    starter = Path("starter")
    starter.touch(mode=0o755)
    starter.write_bytes(b"\0")
    written(GRID.replace('"${env}", "${interpreter}"', "./starter"))
    code, _, err = run_command("sweep.yaml", "--count=1")
    assert code == 2 and is_sentence(err) and "./starter: Exec format error" in err
    starter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert run_command("sweep.yaml", "--count=1")[0] == 0
    assert [trial.state.name for trial in trials()] == ["COMPLETE"] and events() == [["began", "ended"]]


def test_a_variable_that_looks_like_a_macro_is_text(run_command, monkeypatch):
    """The program is given it as it is."""
    monkeypatch.setenv("LABEL", "${foo}")
    Path("program.py").write_text(PROGRAM + "(folder / 'words').write_text(' '.join(sys.argv[1:]))\n")
    written(GRID.replace('"${args_no_hyphens}"', '"label=${envvar:LABEL}", "${envvar:LABEL}=1", "${args_no_hyphens}"'))
    assert run_command("sweep.yaml", "--count=1")[0] == 0
    assert Path("runs/sweeps/sweep/000+x-4/words").read_text().startswith("label=${foo} ${foo}=1 tracking.group=")


# --- databases, names and grids -------------------------------------------------------------------


def test_the_database_of_a_newer_optuna_is_one_sentence(run_command):
    """It stays as it is."""
    written(GRID)
    assert run_command("sweep.yaml", "--count=1")[0] == 0
    database = Path("runs/sweeps/sweep/study.db")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0'")
    before = database.read_bytes()
    code, out, err = run_command("sweep.yaml")
    assert (code, out) == (2, "") and is_sentence(err)
    assert err.startswith(
        "runs/sweeps/sweep/study.db, the sweep's database, cannot be used (The runtime optuna version"
    )
    assert database.read_bytes() == before


@pytest.mark.parametrize("what", ["a file that is no database", "a folder"])
def test_a_damaged_database_is_one_sentence(run_command, what):
    """Whatever is in its place."""
    database = Path("runs/sweeps/sweep/study.db")
    database.parent.mkdir(parents=True)
    database.mkdir() if what == "a folder" else database.write_text(what)
    written(GRID)
    code, out, err = run_command("sweep.yaml")
    assert (code, out) == (2, "") and is_sentence(err) and "study.db, the sweep's database, cannot be used" in err


@pytest.mark.parametrize("name", ["lr (v2)", "größe", "a?b#c %20", "{a}", "it's"])
def test_a_sweep_may_have_any_readable_name(run_command, name):
    """Which is also that of the folder with its database and runs."""
    written(GRID)
    code, out, _ = run_command("sweep.yaml", "--count=1", f"--name={name}")
    assert code == 0 and re.search("^000  finished", out, re.MULTILINE)
    assert {"study.db", "000+x-4"} <= {path.name for path in Path("runs/sweeps", name).iterdir()}


@pytest.mark.parametrize("name", ["a\nb", "a\0b"])
def test_a_name_with_control_characters_is_refused(name):
    """No line of output could name it."""
    with pytest.raises(
        UserError, match=r"cannot be the name of a sweep; --name gives it one without such characters\."
    ):
        sweep(written(GRID), name=name)
    assert not Path("runs").exists()


def test_a_grid_without_end_begins_at_once():
    """Its points are drawn one by one: 10^12 of them are no reason to wait, or to need memory."""
    settings = "".join(f"  {name}: {{min: 1, max: 1000}}\n" for name in "xabc")
    text = GRID.replace("  x: {values: [4, 2, 8, 6]}\n", settings)
    sweep(written(text), count=1)  # whose imports and first picture are not counted below
    begin = time.process_time()
    sweep(written(text), count=2)
    assert time.process_time() - begin < 2
    assert [trial.params["c"] for trial in trials()] == [1, 2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep.yaml", "--count=0"], "0 is not a whole number of at least 1; --help"),
        (["sweep.yaml", "--cont=3"], "unrecognized arguments: --cont=3; --help"),
        ([], "arguments are required: file"),
    ],
)
def test_a_mistyped_option_is_one_sentence(run_command, words, sentence):
    code, out, err = run_command(*words)
    assert (code, out) == (2, "") and is_sentence(err) and sentence in err

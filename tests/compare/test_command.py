"""The command that compares runs: it says what it wrote, and a mistake is one sentence that costs no file."""

import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path

import pytest
from support.settings import ROOT

from mfcc_wavenet.compare.__main__ import main

BASELINE = ROOT / "experiments" / "baseline"


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """compare(words...) in an empty folder: exit code, what was printed and what was said on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compare", "--no-audio", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """Of a run that is finished: the baseline's files."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("checkpoint.pt", "results.json"):
        shutil.copy(BASELINE / name, folder)
    return folder


def is_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith(".\n")


def test_a_page_is_written(compare):
    """With the title that was given; what it holds is printed."""
    code, out, err = compare(str(BASELINE), "--title", "A title")
    assert (code, err) == (0, "") and re.fullmatch(r"compare.html  0\.\d MB, 1 run: baseline\n", out)
    page = Path("compare.html").read_text()
    assert "<title>A title</title>" in page and "<audio" not in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "There is no run nothing"),
        (["--experiment", "baseline"], "unrecognized arguments: --experiment; --help"),
        ([], "arguments are required: RUN"),
        (["baseline", "-o", "."], ". is a folder; --output names a file, as in compare.html"),
        (["baseline", "-o", "a file/page.html"], "a file/page.html could not be written"),
        (["baseline", "-o", "pipe"], "pipe is not a regular file; --output names a file"),
    ],
)
def test_a_mistake_is_one_sentence(compare, words, sentence):
    """With exit code 2, and nothing is written."""
    Path("a file").touch()
    os.mkfifo("pipe")
    code, out, err = compare(*words)
    assert (code, out) == (2, "") and is_sentence(err) and sentence in err
    assert sorted(os.listdir()) == ["a file", "pipe"] and stat.S_ISFIFO(os.stat("pipe").st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make devices, and replace them")
def test_a_device_is_not_replaced(compare):
    """A copy of /dev/full stays one; a file in its place would fill up the disk of whoever writes to it."""
    try:
        os.mknod("full", stat.S_IFCHR | 0o666, os.stat("/dev/full").st_rdev)
    except PermissionError:
        pytest.skip("no right to make devices")
    code, _, err = compare("baseline", "-o", "full")
    assert code == 2 and is_sentence(err) and stat.S_ISCHR(os.stat("full").st_mode)


@pytest.mark.parametrize("output", ["run/checkpoint.pt", "run/results.json", "link"])
@pytest.mark.parametrize("given", ["run", "run/checkpoint.pt"])
def test_an_input_is_not_replaced(compare, run_folder, given, output):
    """Neither the file that was named, nor another one of its run, nor by a link."""
    Path("link").symlink_to("run/checkpoint.pt")
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    code, out, err = compare(given, "-o", output)
    assert (code, out) == (2, "") and is_sentence(err)
    assert err.startswith(f"{output} is a file of the runs that are compared; --output names another")
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


def test_a_page_may_lie_with_its_run_and_behind_a_link(compare, run_folder):
    """It is replaced by the next one, and the link stays a link."""
    Path("link.html").symlink_to("run/page.html")
    for _ in range(2):
        assert compare("run", "-o", "link.html")[0] == 0
    assert Path("link.html").is_symlink() and (run_folder / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("results", ["[]", '"text"', '{"score": 1', ""])
def test_damaged_results_are_one_sentence(compare, run_folder, results):
    """That names the file."""
    (run_folder / "results.json").write_text(results)
    code, out, err = compare("run")
    assert (code, out) == (2, "") and is_sentence(err) and "run/results.json " in err


def test_a_damaged_row_is_passed_over(compare, run_folder):
    """With its line on stderr; the other rows are in the page."""
    rows = [json.dumps({"step": step, "train/loss": 1.0}) for step in range(3)]
    (run_folder / "history.jsonl").write_text("\n".join([rows[0], '{"step": 1, "tra}', "[1]", *rows[1:], '{"st']))
    code, _, err = compare("run")
    history = run_folder / "history.jsonl"
    assert code == 0 and err == "".join(f"{history}, line {line} is damaged and left out\n" for line in (2, 3))
    assert 'value="train/loss" checked' in Path("compare.html").read_text()

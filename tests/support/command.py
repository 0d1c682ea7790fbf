"""The command line as the tests type it."""

import re
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

import run as command_line
from support.settings import SMALL

# On stderr of a command that works, too.
USUAL = r"step/s|s/step|^\d+ speakers?, |^Cost: |^Speed: |^Products: |^Measuring |^Split by "
QUICK = " ".join([*SMALL, "train.steps=4", "train.sample_utterances=0", "runs=runs", "data.prepared=prepared"])


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


class CommandLine:
    """`python run.py LINE` in a folder, without the seconds that imports take."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, line: str) -> Done:
        return self.words(*shlex.split(line))

    def words(self, *words: str) -> Done:
        """The words as a shell would hand them over."""
        self.capsys.readouterr()
        code = _exit_code(self.folder, self.monkeypatch, words)
        return Done(code, *self.capsys.readouterr())

    def refused(self, line: str, *words: str) -> Done:
        """Exit code 2, and on stderr a sentence with these words, before it at most speakers, cost and progress."""
        done = self(line)
        assert done.code == 2
        *before, sentence = done.err.strip().splitlines()
        assert all(re.search(USUAL, one) for one in before), before
        assert all(word in sentence for word in words), sentence
        assert sentence.endswith((".", "?"))
        return done


def typed(folder: Path, line: str) -> str:
    """What a command that works has on stdout: for fixtures that several tests share."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(out), redirect_stderr(err):
        code = _exit_code(folder, monkeypatch, shlex.split(line))
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert code == 0, err.getvalue()
    return out.getvalue()


def _exit_code(folder: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> int:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # conf/ is looked for beside run.py
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    if not {"-m", "--multirun"} & set(words):  # Hydra would compose everything once more, to find hydra.mode unset
        monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)
    try:
        command_line.main()
    except SystemExit as end:
        return end.code
    return 0

"""The command line as the tests type it."""

import re
import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import run as command_line
from mfcc_wavenet import modes
from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.settings import Settings
from support.settings import ROOT, SMALL

# On stderr of a command that works, too.
USUAL = r"step/s|s/step|^\d+ speakers?, |^Cost: |^Speed: |^Measuring |^Split by "
QUICK = " ".join([*SMALL, "train.steps=4", "train.sample_utterances=0", "runs=runs", "data.prepared=prepared"])


def pin(run: Path, composed: Settings | None, directory: Path, weights: str) -> None:
    """What mode=pin does with all that conf/config.yaml says, but for the type of the weights."""
    config = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "config.yaml"))
    values = {field.name: config[field.name] for field in fields(Command)}
    modes.pin(run, composed, directory, Command(**values | {"weights": weights}))


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
        GlobalHydra.instance().clear()
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # conf/ is looked for beside run.py
        self.monkeypatch.setattr(sys, "argv", ["run.py", *words])
        self.capsys.readouterr()
        code = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = end.code
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

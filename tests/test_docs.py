"""What README.md and docs/ say works: commands and snippets run, and links lead somewhere.

Each command is tried in a folder of its own that looks like a clone with a small finished run in it.
"""

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from support.command import QUICK, CommandLine
from support.known_corpora import laid_out
from support.page_commands import SECONDS, SENTENCE, try_command
from support.pages import DOCS, README, RECORDS, Page
from support.settings import DEMO, ROOT, compose_settings
from support.wandb_home import log_nobody_in

from mfcc_wavenet.config.settings import CORPORA
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.generation.units.unit_files import Encoded, write_archive

MAX_README_LINES = 160
LANGUAGES = {"sh", "python", "text"}
COMMANDS = {line: f"{page.name}: {line}" for page in (*RECORDS, *reversed(DOCS)) for line in page.commands}
RATE = 16000


# --- a clone in use -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> Path:
    """A clone with speech in it, and with a finished run in runs/mine, which is an offline W&B run, too."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("run.py", "conf", "sweeps", "mfcc_wavenet", "Makefile", ".ci"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("baseline", "baseline_adam"):
        shutil.copytree(ROOT / "experiments" / name, folder / "experiments" / name)
    for name in ("sixty_eight_seconds", "speech", "units_exact", "units64"):  # larger than all the rest
        (folder / "experiments" / name).symlink_to(ROOT / "experiments" / name)
    speech = soundfile.read(ROOT / SENTENCE, dtype="float32")[0][4000 : 4000 + round(SECONDS * RATE)]
    for name in ("speech.wav", "FOLDER/one.wav", "FOLDER/below/two.wav", "FOLDER/three.wav", "takes/one.wav"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        soundfile.write(folder / name, speech, RATE)
    np.save(folder / "mfcc.npy", mfcc(speech, compose_settings().features))
    (folder / "manifest.tsv").write_text("demo\tspeech.wav\n")
    (folder / "FOLDER" / "manifest.tsv").write_text("es_allison\tone.wav\n")
    for corpus in CORPORA:
        laid_out(folder / "corpora", corpus)
    line = [sys.executable, str(ROOT / "run.py"), *QUICK.split(), "name=mine", "tracking.mode=offline"]
    line += ["train.steps=6", "train.log_interval=2"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "runs" / "mine", folder / "runs" / "sweeps" / "zero_error" / "000")
    write_archive(folder / "speech.units.npz", Encoded(np.arange(10, dtype=np.uint16)))
    for name in ("sentence", "speech"):
        (folder / f"{name}.units.txt").write_text(f"{name}\t7 7 12 0 63 63\n")
    line = [sys.executable, str(ROOT / "run.py"), "mode=evaluate", "checkpoint=runs/mine"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def clone(used, tmp_path, monkeypatch, capsys) -> SimpleNamespace:
    """A copy of it, which is the working directory: folder, the command line in it, and how to read what is printed.

    Nobody is logged in to W&B.
    """
    folder = tmp_path / "clone"
    shutil.copytree(used, folder, symlinks=True)
    log_nobody_in(tmp_path, monkeypatch)
    monkeypatch.chdir(folder)
    run_py = CommandLine(folder, monkeypatch, capsys)
    return SimpleNamespace(folder=folder, run_py=run_py, monkeypatch=monkeypatch, capsys=capsys)


# --- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", COMMANDS, ids=COMMANDS.values())
def test_every_command_works(line, clone):
    """And leaves nothing that git would show, except a new record where it is asked for one."""
    before = set(clone.folder.rglob("*"))
    try_command(line, clone)
    left = {path.relative_to(clone.folder) for path in clone.folder.rglob("*") if path not in before and path.is_file()}
    assert [path for path in left if not ignored(path) and path.parts[:2] != ("experiments", "mine")] == []


def ignored(path: Path) -> bool:
    """Whether .gitignore names it, or a folder that it is in."""
    for pattern in (ROOT / ".gitignore").read_text().splitlines():
        parts = path.parts[:1] if pattern.startswith("/") else path.parts
        if not pattern.startswith("#") and any(fnmatch(part, pattern.strip("/")) for part in parts):
            return True
    return False


def test_a_command_without_a_rule_fails(clone):
    """Rather than being passed over."""
    with pytest.raises(AssertionError, match="no rule"):
        try_command("python setup.py install", clone)


@pytest.mark.parametrize("page", [*DOCS, *RECORDS], ids=lambda page: page.name)
def test_every_block_has_a_language(page: Page):
    """So that each is either tried or known to be output."""
    assert {language for language, _ in page.blocks} <= LANGUAGES


# --- snippets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in DOCS if page.snippets], ids=lambda page: page.name)
def test_the_snippets_of_a_page_run(page: Page, clone):
    """One after the other, in a process of their own; and the README's audio is the sentence, but for a part hop."""
    script = page.snippets
    if page is README:
        script += "import soundfile\nsoundfile.write('runs/heard.wav', wav, inverter.sample_rate, subtype='FLOAT')\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    if page is README:
        original, _ = soundfile.read(ROOT / SENTENCE)
        heard, rate = soundfile.read("runs/heard.wav")
        assert rate == RATE and len(original) - 160 < len(heard) <= len(original)
        noise = np.square(heard - original[: len(heard)]).mean()
        assert 10 * np.log10(np.square(original).mean() / noise) > 30  # mu-law's own noise is 38 dB below speech


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*DOCS, *RECORDS, Page(DEMO / "README.md")], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Page):
    """To a file or folder of the repository, and to a heading that is there."""
    for link in page.links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.path.parent / name if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target.resolve()).anchors, link


def test_the_readme_leads_to_every_page():
    """And is short enough to be read."""
    assert {page.name for page in DOCS[1:]} <= {link.partition("#")[0] for link in README.links}
    assert len(README.text.splitlines()) <= MAX_README_LINES

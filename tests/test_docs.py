"""What README.md and docs/ say works: commands and snippets run, and links lead somewhere.

Each command is tried in a folder of its own that looks like a clone with a small finished run in it. What takes long is
shortened: training to a few steps of a small network, evaluation to a fifth of a second of audio.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml
from matplotlib.image import imread
from support.checkpoints import autoencoder
from support.command import QUICK, CommandLine
from support.known_corpora import laid_out
from support.pages import DOCS, README, RECORDS, Page
from support.settings import DEMO, ROOT, compose_settings
from torch.distributed import run as torchrun
from wandb.cli.cli import cli as wandb

from mfcc_wavenet.bench import fit
from mfcc_wavenet.config.settings import CORPORA
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.generation.units.unit_files import Encoded, write_archive
from mfcc_wavenet.models import checkpoint as checkpoints

MAX_README_LINES = 160
LANGUAGES = {"sh", "python", "text"}
COMMANDS = {line: f"{page.name}: {line}" for page in (*RECORDS, *reversed(DOCS)) for line in page.commands}
COMMAND_KEYS = ("mode=", "checkpoint=", "input=", "output=")  # that are not settings of a training
SENTENCE = "mfcc_wavenet/data/demo/01_lighthouse.flac"
RATE, SECONDS = 16000, 0.2
OF_UNITS = "encoder.channels=8 bottleneck.channels=4 bottleneck.codes=2 bottleneck.memory=8 bottleneck.quantise_from=2"
SHORT = f"{QUICK} train.workers=0 optim.decay_steps=1000 {OF_UNITS}"
ON = "data.seconds=0.2 train.steps=8 train.sample_utterances=0 tracking.mode=disabled"  # from a checkpoint
SPLIT = "data.seconds=null data.valid=0.3 data.test=0.3 data.split_seed=3"  # FOLDER, of which each part has one file
BASELINE = json.loads((ROOT / "experiments" / "baseline" / "results.json").read_text())


# --- a clone in use -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> Path:
    """A clone with speech in it, and with a finished run in runs/mine, which is an offline W&B run, too."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("run.py", "conf", "sweeps", "mfcc_wavenet", "Makefile", ".ci"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("baseline", "baseline_adam"):
        shutil.copytree(ROOT / "experiments" / name, folder / "experiments" / name)
    for name in ("speech", "units_exact"):  # larger than all the rest
        (folder / "experiments" / name).symlink_to(ROOT / "experiments" / name)
    speech = soundfile.read(ROOT / SENTENCE, dtype="float32")[0][4000 : 4000 + round(SECONDS * RATE)]
    for name in ("speech.wav", "FOLDER/one.wav", "FOLDER/below/two.wav", "FOLDER/three.wav", "takes/one.wav"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        soundfile.write(folder / name, speech, RATE)
    np.save(folder / "mfcc.npy", mfcc(speech, compose_settings().features))
    (folder / "manifest.tsv").write_text("demo\tspeech.wav\n")
    for corpus in CORPORA:
        laid_out(folder / "corpora", corpus)
    line = [sys.executable, str(ROOT / "run.py"), *QUICK.split(), "name=mine", "tracking.mode=offline"]
    line += ["train.steps=6", "train.log_interval=2"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "runs" / "mine", folder / "runs" / "sweeps" / "zero_error" / "000")
    units = autoencoder(speakers=("demo", "carlo"))
    checkpoints.save(folder / "runs" / "units" / "checkpoint.pt", units)
    coded = Inverter(units).encode(mfcc(speech, units.settings.features))
    write_archive(folder / "speech.units.npz", Encoded(coded))
    (folder / "sentence.units.txt").write_text("sentence\t7 7 12 0 63 63\n")
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
    for variable in [name for name in os.environ if name.startswith(("WANDB_", "XDG_")) or name == "NETRC"]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    run_py = CommandLine(folder, monkeypatch, capsys)
    return SimpleNamespace(folder=folder, run_py=run_py, monkeypatch=monkeypatch, capsys=capsys)


def call(clone: SimpleNamespace, module: str, *arguments: str) -> tuple[int, str, str]:
    """`python -m MODULE ARGUMENTS` in this process: exit code, stdout and stderr."""
    clone.monkeypatch.setattr(sys, "argv", [module, *arguments])
    clone.capsys.readouterr()
    code = 0
    try:
        importlib.import_module(module).main()
    except SystemExit as end:
        code = end.code
    return code, *clone.capsys.readouterr()


# --- how each kind of command is tried ------------------------------------------------------------


def try_run_py(clone: SimpleNamespace, *words: str) -> None:
    """No mistyped key, option or experiment; then the whole of it, shortened."""
    settings = [word for word in words if "=" in word and not word.startswith(COMMAND_KEYS)]
    composed = compose_settings(*settings, *([] if "data.root=" in " ".join(words) else ["data.root=."]))
    line = shlex.join(words)
    if "wandb:ENTITY" in line:  # tests/runs/test_artifacts.py has a server
        clone.run_py.refused(line, "no W&B credentials found")
        return
    mode = next((word.partition("=")[2] for word in words if word.startswith("mode=")), "train")
    if mode == "train" and "--cfg" not in words:
        line += f" {ON}" if "checkpoint=" in line else f" {SHORT} restart=true"
        line += f" {SPLIT}" if composed.data.valid and "checkpoint=" not in line else ""
    if mode == "evaluate":
        line += f" data.seconds={SECONDS}"
        line += " data.test=0.99" if "split=test" in words else ""  # of a single utterance
    done = clone.run_py(line)
    assert done.code == 0, done.err
    if f"input={SENTENCE}" in words and "experiment=baseline" in words:
        samples = f"{BASELINE['samples']:,}"
        assert f"{samples} of {samples} samples match the input bit for bit" in done.out


def try_torchrun(clone: SimpleNamespace, *words: str) -> None:
    """torchrun's own parser takes it; what it would start is tried as a single process."""
    given = torchrun.get_args_parser().parse_args(words)
    assert given.training_script == "run.py"
    try_run_py(clone, *given.training_script_args)


def try_sweep(clone: SimpleNamespace, file: str, *words: str) -> None:
    """One run of it, shortened; what the sweep varies stays as it is drawn."""
    parameters = yaml.safe_load(Path(file).read_text())["parameters"]
    varied = {name for name, given in parameters.items() if "value" not in given}
    short = [setting for setting in SHORT.split() if setting.partition("=")[0] not in varied]
    code, out, _ = call(clone, "mfcc_wavenet.sweep.__main__", file, *words, "--count=1", *short)
    assert code == 0 and "000 ended with score" in out, out


def try_compare(clone: SimpleNamespace, *words: str) -> None:
    """As it is, with the names of folders put in."""
    words = [path for word in words for path in glob(word.replace("-run-...", "-run-*")) or [word]]
    code, out, err = call(clone, "mfcc_wavenet.compare.__main__", *words)
    assert code == 0 and Path("compare.html").stat().st_size > 10_000, err
    assert re.match(r"compare\.html .*: .*(mine|000|ours)", out), out


def try_workspace(clone: SimpleNamespace, project: str) -> None:
    """To where it needs an account; tests/test_workspace.py has a server."""
    code, _, err = call(clone, "mfcc_wavenet.workspace", project)
    assert code == 2 and err.startswith(f"{project}: no W&B credentials found")


def try_bench(clone: SimpleNamespace, name: str, *words: str) -> None:
    """With tiny or few networks, and little audio; generation's takes minutes, and its parts have their own tests."""
    if name == "prepare":
        code, out, err = call(clone, "mfcc_wavenet.bench.__main__", name, *words, "--workers=1", "--hours=0.005")
        assert code == 0 and json.loads(out.splitlines()[-1])[0]["bytes_per_hour"], err
        return
    if name == "ceiling":
        code, out, err = call(clone, "mfcc_wavenet.bench.__main__", name, *words, "--channels=16")
        assert code == 0 and json.loads(out.splitlines()[-1])[0]["quantization_channels"] == 16, err
        return
    if "--fit" in words:
        clone.monkeypatch.setattr(fit, "NETWORKS", fit.NETWORKS[:4])
        code, out, err = call(clone, "mfcc_wavenet.bench.__main__", name, *words, "--threads=1", "--seconds=0.05")
        assert code == 0 and json.loads(out.splitlines()[-1])[-1]["fit"]["rate"], err
        return
    if name == "train":
        short = ("--networks=tiny", "--threads=1", "--seconds=0.05")
        code, out, err = call(clone, "mfcc_wavenet.bench.__main__", name, *words, *short)
        assert code == 0 and json.loads(out.splitlines()[-1])[0]["network"] == "tiny", err
        return
    code, _, err = call(clone, "mfcc_wavenet.bench.__main__", "no-such-benchmark")
    assert code == 2 and re.search(rf"\b{name}\b", err), err


def try_figure(clone: SimpleNamespace) -> None:
    """It draws the picture that the README shows."""
    module = importlib.import_module("docs.model")
    clone.monkeypatch.setattr(module, "PICTURE", clone.folder / "model.png")
    module.main()
    drawn, shown = imread("model.png"), imread(ROOT / "docs" / "model.png")
    Path("model.png").unlink()
    assert drawn.shape == shown.shape and np.abs(drawn - shown).mean() < 1e-3


def try_make(clone: SimpleNamespace, target: str) -> None:
    """.ci/run makes it, or something that needs it; or it is nothing but a command that can be tried."""
    rules = dict(re.findall(r"^([\w./]+):(.*(?:\n\t.*)*)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(r"^make (\S+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    prerequisites = {name for goal in made for name in rules[goal].splitlines()[0].split()}
    if target not in {*made, *prerequisites}:
        (recipe,) = rules[target].splitlines()[1:]
        try_command(recipe.strip().replace("$(RUN)", "python"), clone)


def try_wandb(clone: SimpleNamespace, command: str, *words: str) -> None:
    """wandb's own parser takes it."""
    words = [path for word in words for path in glob(word.replace("-run-...", "-run-*")) or [word]]
    wandb.commands[command].make_context(command, words)


def try_fit(clone: SimpleNamespace, speech: str) -> None:
    """On two sentences, as if they were of two speakers."""
    for speaker, sentence in (("one", "01_lighthouse"), ("other", "02_tea")):
        folder = clone.folder / "runs" / speech / speaker
        folder.mkdir(parents=True)
        (folder / "sentence.flac").symlink_to(DEMO / f"{sentence}.flac")
    command = [sys.executable, "-m", "support.fit_front_ends", clone.folder / "runs" / speech, "--versions=1"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "biases:" in done.stdout, done.stderr


def try_pytest(clone: SimpleNamespace, folder: str) -> None:
    assert (ROOT / folder).is_dir()


def try_pip(clone: SimpleNamespace, *words: str) -> None:
    """The file is there, and pins a version of each package."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / words[-1]).read_text().splitlines()]
    assert words[0] == "-r" and all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in filter(None, lines))


def try_environment(clone: SimpleNamespace, *words: str) -> None:
    """What makes a virtual environment and enters it is there."""
    assert importlib.util.find_spec("venv") and Path(sys.prefix, "bin", "activate").is_file()


def try_ci(clone: SimpleNamespace) -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


RULES: dict[str, Callable[..., None]] = {
    "python run.py": try_run_py,
    "torchrun": try_torchrun,
    "python -m mfcc_wavenet.sweep": try_sweep,
    "python -m mfcc_wavenet.compare": try_compare,
    "python -m mfcc_wavenet.workspace": try_workspace,
    "python -m mfcc_wavenet.bench": try_bench,
    "python -m docs.model": try_figure,
    "python -m support.fit_front_ends": try_fit,
    "python -m pytest": try_pytest,
    "pip install": try_pip,
    "python3.11 -m venv .venv": try_environment,
    ". .venv/bin/activate": try_environment,
    "make": try_make,
    "wandb": try_wandb,
    ".ci/run": try_ci,
}


def try_command(line: str, clone: SimpleNamespace) -> None:
    """By the rule for it; a command that no rule is for fails."""
    line = re.sub(r"^(\w+=\S+ )+", "", line)  # environment variables
    rule = next((rule for rule in RULES if f"{line} ".startswith(f"{rule} ")), None)
    assert rule, f"no rule in RULES says how to try {line!r}"
    RULES[rule](clone, *shlex.split(line.removeprefix(rule)))


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

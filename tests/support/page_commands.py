"""How each kind of command that a page tells is tried, in a folder that looks like a clone in use.

What takes long is shortened: training to a few steps of a small network, evaluation to a fifth of a second of audio.
"""

import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from glob import glob
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml
from matplotlib.image import imread
from torch.distributed import run as torchrun
from wandb.cli.cli import cli as wandb

from mfcc_wavenet.bench import fit
from support.command import QUICK
from support.settings import DEMO, ROOT, compose_settings

COMMAND_KEYS = ("mode=", "checkpoint=", "input=", "output=")  # that are not settings of a training
SENTENCE = "mfcc_wavenet/data/demo/01_lighthouse.flac"
SECONDS = 0.2  # of audio
OF_UNITS = "encoder.channels=8 bottleneck.channels=4 bottleneck.codes=2 bottleneck.memory=8 bottleneck.quantise_from=2"
SHORT = f"{QUICK} train.workers=0 optim.warmup_steps=2 optim.decay_steps=1000 {OF_UNITS}"
ON = "data.seconds=0.2 train.steps=8 train.sample_utterances=0 tracking.mode=disabled"  # from a checkpoint
SPLIT = "data.seconds=null data.valid=0.3 data.test=0.3 data.split_seed=3"  # FOLDER, of which each part has one file
BASELINE = json.loads((ROOT / "experiments" / "baseline" / "results.json").read_text())


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
        line += " data.seconds=null" if composed.data.split_by == "subset" else ""  # no subset is beyond it
    if mode == "evaluate":
        line += f" data.seconds={SECONDS}"
        line += " data.test=0.9" if "split=test" in words else ""  # of a single utterance
        line += " data.valid=0.9 data.test=0" if "split=valid" in words else ""
    if mode == "evaluate" and {"experiment=speech", "experiment=units64"} & {*words}:  # which take their speakers alone
        (clone.folder / "runs" / "known.tsv").write_text("es_allison\t../speech.wav\n")
        line = line.replace("data.root=FOLDER", "data.root=runs/known.tsv")
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
    short += SPLIT.split() if any(word.startswith("data.valid=") for word in words) else []
    code, out, _ = call(clone, "mfcc_wavenet.sweep.__main__", file, *words, "--count=1", *short)
    assert code == 0 and "000 ended with" in out, out


def try_compare(clone: SimpleNamespace, *words: str) -> None:
    """As it is, with the names of folders put in, and another evaluation."""
    words = [path for word in words for path in glob(word.replace("-run-...", "-run-*")) or [word]]
    words = [word.replace("listening.json", "mine.evaluation.json") for word in words]
    code, out, err = call(clone, "mfcc_wavenet.compare.__main__", *words)
    written = words[words.index("-o") + 1] if "-o" in words else "compare.html"
    assert code == 0 and Path(written).stat().st_size > 10_000, err
    assert re.match(rf"{re.escape(written)} .*: .*(mine|000|ours)", out), out


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


def try_autoencoder_figures(clone: SimpleNamespace) -> None:
    """They are those of the page."""
    module = importlib.import_module("docs.autoencoder")
    for name, shown in {"PICTURE": module.PICTURE, "CODES": module.CODES}.items():
        clone.monkeypatch.setattr(module, name, clone.folder / "runs" / shown.name)
    module.main()
    for name in ("autoencoder.png", "codebook.png"):
        drawn, shown = imread(clone.folder / "runs" / name), imread(ROOT / "docs" / name)
        assert drawn.shape == shown.shape and np.abs(drawn - shown).mean() < 1e-2


def try_speech_figure(clone: SimpleNamespace, folder: str, *clip: str) -> None:
    """Of the clips of another evaluation, and of its first."""
    module = importlib.import_module("docs.speech")
    clone.monkeypatch.setattr(module, "PICTURE", clone.folder / "runs" / "speech.png")
    code, _, err = call(clone, "docs.speech", "runs/mine.evaluation.clips")
    assert code == 0 and imread("runs/speech.png").shape == imread(ROOT / "docs" / "speech.png").shape, err
    code, _, err = call(clone, "docs.speech", "runs/mine.evaluation.clips", "no-such-clip")
    assert code == 2 and "no clip no-such-clip" in err


def try_scaling_figure(clone: SimpleNamespace, folder: str) -> None:
    """It is that of the figures which are kept; a sweep whose runs are not at zero has none."""
    module = importlib.import_module("docs.scaling")
    module.save(module.draw(json.loads(module.RECORDED.read_text())["rows"]), clone.folder / "runs" / "scaling.png")
    drawn, shown = imread("runs/scaling.png"), imread(module.PICTURE)
    assert drawn.shape == shown.shape and np.abs(drawn - shown).mean() < 1e-2
    code, _, err = call(clone, "docs.scaling", "runs/sweeps/zero_error")
    assert code == 2 and "no runs of two lengths of audio at zero error" in err


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
    "python -m docs.autoencoder": try_autoencoder_figures,
    "python -m docs.speech": try_speech_figure,
    "python -m docs.scaling": try_scaling_figure,
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

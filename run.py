"""The command line: `python run.py experiment=baseline`, `mode=evaluate`, `generate`, `encode`, ..."""

import gc
from _signal import SIG_DFL, SIGINT, signal  # at once, where the module signal takes milliseconds to import

gc.disable()  # while modules load, which leave nothing to collect: a fifth of a start's seconds
if __name__ == "__main__":
    signal(SIGINT, SIG_DFL)  # Ctrl-C during the imports ends it without a traceback, until main() hears of it

import os
import sys
from dataclasses import fields
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mfcc_wavenet import modes
from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.command import MODES, WEIGHTS, Command
from mfcc_wavenet.config.command_line import quoted, refuse_unused, sentence
from mfcc_wavenet.config.errors import CTRL_C, USER_ERROR, Interrupted, UserError, exit_codes
from mfcc_wavenet.config.files import BEST, CHECKPOINT, checkpoint_file, expanded, slug
from mfcc_wavenet.config.parse import GROUPS, near, parse, parse_group, plain
from mfcc_wavenet.config.settings import Settings, TrackingSettings
from mfcc_wavenet.data import by_length
from mfcc_wavenet.generation import files
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs import artifacts
from mfcc_wavenet.runs.hosted_sweep import swept
from mfcc_wavenet.runs.rendezvous import refuse_several, tell, tell_of_signal

gc.freeze()  # what is loaded stays, so that no later collection goes through it
gc.enable()

CONF = Path(__file__).parent / "conf"
LEADS = os.environ.get("RANK", "0") == "0"  # process 0 of those that torchrun starts, or the only one
ONE_PROCESS = (*files.TASKS, "pin", "download")  # modes that torchrun is not for


def run(composed: DictConfig) -> None:
    config = OmegaConf.to_container(composed, resolve=True)
    command = parse_group(Command, {key: value for key, value in config.items() if key not in GROUPS}, "")
    config = {group: config[group] for group in GROUPS if group in config}
    choices = {group: HydraConfig.get().runtime.choices.get(group) for group in [*GROUPS, "experiment"]}
    experiment = choices["experiment"]
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    overridden = [override.key_or_group for override in overrides]
    if command.mode not in MODES:
        raise UserError(f"mode={command.mode} is not a mode; {near(command.mode, list(MODES))}")
    refuse_unused(command.mode, overridden)
    if command.mode in ONE_PROCESS:
        refuse_several(command.mode)
    if command.mode == "download":
        return modes.download(parse(config).data)

    runs = expanded(command.runs)
    fetched = (command.checkpoint or "").startswith(artifacts.PREFIX)
    path = checkpoint_path(command.checkpoint, runs) if command.checkpoint else None
    label = experiment or (label_of(path.resolve()) if path else None)
    origin = f"from-{label}" if path else experiment or "default"
    folder = runs / (command.name or run_name(origin, overrides))
    if command.name:  # on the command line, which counts more than W&B's variable
        os.environ.pop("WANDB_NAME", None)
    if command.mode == "pin":
        folder = path.parent if path else folder
        directory = expanded(command.output or experiments.EXPERIMENTS / (experiment or folder.name))
        if command.weights not in WEIGHTS:
            raise UserError(f"weights={command.weights} is not a type; there are {', '.join(WEIGHTS)}.")
        name = BEST if path and path.name == BEST else CHECKPOINT
        return modes.pin(folder, parse(config) if experiment else None, directory, command, name)
    if path and experiment:
        raise UserError("experiment and checkpoint each bring all settings; name only one of them.")
    if command.mode == "train" and path is None:
        return modes.train(parse(config), folder, choices, command.restart)
    if path is None and not experiment:
        raise UserError(f"mode={command.mode} needs checkpoint=PATH or an experiment: {near('', experiments.names())}")
    path = path or experiments.pinned_checkpoint(experiment)
    checkpoint = checkpoints.load(path)
    settings = merge(plain(checkpoint.settings), composed, overridden)
    if command.mode == "train":
        of_the_run = (checkpoint.training or {}).get("choices") or dict.fromkeys(choices)
        choices = of_the_run | {group: choices[group] for group in overridden if group in choices}
        is_a_run = checkpoint.training is not None and path.name == CHECKPOINT and not fetched
        if is_a_run and command.name is None and settings == checkpoint.settings:
            return modes.train(settings, path.parent, choices, command.restart)
        return modes.train(settings, folder, choices, command.restart, modes.as_another_run(checkpoint))
    if command.mode in files.TASKS:
        return files.convert(path, modes.with_settings(checkpoint, settings), command)
    output = expanded(command.output or runs / f"{label}.evaluation.json")
    tracked = any(key.partition(".")[0] == "tracking" for key in overridden)
    modes.evaluate(path, checkpoint, settings, label, output, command, tracked)


def checkpoint_path(given: str, runs: Path) -> Path:
    """The file, or the one in a run's folder, or the one in an artifact, which is downloaded below runs/wandb."""
    if given.startswith(artifacts.PREFIX):
        return artifacts.fetch(given, runs / "wandb")
    path = checkpoint_file(given)
    if not path.exists() and (runs / given).is_dir():
        raise UserError(f"There is no checkpoint {given}; did you mean checkpoint={runs / given}?")
    return path


def label_of(path: Path) -> str:
    """A checkpoint in a word: the folder's name, and for that of the best pass, which is another one, best."""
    return f"{path.parent.name}-{path.stem}" if path.name == BEST else path.parent.name


def merge(base: dict, composed: DictConfig, overridden: list[str]) -> Settings:
    """The checkpoint's settings, with what the command line names taken from there.

    What it names may be reckoned from other settings (${...}), and then is from those of the checkpoint.
    """
    named = OmegaConf.to_container(composed, resolve=False)
    places = [(group, name) for group, _, name in (key.partition(".") for key in overridden) if group in base]
    merged = named | base
    for group, name in places:
        merged[group] = merged[group] | ({name: named[group][name]} if name else named[group])
    merged = OmegaConf.create(merged)
    for group, name in places:
        for key in [name] if name else named[group]:
            value = "???" if OmegaConf.is_missing(merged[group], key) else merged[group][key]
            base[group][key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return parse(base)


def run_name(origin: str, overrides: list) -> str:
    """Where the settings come from and what the command line changes of them: another setting, another folder."""
    of_the_command = {field.name for field in fields(Command)} | {"experiment"}
    changes = [
        f"{override.key_or_group}={value}" if isinstance(value := override.value(), str) else override.input_line
        for override in overrides
        if override.key_or_group not in of_the_command and not override.key_or_group.startswith(("tracking", "hydra"))
    ]
    return slug("+".join([origin, *sorted(changes)]))


@exit_codes
def main() -> None:
    # Otherwise Hydra prints its exceptions itself and exits with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    mistakes, started = [], []

    @hydra.main(version_base="1.3", config_path="conf", config_name="config")
    def job(composed: DictConfig) -> None:
        started.append(True)
        # No exception leaves a job: Hydra would put all its overrides before the sentence. Of a
        # sweep, a mistake ends one job, and an interruption all of them.
        try:
            run(composed)
        except (UserError, OmegaConfBaseException) as error:
            mistakes.append(error)
            tell(sentence(error))
        except Interrupted as interrupted:
            tell_of_signal(str(interrupted))
            # A sweep's agent that stopped a run early counts other codes as failures, and gives up after three.
            sys.exit(0 if swept() else interrupted.exit_code)
        except KeyboardInterrupt:
            if not LEADS:
                sys.exit(CTRL_C)
            raise

    try:
        experiments.register()
        by_length.register()
        sys.argv[1:] = quoted(sys.argv[1:])
        job()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        mistakes.append(error)
        tell(sentence(error))
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra's own, about a group that is null or a number
            raise
        mistakes.append(error)
        tell(sentence(error))
    except OSError as error:
        if started:
            raise
        mistakes.append(error)  # Hydra's own, about folders that hydra.run.dir and the like name
        tell(f"{error.filename}: Hydra cannot use this folder ({error.strerror}).")
    if mistakes:
        if LEADS and swept():  # it alone has a run in W&B
            from mfcc_wavenet.runs.tracker import refuse

            defaults = yaml.safe_load((CONF / "tracking" / "wandb.yaml").read_text())
            refuse(parse_group(TrackingSettings, defaults, "tracking"), sentence(mistakes[-1]))
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()

"""The sweep files of the repository: W&B takes them, and every value that they can produce reaches a run."""

import json
import random
import re
from functools import cache

import pytest
import yaml
from optuna.distributions import CategoricalDistribution
from support.settings import GROUPS, ROOT, chosen_options, compose_settings
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.parse import flat, plain
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.sweep.file import SweepFile, read
from mfcc_wavenet.sweep.search_space import Parameter, num_points, point

FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
DRAWS = 8  # of each file that is not a grid


def extremes(parameter: Parameter) -> list:
    """The extremes that Optuna may draw: all categories, or both ends."""
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]


def drawn(file: SweepFile) -> list[dict]:
    """The whole grid; or corners in which every extreme of every setting occurs, the lowest one first, and draws."""
    varied = [parameter for parameter in file.parameters if parameter.distribution]
    if file.method == "grid":
        return [point(file.parameters, index) for index in range(num_points(file.parameters))]
    all_extremes = {p.name: extremes(p) for p in varied}
    most = max(map(len, all_extremes.values()))
    turns = [0, -1, *range(1, most - 1)]
    corners = [{name: values[turn % len(values)] for name, values in all_extremes.items()} for turn in turns]
    generator = random.Random(0)
    return [*corners, *({p.name: random_draw(p, generator) for p in varied} for _ in range(DRAWS))]


def random_draw(parameter: Parameter, generator: random.Random):
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return generator.choice(distribution.choices)
    drawn = generator.uniform(distribution.low, distribution.high)
    return drawn if isinstance(distribution.low, float) else round(drawn)


@cache
def runs(path) -> list[tuple[dict, list[str]]]:
    """The settings of every run that is tried here, and the arguments with which W&B's agent starts run.py."""
    file = read(path)
    settings = [{p.name: p.value(values.get(p.name)) for p in file.parameters} for values in drawn(file)]
    agent = [{"args": {key: {"value": value} for key, value in values.items()}} for values in settings]
    return [(values, create_sweep_command_args(args)["args_no_hyphens"]) for values, args in zip(settings, agent)]


@cache
def composed(*arguments: str) -> tuple[Settings, dict]:
    """The settings that run.py would train with, and the config that its run would have in W&B."""
    settings, choices = compose_settings(*arguments), chosen_options(*arguments)
    return settings, flat(plain(settings)) | {group: choices[group] for group in [*GROUPS, "experiment"]}


def build(settings: Settings) -> Geometry:
    """What a run builds first, and what refuses contradictory settings."""
    return Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)


def test_there_are_the_six():
    """Otherwise all other tests here would pass on nothing."""
    names = ["architecture", "bottlenecks", "optimizers", "scaling", "window_geometry", "zero_error"]
    assert [path.stem for path in FILES] == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_run_composes_and_every_value_arrives(path):
    """In the run's config under the same key as in the sweep, options of groups included; the network can be built."""
    assert len(runs(path)) > DRAWS
    for values, arguments in runs(path):
        settings, config = composed(*arguments)
        assert {key: config[key] for key in values} == values
        assert build(settings).receptive_field > 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agent_starts_run_py_with_bare_settings(path):
    """Without hyphens and without quotes."""
    config = yaml.safe_load(path.read_text())
    assert config["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    metric = "valid/nats" if path.stem == "bottlenecks" else "score"
    assert (config["program"], config["metric"]) == ("run.py", {"name": metric, "goal": "minimize"})


def test_figures_of_the_baseline_are_the_records():
    """What the comments say of the baseline, and its length, which the first run of each is trained on."""
    record = json.loads((ROOT / "experiments" / "baseline_adam" / "results.json").read_text())
    figures = {"epochs": f"{record['epochs']:.1f}", "samples": f"{record['samples']:,}"}
    quoted = []
    for path in (path for path in FILES if path.stem != "bottlenecks"):
        comments = " ".join(re.findall(r"# (.*)", path.read_text()))
        of_the_baseline = re.findall(r"(?:baseline|first sentence)[^.,;]*?([\d,.]*\d) ?(\w*)", comments)
        assert all(figures.get(unit) == figure for figure, unit in of_the_baseline), of_the_baseline
        quoted += of_the_baseline
        assert composed(*runs(path)[0][1])[0].data.seconds == record["samples"] / 16000
    assert {unit for _, unit in quoted} == figures.keys()


def test_all_windows_see_equally_many_samples():
    """Which the grid needs for its comparison: in total, between two rows and between two evaluations."""
    seen = set()
    for _, arguments in runs(ROOT / "sweeps" / "window_geometry.yaml"):
        settings, _ = composed(*arguments)
        step = settings.window.samples * settings.window.batch_size
        seen.add(tuple(step * getattr(settings.train, name) for name in ("steps", "log_interval", "evaluate_interval")))
        assert settings.optim.decay_steps == settings.train.steps
    assert seen == {(1_600_000, 24_000, 48_000)}


def test_all_bottlenecks_see_4_million_samples():
    """As the file says, whatever the experiment that they are variations of does."""
    trained = {composed(*arguments)[0] for _, arguments in runs(ROOT / "sweeps" / "bottlenecks.yaml")}
    assert {one.train.steps * one.window.samples * one.window.batch_size for one in trained} == {4_000_000}


def test_the_grid_has_every_combination_once():
    """Three hops, four lengths, two batch sizes."""
    combinations = {tuple(arguments) for _, arguments in runs(ROOT / "sweeps" / "window_geometry.yaml")}
    assert len(combinations) == len(runs(ROOT / "sweeps" / "window_geometry.yaml")) == 3 * 4 * 2

"""A mistake in a sweep file is one sentence with its line; a valid file means what it means to W&B."""

import pytest

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.sweep.file import read

GOOD = """\
program: run.py
method: bayes
metric:
  name: score
run_cap: 3
early_terminate:
  type: hyperband
  min_iter: 2
parameters:
  window.samples:
    values: [250, 500]
  optim.learning_rate:
    distribution: log_uniform_values
    min: 0.001
    max: 0.01
"""


def written(tmp_path, text: str):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


def test_defaults_are_wandbs(tmp_path):
    """The file's name, W&B's own command and goal; a parameter without a distribution gets W&B's."""
    file = read(written(tmp_path, GOOD))
    assert (file.name, file.goal, file.target, file.run_cap) == ("sweep", "minimize", None, 3)
    assert file.command == ("${env}", "${interpreter}", "${program}", "${args}")
    assert file.hyperband.bands[:3] == (2, 6, 18) and file.hyperband.strict
    assert [p.given["distribution"] for p in file.parameters] == ["categorical", "log_uniform_values"]


@pytest.mark.parametrize(
    ("given", "distribution"),
    [
        ("{value: 3}", "constant"),
        ("{value: null}", "constant"),
        ("{values: [1, 2]}", "categorical"),
        ("{values: [1, 2], probabilities: [0.25, 0.75]}", "categorical_w_probabilities"),
        ("{min: 1, max: 3}", "int_uniform"),
        ("{min: 1, max: 3.5}", "uniform"),
        ("{distribution: normal, mu: 2}", "normal"),
        ("{distribution: q_beta, a: 2, b: 5, q: 0.1}", "q_beta"),
    ],
)
def test_distributions_are_inferred_as_wandb_infers_them(tmp_path, given, distribution):
    """From which keys there are, and whether bounds are whole numbers."""
    file = read(written(tmp_path, GOOD.replace("{min: 1, max: 2}", "") + f"  wavenet.blocks: {given}\n"))
    assert file.parameters[-1].given["distribution"] == distribution


@pytest.mark.parametrize(
    ("before", "after", "line", "sentence"),
    [
        ("run_cap: 3", "run_kap: 3", 5, "run_kap is not known; did you mean run_cap?"),
        ("run_cap: 3", "run_cap: 0", 5, "run_cap is 0; it must be at least 1"),
        ("run_cap: 3", "run_cap: many", 5, "run_cap is 'many', which is not a number"),
        ("run_cap: 3", "scheduler: {engine: optuna}", 5, "scheduler is for the hosted service only"),
        ("run_cap: 3", "method: grid", 5, "method is there twice"),
        ("run_cap: 3", "command: [run.py, '${arg}']", 5, "${arg} is not known; did you mean args"),
        ("run_cap: 3", "command: run.py", 5, "command is a list"),
        ("method: bayes", "method: byes", 2, "method is byes; did you mean bayes?"),
        ("method: bayes\n", "", 1, "method is missing; there are grid, random, bayes"),
        ("metric:\n  name: score\n", "", 1, "metric is missing; metric: {name: score"),
        ("  name: score", "  nam: score", 4, "metric: nam is not known; did you mean name?"),
        ("  name: score", "  goal: minimize", 3, "metric has no name"),
        ("  name: score", "  name: score\n  goal: less", 5, "metric.goal is less; there are maximize, minimize"),
        ("  type: hyperband", "  type: envelope", 7, "type is envelope; it must be hyperband"),
        ("  min_iter: 2", "  max_iter: 9", 6, "early_terminate needs min_iter, or max_iter and s"),
        ("  min_iter: 2", "  max_iter: 2\n  s: 3", 6, "early_terminate never judges a run"),
        ("  min_iter: 2", "  min_iter: 2\n  eta: 1", 9, "eta is 1; it must be more than 1"),
        ("window.samples:", "window.sample:", 10, "window.sample is not a setting; did you mean window.samples"),
        ("    values: [250, 500]", "    value: [1]\n    values: [2]", 12, "values is not known"),
        ("    values: [250, 500]", "    values: 250", 11, "window.samples: values is a list"),
        ("    values: [250, 500]", "    values: []", 11, "window.samples: values is a list"),
        ("    values: [250, 500]", "    values: [250, 250]", 11, "window.samples: values has 250 twice"),
        ("    values: [250, 500]", "    min: 3", 10, "uniform needs max"),
        ("    values: [250, 500]", "    max: 3", 10, "uniform needs min"),
        ("    values: [250, 500]", "    {}", 10, "neither value nor values nor min and max"),
        ("    values: [250, 500]", "    min: 5\n    max: 3", 11, "min is 5 and max 3; min must be less"),
        ("    values: [250, 500]", "    parameters: {a: {value: 3}}", 11, "nested parameters"),
        (
            "    values: [250, 500]", "    values: [1, 2]\n    probabilities: [0.5, 0.6]", 12,
            "probabilities are numbers of at least 0 that add up to 1",
        ),
        ("log_uniform_values", "log_unifrm", 13, "log_unifrm is not a distribution; there are constant, categorical"),
        ("    min: 0.001", "    min: 1e-3", 14, "min is '1e-3', which is not a number; YAML reads 1e-3 as text"),
        ("    min: 0.001", "    min: 0.0", 14, "min is 0.0; log_uniform_values takes numbers above 0"),
        ("    max: 0.01", "    max: 0.01\n    q: 1", 16, "log_uniform_values: q is not known"),
        ("window.samples:\n    values: [250, 500]", "features:\n    values: [mfcc93]", 10, "did you mean mfcc39"),
        ("parameters:", "parameters", 10, "this is not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_line(tmp_path, before, after, line, sentence):
    """That names the key, and what would work."""
    assert before in GOOD
    path = written(tmp_path, GOOD.replace(before, after))
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}, line {line}: ") and sentence in message, message
    assert "\n" not in message and message.endswith((".", "?"))


def test_a_grid_takes_only_what_can_be_listed(tmp_path):
    """Not a rate between two bounds."""
    path = written(tmp_path, GOOD.replace("bayes", "grid"))
    with pytest.raises(
        UserError, match=r"line 12: optim\.learning_rate has no grid; a grid takes constant, categorical"
    ):
        read(path)


@pytest.mark.parametrize("text", ["", "- a list", "42"])
def test_what_is_not_a_sweep_file_at_all(tmp_path, text):
    """Whatever YAML makes of it."""
    with pytest.raises(UserError, match="line 1: a sweep file consists of lines KEY: VALUE"):
        read(written(tmp_path, text))


def test_a_file_that_does_not_exist(tmp_path):
    """Is named in the sentence."""
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read"):
        read(tmp_path / "nowhere.yaml")

"""YAML that no sweep file should hold is a sentence with its line, within two seconds and without much memory."""

import time
from itertools import pairwise

import pytest
import scipy.stats  # noqa: F401, before the clock runs
import yaml

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.sweep import document, file

HEAD = "program: run.py\nmethod: random\nmetric: {name: score}\nparameters:\n"
LETTERS = "abcdefghi"
LAUGHS = f"a: &a [{', '.join('1' * 10)}]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{former}'] * 10)}]\n" for former, name in pairwise(LETTERS)
)
NESTED = "[" * 3000 + "]" * 3000


def parameters(text: str) -> str:
    return f"{HEAD}  optim.learning_rate: {text}\n"


HOSTILE = [
    pytest.param(LAUGHS, 1, "more than 30,000 values, those of aliases included", id="billion laughs"),
    pytest.param("x: 1\na: &a [*a]\n", 2, "an alias within this refers to this", id="recursive alias"),
    pytest.param(f"a: {NESTED}\n", 1, "nest", id="nested brackets"),  # libyaml has a limit of its own
    pytest.param("a: " + "{b: " * 30 + "1" + "}" * 30, 1, "nested more than 20 levels deep", id="nested mappings"),
    pytest.param(f"a: [{'1, ' * 200_000}]\n", 1, "more than 30,000 values", id="many values"),
    pytest.param("x: 1\n? [a, b]\n: c\n", 2, "a key is a single word", id="list as a key"),
    pytest.param(parameters("{1: 2}"), 5, "the key 1 is not a word to YAML", id="number as a key"),
    pytest.param("{a: b, ? {c: d} : e}\n", 1, "a key is a single word", id="mapping as a key"),
    pytest.param(parameters("{min: .nan, max: 1.0}"), 5, "min is nan; it takes a finite number", id="nan"),
    pytest.param(parameters("{min: 0.0, max: .inf}"), 5, "max is inf; it takes a finite number", id="infinity"),
    pytest.param(parameters(f"{{min: 0, max: {10**30}}}"), 5, "takes an integer of at most", id="huge integer"),
    pytest.param(parameters(f"{{value: {'9' * 6000}}}"), 5, "99 cannot be read; quotes make it", id="endless integer"),
    pytest.param(parameters("{value: 2026-13-01}"), 5, "2026-13-01 cannot be read", id="impossible date"),
    pytest.param(parameters("{value: 2026-11-24}"), 5, "2026-11-24 is a date to YAML; quotes make it", id="date"),
    pytest.param(parameters("{values: !!set {a, b}}"), 5, "the tag tag:yaml.org,2002:set is not known", id="set"),
    pytest.param("!!python/object/apply:os.abort []\n", 1, "os.abort is not known", id="code"),
    pytest.param(parameters("{distribution: [a], min: 0}"), 5, "['a'] is not a distribution", id="list as a name"),
    pytest.param(parameters("{min: -1.7e+308, max: 1.7e+308}"), 5, "too large or too small", id="infinite range"),
    pytest.param(
        parameters("{distribution: log_uniform, min: 0, max: 1000}"), 5, "log_uniform would draw", id="exponential"
    ),
    pytest.param(parameters("{distribution: log_normal, mu: 1000}"), 5, "log_normal would draw", id="lognormal"),
    pytest.param(
        parameters("{distribution: q_uniform, min: 0, max: 1, q: 1.0e-320}"), 5, "q_uniform would draw", id="quantum"
    ),
    pytest.param(parameters("{values: [1, 2], probabilities: [.nan, 1]}"), 5, "that add up to 1", id="probabilities"),
    pytest.param(
        parameters("{value: 1}\nearly_terminate: {type: hyperband, min_iter: 2, eta: .inf}"), 6,
        "eta is inf; it takes a finite number", id="eta",
    ),
    pytest.param(
        parameters("{value: 1}\nearly_terminate: {type: hyperband, max_iter: 9, s: 1000000000, eta: 1.1}"), 6,
        "s is 1000000000; it takes an integer of at most 100", id="bands",
    ),
]  # fmt: skip


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize(("text", "line", "sentence"), HOSTILE)
def test_hostile_files_are_refused_at_once(tmp_path, monkeypatch, text, line, sentence, loader):
    """With libyaml and, where it is not installed, with PyYAML's own parser."""
    if not hasattr(yaml, loader):
        pytest.skip("PyYAML without libyaml")
    monkeypatch.setattr(document, "Loader", getattr(yaml, loader))
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    begin = time.process_time()
    with pytest.raises(UserError) as error:
        file.read(path)
    assert time.process_time() - begin < (2 if loader == "CSafeLoader" else 20)
    message = str(error.value)
    assert message.startswith(f"{path}, line {line}: ") and sentence in message, message
    assert "\n" not in message and message.endswith((".", "?"))


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
@pytest.mark.parametrize(
    "values",
    ["{min: 0, max: 2147483647}", f"{{values: [{', '.join(map(str, range(20_000)))}]}}", "{values: &v [1, 2]}"],
    ids=["integers", "values", "anchor"],
)
def test_large_ranges_are_read_at_once(tmp_path, method, values):
    """A range is not listed, and many values are compared once each."""
    path = tmp_path / "sweep.yaml"
    path.write_text(HEAD.replace("random", method) + f"  window.samples: {values}\n")
    begin = time.process_time()
    (parameter,) = file.read(path).parameters
    assert time.process_time() - begin < 2
    assert len(parameter.grid) in (2**31, 20_000, 2)


def test_aliases_stand_for_what_they_repeat(tmp_path):
    """A list is written once; a mapping is taken over and changed in part."""
    path = tmp_path / "sweep.yaml"
    more = "  window.samples: &range {min: 1, max: 3}\n  window.batch_size: {<<: *range, max: 9}\n"
    path.write_text(HEAD + more)
    samples, batch_size = file.read(path).parameters
    assert (samples.grid, batch_size.grid) == (range(1, 4), range(1, 10))


def test_a_name_without_its_folder_and_suffix_is_understood(tmp_path, monkeypatch):
    """As far as to say what was meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "a.yaml").write_text(HEAD)
    for name in ("a", "a.yaml", "sweeps/a"):
        with pytest.raises(UserError, match=r"cannot be read \(.*\); did you mean sweeps/a\.yaml\?$"):
            file.read(type(tmp_path)(name))

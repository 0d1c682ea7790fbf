"""Whatever a sweep file holds, it is a sweep whose runs can be drawn or one sentence; in little time and memory."""

import copy
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
import optuna
import pytest
import yaml
from hypothesis import given
from support.architectures import examples
from support.settings import ROOT

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.sweep import file
from mfcc_wavenet.sweep.search_space import num_points, point

SECONDS = 5.0
OURS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "sweeps").glob("*.yaml"))}

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=6),
    st.sampled_from(["grid", "random", "bayes", "uniform", "log_uniform_values", "q_normal", "hyperband", 0, 1, -1]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["min", "max", "value", "values", "distribution", "mu", "sigma", "q", "probabilities", "goal", "name", "eta", "s"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | SCALARS, inner, max_size=4),
    max_leaves=8,
)


def drawn_or_refused(text: str) -> None:
    """The property: every setting has a value in a first run, or one sentence says why not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        started = time.monotonic()
        try:
            sweep = file.read(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error) and str(error).endswith((".", "?")), error
        else:
            drawn = [parameter for parameter in sweep.parameters if parameter.distribution is not None]
            if sweep.method == "grid":
                values = point(drawn, num_points(drawn) - 1)
            else:
                study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
                values = study.ask({parameter.name: parameter.distribution for parameter in drawn}).params
            assert set(values) == {parameter.name for parameter in drawn}
            for parameter in sweep.parameters:
                parameter.value(values.get(parameter.name))
        assert time.monotonic() - started < SECONDS


def places(value: object) -> list[tuple]:
    """Where an entry can be replaced, at any depth."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in entries for place in [(key,), *((key, *rest) for rest in places(inner))]]


@pytest.mark.parametrize("name", OURS)
@examples(25)
@given(data=st.data(), value=VALUES, change=st.sampled_from(["replaced", "removed", "renamed"]))
def test_an_entry_of_ours_changed(name, data, value, change):
    content = copy.deepcopy(OURS[name])
    *parents, last = data.draw(st.sampled_from(places(content)))
    parent = content
    for key in parents:
        parent = parent[key]
    if change == "replaced":
        parent[last] = value
    else:
        former = parent.pop(last)
        if change == "renamed" and isinstance(parent, dict):
            parent[data.draw(NAMES)] = former
    drawn_or_refused(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@examples(50)
@given(parameter=VALUES, method=st.sampled_from(["grid", "random", "bayes"]))
def test_any_parameter(parameter, method):
    content = {"program": "run.py", "method": method, "metric": {"name": "score"}, "parameters": {"a.b": parameter}}
    drawn_or_refused(yaml.safe_dump(content, allow_unicode=True))


@examples(50)
@given(data=st.data(), replacement=st.text(max_size=4))
def test_letters_of_ours_changed(data, replacement):
    text = (ROOT / "sweeps" / f"{data.draw(st.sampled_from(sorted(OURS)))}.yaml").read_text()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    drawn_or_refused(text[:start] + replacement + text[start + length :])

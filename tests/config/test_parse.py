"""Plain values to Settings and back: nothing unknown, nothing missing, nothing of another type."""

import json
from copy import deepcopy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.settings import DEMO, ROOT, compose_settings, with_companions

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import near, parse, parse_group, plain
from mfcc_wavenet.config.settings import CORPORA, TrackingSettings, UpsamplingSettings
from mfcc_wavenet.config.training_settings import OptimSettings

OPTIONS = sorted(f"{path.parent.name}={path.stem}" for path in (ROOT / "conf").glob("*/*.yaml"))
DEFAULTS = plain(compose_settings())
COMMAND = dict.fromkeys(("checkpoint", "name", "input", "output", "speaker", "split")) | {
    "mode": "train",
    "runs": "runs",
    "restart": False,
    "temperature": 0,
    "top_k": 0,
    "sampling_seed": 0,
    "corrections": None,
    "candidates": 1,
    "clips": 30,
    "clip_seconds": 10.0,
    "device": "cpu",
    "weights": "float32",
}


def changed(**dotted) -> dict:
    """The defaults with one key of one group set, as in changed(window__samples=3)."""
    config = deepcopy(DEFAULTS)
    for name, value in dotted.items():
        group, _, key = name.partition("__")
        config[group][key] = value
    return config


def refused(config: dict) -> str:
    with pytest.raises(UserError) as error:
        parse(config)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


@pytest.mark.parametrize("override", [*OPTIONS, *(f"experiment={name}" for name in experiments.names())])
def test_plain_settings_parse_to_themselves(override):
    """Through JSON (checkpoints hold such values) and through YAML (a pinned config.yaml does), types included."""
    is_known = override.partition("=")[2] in CORPORA
    settings = compose_settings(
        *with_companions(override), f"data.root={DEMO if is_known else f'[{DEMO}/02_tea.flac]'}"
    )
    config = plain(settings)
    assert parse(config) == settings
    assert parse(json.loads(json.dumps(config))) == settings
    assert parse(yaml.safe_load(yaml.safe_dump(config))) == settings
    assert hash(parse(config)) == hash(settings)


@pytest.mark.parametrize(
    ("typo", "near_ones"),
    [
        ("wavenet__residual_chanels", "did you mean residual_channels"),
        ("window__hop", "there are batch_size, samples"),
        ("window__sample", "did you mean samples"),
    ],
)
def test_an_unknown_key_is_refused_with_near_ones(typo, near_ones):
    """Or, where nothing is near, with all there are in its group."""
    sentence = refused(changed(**{typo: 1}))
    assert typo.replace("__", ".") + " is not a setting" in sentence and near_ones in sentence


def test_an_unknown_group_is_refused_with_near_ones():
    """A checkpoint's settings, say, of another project."""
    assert "wavnet is not a setting; did you mean wavenet" in refused(DEFAULTS | {"wavnet": {}})


@pytest.mark.parametrize(
    "config", [changed(data__root="???"), {**DEFAULTS, "data": {"seconds": None, "prepared": "p"}}]
)
def test_a_missing_value_is_named_with_the_cure(config):
    """Whether the key is missing or stands there as Hydra's ???."""
    assert refused(config) == "data.root has no value; data.root=... on the command line gives it one."


def test_a_missing_group_is_named_by_its_first_key():
    """As ~wavenet on the command line leaves it."""
    assert "wavenet.quantization_channels has no value" in refused(
        {k: v for k, v in DEFAULTS.items() if k != "wavenet"}
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train__steps", "many"),
        ("train__steps", 1.5),
        ("train__stop_at_zero", "perhaps"),
        ("optim__learning_rate", [1e-3]),
        ("optim__learning_rate", None),
        ("upsampling__strides", [5, "x"]),
        ("upsampling__strides", None),
        ("upsampling__strides", ["???"]),
        ("tracking__tags", ["mine", "???"]),
        ("window__samples", {"samples": 3}),
        ("data__root", [["nested"]]),
        ("data__root", [{"nested": 1}]),
        ("data__subsets", [["nested"]]),
        ("data__subsets", ["dev-clean", "???"]),
        ("optim__betas", [0.9]),
        ("optim__betas", [0.9, 0.99, 0.999]),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_name(key, value):
    """The sentence names the key with its group."""
    assert key.replace("__", ".") in refused(changed(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train__seed", -1),
        ("train__workers", -1),
        ("optim__learning_rate", float("nan")),
        ("optim__clip_grad_norm", -0.5),
        ("data__seconds", float("inf")),
        ("upsampling__strides", [-160, -1]),
        ("optim__milestones", [10, -3]),
    ],
)
def test_a_number_that_counts_or_measures_nothing_is_refused(key, value):
    """Negative, NaN or infinite: no setting means anything then, in lists neither."""
    assert key.replace("__", ".") + f"={value}: it must be 0 or more" in refused(changed(**{key: value}))


def test_none_may_arrive_as_a_word():
    """A sweep hands over Python's spelling; for what cannot be None it is no better than null."""
    settings = parse(changed(data__seconds="None", optim__clip_grad_norm="None", tracking__entity="None"))
    assert (settings.data.seconds, settings.optim.clip_grad_norm, settings.tracking.entity) == (None, None, None)
    assert "train.steps" in refused(changed(train__steps="None"))


def test_a_single_value_stands_for_a_list_of_one():
    """One folder, one stride; a list stays what it is, the empty one too."""
    assert parse(changed(data__root="folder")).data.root == ("folder",)
    known = {"data__corpus": "librispeech", "data__root": "folder"}
    assert parse(changed(**known, data__subsets="dev-clean")).data.subsets == ("dev-clean",)
    assert parse(changed(**known, data__subsets=["a", "b", "c"])).data.subsets == ("a", "b", "c")
    assert parse(changed(**known, data__subsets="None")).data.subsets is None
    single = parse_group(
        UpsamplingSettings, DEFAULTS["upsampling"] | {"strides": 160, "frame_channels": []}, "upsampling"
    )
    assert single.strides == (160,) and single.frame_channels == ()
    assert parse_group(TrackingSettings, DEFAULTS["tracking"] | {"tags": "one"}, "tracking").tags == ("one",)


@given(rate=st.floats(0, 1e6), steps=st.integers(0, 2**62))
def test_numbers_arrive_exactly_also_as_text(rate, steps):
    """The command line hands over text where YAML sees no number (1e-3 is a string to it); no digit is lost."""
    group = DEFAULTS["optim"] | {"optimizer": "adam", "schedule": "constant"}
    group |= {"learning_rate": repr(rate), "decay_steps": str(steps)}
    optim = parse_group(OptimSettings, group, "optim")
    assert (optim.learning_rate, optim.decay_steps) == (rate, steps)
    assert isinstance(optim.decay_steps, int)


def test_the_command_is_parsed_alike():
    """Its keys have no group in front."""
    assert parse_group(Command, COMMAND, "").temperature == 0.0
    for wrong, sentence in (({"mod": "x"}, "mod is not a setting; did you mean mode"), ({"restart": 3.5}, "restart: ")):
        with pytest.raises(UserError, match=sentence):
            parse_group(Command, COMMAND | wrong, "")


def test_near_says_what_there_is_when_nothing_is_near():
    """Otherwise the nearest first."""
    assert near("evaluat", ["train", "evaluate"]) == "did you mean evaluate?"
    assert near("xyz", ["train", "evaluate"]) == "there are evaluate, train."

"""Checkpoints of older formats load, and weights may be stored in fewer bits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.checkpoints import built, checkpoint, content_of, refused
from support.settings import ROOT, SMALL, compose_settings

from mfcc_wavenet.models.checkpoint import FORMAT, MARK, digest, load, save
from mfcc_wavenet.training.chassis import Chassis

NEW_IN_5 = {
    "data": ("corpus", "subsets", "workers", "valid", "test", "split_by", "split_seed"),
    "train": ("validate_interval", "validate_samples", "patience"),
}
NEW_IN_6 = {
    "wavenet": ("preemphasis",),
    "optim": ("encoder_factor",),
    "encoder": (),
    "bottleneck": (),
}  # (): all of the group
NEW_IN_7 = {"train": ("products",)}


def without(content: dict, settings: dict[str, tuple[str, ...]]) -> None:
    """Removes those of each group, and the groups, which the format before did not have."""
    for group, names in settings.items():
        for name in names or content["settings"][group].copy():
            del content["settings"][group][name]
        if not content["settings"][group]:
            del content["settings"][group]


def test_the_pinned_checkpoint_of_format_1_loads():
    """It keeps its bytes, and with them its digest; what it lacks comes from the upgrade."""
    path = ROOT / "experiments" / "baseline_adam" / "checkpoint.pt"
    assert content_of(path)["format"] == "mfcc_wavenet checkpoint 1"
    assert digest(path) == "4f9527c81d6bfae0ab3c4e03b01061d6ab1949184407ba76065f00bae28df3a0"
    loaded = load(path)
    assert loaded.settings.train.max_bad_steps == 5 and loaded.settings.wavenet.prediction == "none"
    assert loaded.settings.train.precision == "float32" and not loaded.settings.train.compile
    assert loaded.settings.train.return_to_best is None
    assert loaded.settings.tracking.project is None and loaded.settings.tracking.dir is None
    assert loaded.training is None and loaded.temperature == 0
    assert loaded.model().geometry.receptive_field == 63


def test_a_training_checkpoint_of_format_1_resumes(tmp_path):
    """It was written after 10 steps with averaged weights, by the last version that wrote this format."""
    path = Path(__file__).with_name("format1.pt")
    content, loaded = content_of(path), load(path)
    assert content["format"] == "mfcc_wavenet checkpoint 1" and content["training"]["averaged_steps"] is not None
    train = replace(loaded.settings.train, steps=20)
    settings = replace(
        loaded.settings, train=train, data=replace(loaded.settings.data, prepared=str(tmp_path / "prepared"))
    )
    chassis = Chassis(settings, tmp_path / "run", replace(loaded, settings=settings))
    kept = content["training"]["metrics"]
    assert chassis.step == 10 and chassis.metrics.samples_seen == kept["samples_seen"] + kept["sums"][0]
    for model, weights in ((chassis.model, content["training"]["weights"]), (chassis.averaged, content["weights"])):
        assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    moments = chassis.optimizer.state_dict()["state"]
    for number, kept in content["training"]["optimizer"].items():
        assert torch.equal(moments[number]["exp_avg"], kept["exp_avg"])
    assert loaded.training["best"] is None, "its passes, if there were any, were not kept"
    results = chassis.train()
    assert results["steps"] == 20 and results["epochs"] > 10 * 200 / 3200
    assert content_of(chassis.checkpoint_path)["format"] == f"{MARK} {FORMAT}"


@pytest.mark.parametrize(("was", "classes"), [(True, "differences"), (False, "codes")])
def test_a_checkpoint_of_format_3_loads(tmp_path, was, classes):
    """It knew no centred frames, and two kinds of classes."""
    changes = ("wavenet.prediction=lpc", f"wavenet.classes={classes}", "upsampling.frame_whitening=true")
    settings = compose_settings(*SMALL, "train.products=null", *changes)
    weights = built(settings).state_dict()
    mean = weights["upsampling.frame_mean"] + 1
    state = {"weights": dict(weights)}
    save(tmp_path / "checkpoint.pt", replace(checkpoint(), settings=settings, weights=weights, training=state))
    content = content_of(tmp_path / "checkpoint.pt") | {"format": f"{MARK} 3"}
    del content["settings"]["wavenet"]["classes"]
    without(content, NEW_IN_5)
    without(content, NEW_IN_6)
    without(content, NEW_IN_7)
    content["settings"]["wavenet"]["difference_target"] = was
    for held in (content["weights"], content["training"]["weights"]):
        del held["upsampling.frame_mean"]
    torch.save(content, tmp_path / "checkpoint.pt")
    loaded = load(tmp_path / "checkpoint.pt")
    assert loaded.settings == settings
    for held in (loaded.weights, loaded.training["weights"]):
        assert torch.equal(held["upsampling.frame_mean"], torch.zeros_like(mean))
    assert loaded.model().upsampling.frame_mean.shape == mean.shape


def test_a_checkpoint_of_format_4_loads(tmp_path):
    """It held nothing out, had its corpus in its training state, and knew no temperature."""
    path = tmp_path / "checkpoint.pt"
    for training in (True, False):
        save(path, replace(checkpoint(training=training), temperature=0.7))
        assert load(path).temperature == 0.7
        content = content_of(path) | {"format": f"{MARK} 4"}
        del content["corpus"], content["temperature"]
        if training:
            content["training"]["corpus"] = "abc"
        without(content, NEW_IN_5)
        without(content, NEW_IN_6)
        without(content, NEW_IN_7)
        torch.save(content, path)
        loaded = load(path)
        assert loaded.settings == checkpoint().settings and loaded.corpus == ("abc" if training else None)
        assert loaded.temperature == 0


def test_a_checkpoint_of_format_5_loads(tmp_path):
    """It knew neither encoder nor bottleneck, and no pre-emphasis."""
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint())
    content = content_of(path) | {"format": f"{MARK} 5"}
    without(content, NEW_IN_6)
    without(content, NEW_IN_7)
    torch.save(content, path)
    assert load(path).settings == checkpoint().settings


def test_a_checkpoint_of_format_6_loads(tmp_path):
    """It did not know by which library its products were."""
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint())
    content = content_of(path) | {"format": f"{MARK} 6"}
    without(content, NEW_IN_7)
    torch.save(content, path)
    assert load(path).settings == checkpoint().settings


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), "hot", None])
def test_a_temperature_that_is_none_is_refused(tmp_path, temperature):
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint())
    torch.save(content_of(path) | {"temperature": temperature}, path)
    assert f"(temperature={temperature}: it must be 0 (greedy) or more, and finite)" in refused(path)


def test_a_newer_format_is_refused_by_its_number(tmp_path):
    """A person with an older clone learns that it is the clone."""
    save(tmp_path / "checkpoint.pt", checkpoint())
    content = content_of(tmp_path / "checkpoint.pt") | {"format": f"{MARK} {FORMAT + 1}"}
    torch.save(content, tmp_path / "checkpoint.pt")
    assert f"has the format {FORMAT + 1}, but this version of the project reads the formats up to {FORMAT}" in refused(
        tmp_path / "checkpoint.pt"
    )


@pytest.mark.parametrize("content", [{"settings": []}, {"settings": {"train": 3}}, {}, {"settings": {}}])
def test_the_mark_of_an_older_format_does_not_make_a_checkpoint(tmp_path, content):
    """Its upgrade meets what it does not expect: a sentence, too."""
    torch.save({"format": f"{MARK} 1", **content}, tmp_path / "checkpoint.pt")
    assert "has the mark of a checkpoint, but not its contents" in refused(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("weights", [torch.float16, torch.bfloat16])
def test_weights_in_fewer_bits_are_float32_again(tmp_path, weights):
    """Rounded once, in half of the bytes."""
    whole, half = tmp_path / "whole.pt", tmp_path / "half.pt"
    saved = checkpoint(training=False)
    save(whole, saved)
    save(half, saved, weights)
    loaded = load(half)
    assert all(torch.equal(loaded.weights[name], w.to(weights).float()) for name, w in saved.weights.items())
    stored = sum(tensor.nbytes for tensor in saved.weights.values())
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(stored / 2, rel=0.05)

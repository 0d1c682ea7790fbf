"""Checkpoints: what comes back is what was saved, a failure costs nothing, and a file never runs code."""

import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import SETTINGS, built, checkpoint, content_of, refused
from support.disks import file_system, files_of_at_most

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import plain
from mfcc_wavenet.models.checkpoint import FORMAT, MARK, digest, load, load_weights, save
from mfcc_wavenet.training.chassis import Chassis

# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_what_is_loaded_is_what_was_saved(tmp_path, training):
    """To the bit, the order of the speakers and the state of training included; the folder is made."""
    saved = checkpoint(training=training)
    save(tmp_path / "new" / "checkpoint.pt", saved)
    loaded = load(tmp_path / "new" / "checkpoint.pt")
    assert (loaded.settings, loaded.speakers) == (saved.settings, saved.speakers)
    assert np.array_equal(loaded.statistics.mean, saved.statistics.mean)
    assert np.array_equal(loaded.statistics.std, saved.statistics.std)
    assert loaded.weights.keys() == saved.weights.keys()
    assert all(torch.equal(loaded.weights[name], saved.weights[name]) for name in saved.weights)
    assert (loaded.training is None) == (not training)
    if training:
        assert loaded.training.keys() == saved.training.keys()
        assert loaded.training["history"] == saved.training["history"]
        assert torch.equal(loaded.training["random"], saved.training["random"])
        assert torch.equal(loaded.training["optimizer"][0]["exp_avg"], saved.training["optimizer"][0]["exp_avg"])


def test_a_checkpoint_alone_is_enough_for_its_model(tmp_path):
    """It is built from the settings inside, with the weights inside, ready to be evaluated."""
    save(tmp_path / "checkpoint.pt", checkpoint(seed=1))
    torch.manual_seed(2)
    model = load(tmp_path / "checkpoint.pt").model()
    assert not model.training
    expected = checkpoint(seed=1).weights
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())


def test_weights_of_another_architecture_are_refused_by_the_first_that_does_not_fit():
    """In the order of their names; both shapes are told, and what to do."""
    weights = checkpoint().weights
    wider = replace(SETTINGS, wavenet=replace(SETTINGS.wavenet, skip_channels=24))
    with pytest.raises(UserError) as error:
        load_weights(built(wider), weights)
    assert "its wavenet.post.weight is (16, 16), the settings ask for (16, 24)" in str(error.value)
    deeper = replace(SETTINGS, wavenet=replace(SETTINGS.wavenet, layers_per_block=4))
    with pytest.raises(UserError, match=r"its wavenet\.layers\.5\.residual\.bias is absent, .* ask for \(8,\)"):
        load_weights(built(deeper), weights)
    shallower = replace(SETTINGS, wavenet=replace(SETTINGS.wavenet, layers_per_block=2))
    with pytest.raises(UserError, match=r"its wavenet\.layers\.3\.residual\.bias is \(8,\), .* ask for absent"):
        load_weights(built(shallower), weights)


def test_the_digest_is_sha256(tmp_path):
    """That sha256sum prints."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- a failure costs nothing ----------------------------------------------------------------------


def test_a_full_disk_leaves_the_former_checkpoint_whole(tmp_path):
    """Wherever in the file the room ends; nothing half-written stays behind, and the sentence says so."""
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint(seed=1))
    before = path.read_bytes()
    for room in (0, 1, 4096, len(before) // 2, len(before) - 1):
        with files_of_at_most(room), pytest.raises(UserError) as error:
            save(path, checkpoint(seed=2))
        assert f"The checkpoint {path} could not be written (File too large)" in str(error.value)
        assert "the previous checkpoint there is whole" in str(error.value)
        assert os.listdir(tmp_path) == ["checkpoint.pt"] and path.read_bytes() == before
    save(path, checkpoint(seed=2))
    assert path.read_bytes() != before


def test_a_disk_that_is_really_full(tmp_path):
    """The same on a file system of its own, where the system allows one."""
    with file_system(tmp_path, "size=256k"):
        path = tmp_path / "checkpoint.pt"
        save(path, checkpoint(seed=1))
        before = path.read_bytes()
        (tmp_path / "other").write_bytes(bytes(256 * 1024 - 2 * 4096 - len(before) - len(before) // 2))
        with pytest.raises(UserError, match=r"could not be written \(No space left on device\).*whole"):
            save(path, checkpoint(seed=2))
        assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "other"] and path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    """Below a regular file there is no folder; nor is a folder replaced by a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be written \(Not a directory\)\.$"):
        save(tmp_path / "file" / "run" / "checkpoint.pt", checkpoint())
    (tmp_path / "folder" / "checkpoint.pt").mkdir(parents=True)
    with pytest.raises(UserError, match="could not be written"):
        save(tmp_path / "folder" / "checkpoint.pt", checkpoint())
    assert os.listdir(tmp_path / "folder") == ["checkpoint.pt"]


# --- files that are no checkpoints ----------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 2, 100, 5000, 0.5, -200, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path, kept):
    """So many of its bytes, or that share of them, or all but so many."""
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint())
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    assert "is truncated or not a checkpoint" in refused(path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    """Whatever the damage makes of the description of what is inside; some bytes in it do not matter."""
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint())
    data = path.read_bytes()
    start, random, sentences = data.index(b"format"), np.random.default_rng(0), []
    for _ in range(100):
        damaged = bytearray(data)
        damaged[start + random.integers(3000)] = random.integers(256)
        path.write_bytes(damaged)
        try:
            load(path)
        except UserError as error:
            sentences.append(str(error))
    assert len(sentences) > 30 and all(sentence.startswith(str(path)) for sentence in sentences)


@pytest.mark.parametrize("content", [{"weights": torch.ones(2)}, [1, 2], torch.ones(3), {"format": "another 1"}])
def test_another_torch_file_is_refused(tmp_path, content):
    """It opens, but it lacks the mark."""
    torch.save(content, tmp_path / "other.pt")
    assert f"it lacks the mark {MARK!r}" in refused(tmp_path / "other.pt")


def test_a_whole_pickled_model_is_refused(tmp_path):
    """As torch.save(model) writes it: to build the object again, its code would have to run."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    assert "could run code" in refused(tmp_path / "model.pt")


@pytest.mark.parametrize("changes", [{"speakers": None}, {"settings": {}}, {"mean": None}, {"weights": ...}])
def test_the_mark_alone_does_not_make_a_checkpoint(tmp_path, changes):
    """Contents of another kind or version (...: missing) are no traceback either."""
    save(tmp_path / "checkpoint.pt", checkpoint())
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True) | changes
    torch.save({key: value for key, value in content.items() if value is not ...}, tmp_path / "checkpoint.pt")
    assert "has the mark of a checkpoint, but not its contents" in refused(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("text", ["", "settings:\n  a: 1\n", "root:x:0:0:\n", "PK\x03\x04 no zip", "\x80\x02}"])
def test_text_is_refused(tmp_path, text):
    """A config.yaml taken for a checkpoint, for instance."""
    (tmp_path / "config.yaml").write_text(text, encoding="latin-1")
    assert "not a checkpoint" in refused(tmp_path / "config.yaml")


def test_no_file_and_a_folder_are_no_checkpoint(tmp_path):
    """Both are named as what they are not."""
    assert "There is no checkpoint" in refused(tmp_path / "nowhere.pt")
    assert "There is no checkpoint" in refused(tmp_path)


class Malice:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def test_code_in_a_checkpoint_never_runs(tmp_path):
    """In torch's format, old and new, and as a bare pickle; the same file does run where a reader is careless."""
    marker, path = tmp_path / "ran", tmp_path / "checkpoint.pt"
    content = {"format": f"{MARK} {FORMAT}", "settings": plain(SETTINGS), "weights": Malice(marker)}
    for write in (
        lambda: torch.save(content, path),
        lambda: torch.save(content, path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps(content)),
    ):
        write()
        refused(path)
        assert not marker.exists()
    torch.save(content, path)
    assert "could run code, so it was not opened" in refused(path)
    torch.load(path, weights_only=False)
    assert marker.exists()


# --- contents that would make noise ---------------------------------------------------------------


def doubled(depth: int) -> dict:
    """2 ** depth values, in a file of a few kilobytes."""
    value: dict = {"x": 1}
    for _ in range(depth):
        value = {"a": value, "b": value}
    return value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["weights"]["wavenet.logits.bias"].fill_(torch.nan), "weight wavenet.logits.bias is not finite"),
        (lambda c: c.update(std=torch.zeros_like(c["std"])), "std is not above 0"),
        (lambda c: c.update(std=-c["std"]), "std is not above 0"),
        (lambda c: c.update(mean=c["mean"] * torch.inf), "mean is not a finite number"),
        (lambda c: c.update(mean=c["mean"][:5]), "mean is not a finite number for each of 39 channels"),
        (lambda c: c.update(speakers=[]), "no speakers"),
        (lambda c: c.update(speakers=[1, 2]), "no speakers"),
        (lambda c: c.update(weights=[1, 2]), "no attribute"),
        (lambda c: c.update(training=[1]), "training state is not a mapping"),
        (lambda c: c["settings"]["features"].update(sample_rate=0), "features.sample_rate is 0"),
        (lambda c: c["settings"].update(train=doubled(60)), "not plain values"),
        (lambda c: c["settings"]["wavenet"].update(residual_channels=10**9), "need"),
    ],
)
def test_values_that_would_make_noise_are_refused(tmp_path, change, words):
    """When the file is read, or its model built: not a second of audio of it."""
    path = tmp_path / "checkpoint.pt"
    save(path, checkpoint())
    content = content_of(path)
    change(content)
    torch.save(content, path)
    with pytest.raises(UserError, match=words):
        load(path).model()


def test_a_file_that_would_grow_is_not_read(tmp_path):
    """A zip of zeros: kilobytes that inflate to gigabytes."""
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    assert path.stat().st_size < 10**5 and "would grow when it is read" in refused(path)


@pytest.mark.parametrize("missing", ["weights", "optimizer", "metrics", "position", "step"])
def test_a_damaged_training_state_is_one_sentence(tmp_path, missing):
    """Resuming says so; the weights can still be used."""
    chassis = Chassis(replace(SETTINGS, data=replace(SETTINGS.data, prepared=str(tmp_path / "prepared"))), tmp_path)
    chassis.save()
    whole = load(chassis.checkpoint_path)
    damaged = replace(whole, training={name: value for name, value in whole.training.items() if name != missing})
    with pytest.raises(UserError, match="training state is damaged, or of another optimizer or version"):
        Chassis(chassis.settings, tmp_path, damaged)
    assert damaged.model().geometry == chassis.geometry

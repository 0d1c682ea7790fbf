"""Several processes: the numbers of one, exact resumption, and refusals of one sentence."""

import json
import socket
import subprocess
from pathlib import Path

import pytest
import torch
from support.ranks import KEPT, VALIDATED, WARM, train
from support.torchrun import ENVIRONMENT, SECONDS, TORCHRUN
from support.training import copied

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.evaluation.clips import clips
from mfcc_wavenet.evaluation.free_running import corpus_windows
from mfcc_wavenet.evaluation.held_out import quality
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs import rendezvous
from mfcc_wavenet.runs.history import logged_rows
from mfcc_wavenet.runs.rendezvous import Place, meet
from mfcc_wavenet.training.distributed import ALONE

TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}  # of float32 weights after twelve steps of Adam at a rate of 0.01


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """The runs of two processes, and next to them that of a single one, "one"."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [*TORCHRUN, "-m", "support.ranks", str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("teacher-forced") == 11, done.stdout  # each of the runs is shown once
    threads = torch.get_num_threads()
    train(folder, "one", ALONE)
    torch.set_num_threads(threads)
    return folder


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    checkpoint = checkpoints.load(folder / name / "checkpoint.pt")
    return checkpoint.weights | {f"raw {key}": tensor for key, tensor in checkpoint.training["weights"].items()}


def rows(folder: Path, name: str) -> list[dict]:
    """All that was logged, wall-clock left out."""
    logged = logged_rows(folder / name / "history.jsonl")
    return [{key: value for key, value in row.items() if key != "train/samples_per_second"} for row in logged]


@pytest.mark.parametrize("name", ["two", "parts", "two again"])
def test_several_processes_and_parts_are_one_process(together, name):
    """Losses, gradients, errors, counts, averages and weights, also in batches that have no window for each process.

    "two again" was stopped twice: two processes, then one, then two.
    """
    expected = weights(together, "one")
    found = weights(together, name)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, **TOLERANCE)
    one, other = rows(together, "one"), rows(together, name)
    if name == "two again":
        one = [row for row in one if row["step"] > 8]
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other):
        assert mine.keys() == theirs.keys()
        assert theirs["train/loss"] == pytest.approx(mine["train/loss"], rel=1e-5) if "train/loss" in mine else True
        assert theirs == pytest.approx(mine, rel=2e-2, abs=1e-7)


def test_processes_go_on_with_the_same_weights_after_looking_at_their_windows(together):
    """Each has whitened other frames."""
    one, other = json.loads((together / "found.json").read_text())["whitened"]
    assert one == other


def test_processes_have_the_same_codebook(together):
    """To the last bit, counts, sums and memory included, although each has seen other windows.

    A single process that goes on from their checkpoint comes to the same.
    """
    found = json.loads((together / "found.json").read_text())["units"]
    assert found[0] == found[1]
    threads = torch.get_num_threads()
    train(together, "units alone", ALONE, *KEPT, steps=9, start=copied(together / "units"))
    torch.set_num_threads(threads)
    expected, both = weights(together, "units alone"), weights(together, "units on")
    for name in ("codebook.weight", "counts", "sums", "memory"):
        torch.testing.assert_close(both[f"bottleneck.{name}"], expected[f"bottleneck.{name}"], **TOLERANCE)


def test_as_many_processes_resume_bit_for_bit(together):
    """Jitter draws random numbers in each process, and a row of metrics was half accumulated."""
    expected = weights(together, "whole")
    assert not torch.equal(expected["wavenet.logits.weight"], weights(together, "two")["wavenet.logits.weight"])
    for key, tensor in weights(together, "resumed").items():
        assert torch.equal(tensor, expected[key]), key
    whole, resumed = (checkpoints.load(together / name / "checkpoint.pt").training for name in ("whole", "resumed"))
    assert len(whole["ranks"]) == 2
    for one, other in zip(whole["ranks"], resumed["ranks"]):
        assert torch.equal(one["random"], other["random"]) and one["metrics"] == other["metrics"]
    assert not torch.equal(whole["ranks"][0]["random"], whole["ranks"][1]["random"])
    last = [row for row in rows(together, "whole") if row["step"] > 7]
    assert rows(together, "resumed")[-len(last) :] == last


def test_a_shared_evaluation_is_that_of_one_process_to_the_last_bit(together):
    """Three utterances on two processes: counts, nats and margin."""
    found = json.loads((together / "found.json").read_text())["measured"]
    assert found[0]["nats"] > 0
    assert {**found[0], "evaluation_seconds": 0} == {**found[1], "evaluation_seconds": 0}
    alone = measure(checkpoints.load(together / "measured.pt"))
    assert {**found[0], "evaluation_seconds": 0} == {**alone, "evaluation_seconds": 0}


def test_validation_is_the_same_in_every_process(together):
    """Each of two measures one of two utterances, and both come to the nats of a single process."""
    found = json.loads((together / "found.json").read_text())["validated"]
    assert [row["step"] for row in found[0]] == [5, 10, 12] and found[0] == found[1]
    threads = torch.get_num_threads()
    alone = train(together, "validated alone", ALONE, f"data.root={together / 'audio'}", *VALIDATED)
    torch.set_num_threads(threads)
    for row, expected in zip(found[0], [row for row in alone.history if "valid_nats" in row], strict=True):
        assert row["valid_nats"] == pytest.approx(expected["valid_nats"], rel=1e-4)
    best = [checkpoints.load(together / name / "best.pt").training["step"] for name in ("validated", "validated alone")]
    assert best[0] == best[1] == min(found[0], key=lambda row: row["valid_nats"])["step"]


def test_all_processes_return_to_the_best_pass_which_the_first_one_has(together):
    found = json.loads((together / "found.json").read_text())
    steps, weights = found["returned"], found["returned weights"]
    assert steps[0] and steps[0] == steps[1] and weights[0] == weights[1]


def test_clips_that_processes_share_are_those_of_one_process(together):
    """Three clips on two processes: what is generated, and every mean and interval."""
    found = json.loads((together / "found.json").read_text())["quality"]
    measured = checkpoints.load(together / "measured.pt")
    heard = clips(corpus_windows(measured), measured.settings, 3, 0.2)
    alone = json.loads(json.dumps(quality(measured, heard, WARM).results()))
    assert found == [alone, alone] and alone["clips"] == 3 and alone["values"]["ours"]["lsd"]["mean"] > 0


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("settings", ("Process 1 on", "has train.seed=1, but process 0 on", "has 0")),
        ("corpus", ("Process 1 on", "another corpus", "data.root must name the same audio")),
        ("windows", ("window.batch_size is 3, but 2 processes", "train.accumulation=2", "at least 4")),
        ("epoch", ("1 windows of window.samples=2000, too few for 2 processes",)),
    ],
)
def test_what_does_not_fit_is_one_sentence_in_every_process(together, what, words):
    found = json.loads((together / "found.json").read_text())[what]
    assert found[0] == found[1]
    assert all(word in found[0] for word in words), found[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def address(monkeypatch) -> str:
    """Where processes that somebody started by hand are to meet."""
    port = free_port()
    monkeypatch.setattr(rendezvous, "_stores", [])
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    return f"127.0.0.1:{port}"


def test_a_process_that_reaches_nobody_says_so(address):
    with pytest.raises(
        UserError,
        match=rf"Process 1 of 2 on .* did not reach the others at {address} \(MASTER_ADDR:MASTER_PORT\) within 1 s",
    ):
        meet(Place(1, 2), seconds=1.0)


def test_processes_that_do_not_come_are_named(address):
    with pytest.raises(UserError, match=rf"Of the 3 processes of this run, 1, 2 did not come to {address} .*1 s"):
        meet(Place(0, 3), seconds=1.0)


def test_a_port_in_use_is_one_sentence(address):
    with socket.socket() as other:
        other.bind(("", int(address.rpartition(":")[2])))
        other.listen()
        with pytest.raises(UserError, match=rf"{address} .*is in use by another program; another MASTER_PORT works"):
            meet(Place(0, 2), seconds=1.0)


@pytest.mark.parametrize("variables", [{"RANK": "2"}, {"RANK": "one"}, {"MASTER_PORT": ""}, {"MASTER_ADDR": ""}])
def test_variables_that_do_not_fit_together_are_one_sentence(address, monkeypatch, variables):
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"WORLD_SIZE=2.*torchrun sets these"):
        Place.of_environment()

"""The score ranks runs, and rows in a run's folder can be read while they are written."""

import json
import subprocess
import sys

import pytest
from support.disks import files_of_at_most

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.runs.history import append_row, forget_rows_after, logged_rows, score, worst_jump


def test_the_score_ranks_runs_as_one_would():
    """Sooner zero, then later zero, then the lowest error; whole passes count more than training windows."""
    row = {"samples_seen": 50, "error": 0.3}
    sooner, later = ([row, {"samples_seen": seen, "wrong": 0}] for seen in (100, 900))
    one_wrong = [row, {"samples_seen": 100, "wrong": 1}]
    more_wrong = [row, {"samples_seen": 100, "wrong": 2}, {"samples_seen": 150, "wrong": 9}]
    no_pass = [{"samples_seen": 50, "error": 0.0}]
    scores = [score(history, 100) for history in (sooner, later, one_wrong, more_wrong, [row])]
    assert scores == [-1 / 2, -1 / 10, 0.01, 0.02, 0.3]
    assert score(no_pass, 100) == 0.01, "windows without a mistake are no proof of zero"
    assert score([*later, {"samples_seen": 950, "wrong": 3}], 100) == -1 / 10, "what was reached stays reached"


@pytest.mark.parametrize(
    ("losses", "jump"),
    [
        ([], None),
        ([5.5], 0.0),
        ([5.5, 3.0, 2.0, 2.0, 0.5], 0.0),
        ([5.5, 3.0, 4.0, 1.0, 1.5], 1.0),  # 3 to 4, more than 1 to 1.5
        ([4.0, 1.0, 2.0, 3.5, 2.0], 2.5),  # over several rows: the lowest row before counts, not the last one
    ],
)
def test_the_worst_jump_is_the_largest_rise_above_the_lowest_loss_before(losses, jump):
    """Rows without a loss, as those of whole passes, do not count."""
    history = [row for loss in losses for row in ({"step": 1, "wrong": 3}, {"step": 1, "loss": loss})]
    assert worst_jump(history) == jump


def test_rows_can_be_read_while_they_are_written(tmp_path):
    """What is not a whole line yet is left for later; what came after a checkpoint is forgotten."""
    path = tmp_path / "history.jsonl"
    assert logged_rows(path) == []
    for step in (5, 10, 15):
        append_row(path, {"step": step, "score": 1 / step})
    path.write_text(path.read_text() + '{"step": 20, "score')
    assert [row["step"] for row in logged_rows(path)] == [5, 10, 15]
    forget_rows_after(path, 10, None)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 10]


def test_no_room_is_told_of(tmp_path):
    """By its file."""
    with files_of_at_most(10), pytest.raises(UserError, match=r"history\.jsonl could not be written"):
        append_row(tmp_path / "history.jsonl", {"step": 1, "score": 0.123456789})


def test_a_sweep_begins_without_torch():
    """Loading it takes seconds, on a machine whose processors are busy with the runs of another sweep."""
    code = "import sys, mfcc_wavenet.sweep; print({'torch', 'librosa', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

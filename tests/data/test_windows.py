"""An epoch predicts every sample once, in an order that depends on nothing but its position."""

import dataclasses
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from support.architectures import (
    ARCHITECTURE,
    LENGTHS,
    SPEAKERS,
    architectures,
    examples,
    random_type_checks,
    windows,
)
from torch.utils.data import DataLoader

from mfcc_wavenet.config.settings import WindowSettings
from mfcc_wavenet.data import linear_prediction
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.data.mulaw import silence
from mfcc_wavenet.data.windows import Windows

pytestmark = random_type_checks

ANY_LENGTHS = st.lists(st.sampled_from([16, 17, 40, 95, 150]), min_size=1, max_size=3).map(tuple)
ANY_WINDOW = st.builds(WindowSettings, samples=st.integers(1, 200), batch_size=st.integers(1, 5))
SEEDS = st.integers(0, 2**31)


def with_window(architecture, window: WindowSettings, seed: int, lengths=LENGTHS) -> Windows:
    return windows(dataclasses.replace(architecture, window=window), seed, lengths)


def rest_of_epoch(some: Windows, position: Position) -> Iterator[tuple[np.ndarray, Batch]]:
    """Each batch to the end of the epoch, beside the rows (utterance, first sample) that it is made of."""
    epoch = position.epoch
    while position.epoch == epoch:
        position = some.at(position)
        batch = some[position]
        yield some.epoch(epoch)[position.done : position.done + len(batch.mask)], batch
        position = batch.after


def predicted(batches: Iterable[tuple[np.ndarray, Batch]]) -> dict[tuple[int, int], int]:
    """How often each (utterance, sample) is predicted in them."""
    return Counter(
        (utterance, start + n)
        for rows, batch in batches
        for (utterance, start), mask in zip(rows.tolist(), batch.mask, strict=True)
        for n in mask.nonzero()[:, 0].tolist()
    )


def once(lengths: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Every sample of utterances of these lengths, once."""
    return {(utterance, t): 1 for utterance, length in enumerate(lengths) for t in range(length)}


def same(one: Batch, other: Batch) -> bool:
    tensors = ("codes", "frames", "latents", "inside", "offsets", "speakers", "mask")
    return one.after == other.after and all(torch.equal(getattr(one, n), getattr(other, n)) for n in tensors)


# ----------------------------------------------------------------------------------- what is in them


@examples(25)
@given(architecture=architectures(), window=ANY_WINDOW, seed=SEEDS, lengths=ANY_LENGTHS, epoch=st.integers(0, 10))
def test_an_epoch_predicts_every_sample_once(architecture, window, seed, lengths, epoch):
    some = with_window(architecture, window, seed, lengths)
    assert predicted(rest_of_epoch(some, Position(epoch))) == once(lengths)


@examples(25)
@given(architecture=architectures(), window=ANY_WINDOW, seed=SEEDS, lengths=ANY_LENGTHS)
def test_a_window_holds_its_own_utterance_and_silence(architecture, window, seed, lengths):
    """Past, targets, frames and speaker are of one utterance; around it are silence and its edge frames."""
    some = with_window(architecture, window, seed, lengths)
    past, quiet = some.geometry.receptive_field, silence(architecture.wavenet.quantization_channels)
    for rows, batch in rest_of_epoch(some, Position()):
        for row, (utterance, start) in enumerate(rows.tolist()):
            codes = some.corpus.codes(utterance)
            time = np.arange(start - past, start + window.samples)
            inside = (time >= 0) & (time < len(codes))
            expected = np.where(inside, codes[np.clip(time, 0, len(codes) - 1)], quiet)
            assert batch.codes[row].tolist() == expected.tolist()
            assert batch.mask[row].tolist() == inside[past:].tolist()
            assert batch.speakers[row] == SPEAKERS.index(some.corpus.speakers[utterance])
            frames = some.frames(utterance)
            first = some.geometry.window_frame_span((start, start + window.samples))[0]
            nearest = np.clip(np.arange(first, first + batch.frames.shape[1]), 0, len(frames) - 1)
            np.testing.assert_array_equal(batch.frames[row], frames[nearest])
            places = first + np.arange(batch.latents.shape[1])  # without an encoder, latents are the frames
            assert batch.inside[row].tolist() == ((places >= 0) & (places < len(frames))).tolist()
            assert (first + batch.latents[row]).tolist() == nearest.tolist()


def test_in_training_a_prediction_between_two_codes_is_either(monkeypatch):
    """Drawn by epoch and window, so that a window is what it was however often it is asked for; outside, it is one."""
    lpc = dataclasses.replace(ARCHITECTURE.wavenet, prediction="lpc", prediction_order=4)
    some = windows(dataclasses.replace(ARCHITECTURE, wavenet=lpc))
    exact = some.assemble(np.array([[0, 20]]), 100, Position()).predicted
    assert torch.equal(exact, some.assemble(np.array([[0, 20]]), 100, Position(), epoch=0).predicted)  # none is so near
    monkeypatch.setattr(linear_prediction, "TIE", 0.3)
    assert torch.equal(exact, some.assemble(np.array([[0, 20]]), 100, Position()).predicted)
    drawn = [some.assemble(np.array([[0, 20]]), 100, Position(), epoch=epoch).predicted for epoch in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    changes = [one - exact for one in drawn]
    assert all(0 < change.count_nonzero() < 50 and change.abs().max() == 1 for change in changes), changes
    assert torch.equal(some[Position()].predicted, some[Position()].predicted)


def test_the_pieces_of_an_utterance_are_the_utterance():
    """whole() goes from the first sample to the last, each once and in order."""
    some = windows(ARCHITECTURE)
    for utterance in range(len(LENGTHS)):
        pieces = list(some.whole(utterance, 40))
        targets = torch.cat([batch.codes[:, -40:][batch.mask] for batch in pieces])
        assert targets.tolist() == some.corpus.codes(utterance).tolist()


# ------------------------------------------------------------------------------------- their order


@examples(20)
@given(architecture=architectures(), window=ANY_WINDOW, seed=SEEDS, data=st.data())
def test_a_batch_depends_on_seed_and_position_alone(architecture, window, seed, data):
    """Two objects agree, whichever batches they were asked for before."""
    one, other = (with_window(architecture, window, seed) for _ in range(2))
    positions = list(islice(one.positions(Position()), 8))
    expected = [one[position] for position in positions]
    for number in data.draw(st.permutations(range(len(positions)))):
        assert same(other[positions[number]], expected[number])


def test_epochs_and_seeds_differ():
    """In the order of the windows, and in where they begin: no sample is at a window's edge every time."""
    drawn = [windows(ARCHITECTURE, seed).epoch(epoch)[:].tolist() for seed in (0, 1) for epoch in range(5)]
    assert all(one != other for number, one in enumerate(drawn) for other in drawn[:number])
    assert drawn[0] != sorted(drawn[0])
    phases = {start % 20 for epoch in drawn for utterance, start in epoch if utterance == 0}
    assert len(phases) > 5


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_going_on_is_going_through(batch_size):
    """Another object, given the position after any batch, goes on with the very next one."""
    through, again = (with_window(ARCHITECTURE, WindowSettings(20, batch_size), seed=1) for _ in range(2))
    positions = list(islice(through.positions(Position()), 40))
    assert positions[0].epoch == 0 and positions[-1].epoch >= 2
    for number, position in enumerate(positions):
        rest = positions[number + 1 :]
        assert list(islice(again.positions(through[position].after), len(rest))) == rest


def test_workers_give_the_same_batches():
    """Across an epoch's end, without moving the randomness of the process that trains.

    Forked workers share the windows; where processes are started afresh, they get a pickle of them.
    """

    def loaded(some: Windows, workers: int) -> list[Batch]:
        sampler = some.positions(Position())
        batches = DataLoader(some, None, sampler=sampler, num_workers=workers, generator=torch.Generator())
        return list(islice(batches, 12))

    before = torch.get_rng_state()
    some = windows(ARCHITECTURE)
    alone = loaded(some, 0)
    assert alone[-1].after.epoch > 0
    for helped in (loaded(some, 2), loaded(pickle.loads(pickle.dumps(some)), 0)):
        assert all(same(one, other) for one, other in zip(alone, helped, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------------------------- position


def test_epochs_count_the_started_one_in_part():
    assert Position(3).epochs == 3 and Position(3, 1, 4).epochs == 3.25
    seen = [batch.after.epochs for _, batch in rest_of_epoch(windows(ARCHITECTURE), Position())]
    assert seen == sorted(seen) and 0 < seen[0] < 1 and seen[-1] == 1


@examples(25)
@given(architecture=architectures(), former=ANY_WINDOW, window=ANY_WINDOW, seed=SEEDS, done=st.integers(0, 12))
def test_other_windows_keep_the_share_of_the_epoch(architecture, former, window, seed, done):
    """Same epoch, and the same part of it done, to within one window; nothing of the rest comes twice."""
    before = with_window(architecture, former, seed)
    saved = next(islice(before.positions(Position()), done, None))
    some = with_window(architecture, window, seed)
    position = some.at(saved)
    assert position.epoch == saved.epoch and position.of == len(some.epoch(saved.epoch))
    assert 0 <= saved.done / saved.of - position.done / position.of < 1 / position.of
    left = predicted(rest_of_epoch(some, saved))
    assert set(left.values()) == {1} and left.keys() <= once(LENGTHS).keys()


@examples(20)
@given(architecture=architectures(), window=ANY_WINDOW, seed=SEEDS, done=st.integers(0, 4), size=st.integers(1, 5))
def test_another_batch_size_loses_no_sample(architecture, window, seed, done, size):
    """The batch size changed in the middle: before and after it together, the epoch predicts every sample once."""
    first = with_window(architecture, window, seed)
    second = with_window(architecture, dataclasses.replace(window, batch_size=size), seed)
    batches = list(islice(rest_of_epoch(first, Position()), done))
    position = batches[-1][1].after if batches else Position()
    if position.epoch == 0:
        batches += rest_of_epoch(second, position)
    assert predicted(batches) == once(LENGTHS)


@examples(20)
@given(window=ANY_WINDOW, seed=SEEDS, processes=st.integers(1, 4), parts=st.integers(1, 3))
def test_processes_and_parts_share_each_batch(window, seed, processes, parts):
    """Their windows are those of the whole batch, and each knows how many samples count in all of it."""
    whole = with_window(ARCHITECTURE, window, seed)
    shares = [with_window(ARCHITECTURE, window, seed) for _ in range(processes)]
    for number, share in enumerate(shares):
        share.share = (number, processes)
    for position in islice(whole.positions(Position()), 12):
        expected, several = whole[position], [share[position] for share in shares]
        assert {(one.after, one.step_samples) for one in several} == {(expected.after, int(expected.mask.sum()))}
        pieces = [piece for one in several for piece in one.parts(parts)]
        assert all(1 <= len(piece.mask) <= -(-len(several[0].mask) // parts) for piece in pieces)
        assert counted_windows(pieces) == counted_windows([expected])


def counted_windows(batches: list[Batch]) -> list[tuple[list, list]]:
    """Codes and masks of the windows of which samples count, in an order of their own."""
    pairs = [(codes, mask) for one in batches for codes, mask in zip(one.codes.tolist(), one.mask.tolist())]
    return sorted(pair for pair in pairs if any(pair[1]))

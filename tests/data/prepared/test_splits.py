"""Train, valid and test: each utterance in one part, by its own id alone, and nothing of the others in training."""

import hashlib
import pickle
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given
from support.architectures import examples
from support.corpora import FEATURES, RATE, SENTENCES, data_settings, folder_of, prepare_from, refused, speech
from support.known_corpora import SUBSETS, TREES, laid_out

from mfcc_wavenet.data.prepared import splits
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import prepare

IDS = [f"{speaker}/{speaker}_{number:03d}" for speaker in ("ann", "bob", "cleo", "dora") for number in range(100)]
FRACTIONS = st.floats(0, 0.45)


def held_out(**changes):
    return data_settings(SENTENCES[0].parent, SENTENCES[0].parent, **changes)


def dealt(data) -> dict[str, str]:
    return {key: splits.part_of(key, data) for key in IDS}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Nine utterances of three speakers, three of each."""
    names = [f"{speaker}/{number}.wav" for speaker in ("ann", "bob", "cleo") for number in range(3)]
    folder = tmp_path_factory.mktemp("split")
    return prepare_from(folder, folder_of(folder, *names))


# --- the rule -------------------------------------------------------------------------------------


def test_the_rule_is_the_one_that_the_documentation_states():
    """Computed here by other means: from the digest's hexadecimal digits."""
    data = held_out(valid=0.3, test=0.2, split_seed=7)
    for key in [*IDS, "Jörg/Straße 1", ""]:
        place = int(hashlib.sha256(b"7:" + key.encode("utf-8")).hexdigest()[:16], 16) / 2**64
        assert splits.part_of(key, data) == ("test" if place < 0.2 else "valid" if place < 0.5 else "train")


@examples(30)
@given(valid=FRACTIONS, test=FRACTIONS, seed=st.integers(0, 2**31))
def test_parts_have_about_the_sizes_that_are_asked_for(valid, test, seed):
    """Of 400 utterances, within five standard deviations of a count."""
    parts = list(dealt(held_out(valid=valid, test=test, split_seed=seed)).values())
    for name, fraction in (("valid", valid), ("test", test), ("train", 1 - valid - test)):
        assert abs(parts.count(name) - 400 * fraction) <= 5 * (400 * fraction * (1 - fraction)) ** 0.5


def test_a_larger_fraction_keeps_what_was_held_out():
    """Of the tests all, and another fraction for validation moves nobody into them or out."""
    less, more = (dealt(held_out(valid=valid, test=test)) for valid, test in ((0.1, 0.1), (0.2, 0.15)))
    assert {key for key, part in less.items() if part == "test"} < {key for key, part in more.items() if part == "test"}
    assert {part for key, part in less.items() if more[key] == "train"} == {"train"}


def test_another_seed_holds_out_others():
    first, second = (dealt(held_out(test=0.5, split_seed=seed)) for seed in (0, 1))
    assert 100 < sum(first[key] == second[key] for key in IDS) < 300


# --- of a corpus ----------------------------------------------------------------------------------


@examples(30)
@given(valid=FRACTIONS, test=FRACTIONS, seed=st.integers(0, 100), by=st.sampled_from(["utterance", "speaker"]))
def test_every_utterance_is_in_one_part_with_all_that_belongs_to_it(corpus, valid, test, seed, by):
    """Codes, frames, name, id and speaker; an empty part is a sentence."""
    data = held_out(valid=valid, test=test, split_seed=seed, split_by=by)
    found = {}
    for name in splits.PARTS:
        if name != "train" and not getattr(data, name):
            continue
        keys = corpus.ids if by == "utterance" else corpus.speakers
        expected = [number for number, key in enumerate(keys) if splits.part_of(key, data) == name]
        if not expected:
            assert f"is in the {name} part" in refused(splits.part, corpus, data, name)
            continue
        part = found[name] = splits.part(corpus, data, name)
        for some in (part, pickle.loads(pickle.dumps(part))):
            assert len(some) == len(expected) and some.samples == sum(some.lengths)
            for number, utterance in enumerate(expected):
                for of in ("names", "ids", "speakers", "lengths"):
                    assert getattr(some, of)[number] == getattr(corpus, of)[utterance]
                assert np.array_equal(some.codes(number), corpus.codes(utterance))
                assert np.array_equal(some.frames(number), corpus.frames(utterance))
    if by == "speaker":
        several = [set(part.speakers) for part in found.values()]
        assert sum(map(len, several)) == len(set().union(*several))


@pytest.mark.parametrize("name", ["librispeech", "libritts"])
def test_a_corpus_that_is_published_in_parts_is_split_by_them(tmp_path, name):
    """And a part of which no subset is named is refused, as is one that is not held out."""
    root, subsets = laid_out(tmp_path, name), SUBSETS[name]
    data = data_settings(tmp_path, root, corpus=name, subsets=subsets, split_by="subset")
    corpus = prepare(data, FEATURES, 256)
    assert data.held_out == ("valid", "test") and splits.held_out(data) == "test"
    for part, found in splits.parts(corpus, data, RATE).items():
        assert sorted(found.ids) == sorted(one[1] for one in TREES[name].values() if one and one[2] == part)
        assert sorted(pickle.loads(pickle.dumps(found)).ids) == sorted(found.ids)
    few = replace(data, subsets=subsets[:1])
    assert few.held_out == () and splits.held_out(few) == "train"
    sentence = refused(splits.part, prepare(few, FEATURES, 256), few, "valid")
    assert f"no valid part: data.subsets, {subsets[0]}, names none for it" in sentence


def test_without_fractions_the_training_part_is_the_corpus(corpus):
    """The very same object, and nothing else is there."""
    data = held_out()
    assert splits.part(corpus, data, "train") is corpus is splits.part(corpus, data, "all")
    assert splits.parts(corpus, data, RATE) == {"train": corpus}
    assert "data.test=0.1" in refused(splits.part, corpus, data, "test")


def test_files_that_are_added_move_none(tmp_path):
    """Neither those of before nor what is prepared of them depends on what else is there."""
    audio = folder_of(tmp_path, *(f"{number}.wav" for number in range(8)))
    data = data_settings(tmp_path, audio, test=0.5)
    before = splits.parts(prepare_from(tmp_path, audio), data, RATE)
    for number in range(5):
        soundfile.write(audio / f"0 new {number}.wav", speech(number), RATE)
    after = splits.parts(prepare_from(tmp_path, audio), data, RATE)
    for name, part in before.items():
        assert [one for one in after[name].ids if "new" not in one] == part.ids


def test_another_split_finds_the_corpus_prepared(tmp_path):
    """Its folder depends on no fraction, seed or kind of split."""
    audio = folder_of(tmp_path, "a.wav", "b.wav")
    several = [{}, {"valid": 0.1, "test": 0.2}, {"split_by": "speaker"}, {"split_seed": 3}]
    corpora = [prepare(data_settings(tmp_path, audio, **changes), FEATURES, 256) for changes in several]
    assert len({(corpus.folder, corpus.digest) for corpus in corpora}) == 1


def test_statistics_are_those_of_the_part(corpus):
    """What is held out does not enter them."""
    part = corpus.part(np.array([0, 4]))
    frames = np.concatenate([corpus.frames(0), corpus.frames(4)])
    np.testing.assert_allclose(part.statistics.mean, frames.mean(axis=0), rtol=1e-4, atol=1e-4)
    assert not np.allclose(part.statistics.mean, corpus.statistics.mean, rtol=1e-4, atol=1e-4)


def test_the_same_audio_is_known_again_by_its_settings():
    """However it is split or cut."""
    one = held_out()
    assert splits.same_audio(one, replace(one, test=0.1, split_by="speaker", seconds=3.0, prepared="elsewhere"))
    assert not splits.same_audio(one, replace(one, root=("other",)))


def test_what_a_model_was_trained_on_ends_where_its_seconds_did(corpus):
    """And is of the training part."""
    everything = splits.trained_on(corpus, held_out(), RATE)
    assert everything.all()
    data = held_out(seconds=0.8)  # the first utterance, half a second, and a part of the second one
    assert np.flatnonzero(splits.trained_on(corpus, data, RATE)).tolist() == [0, 1]
    data = replace(data, seconds=None, test=0.5)
    assert (
        corpus.part(np.flatnonzero(splits.trained_on(corpus, data, RATE))).ids == splits.part(corpus, data, "train").ids
    )
    assert not splits.trained_on(splits.part(corpus, data, "test"), data, RATE).any()

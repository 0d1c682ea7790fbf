"""Known corpora as they lie on a disk: which utterances are found, and what is left out, missing or refused."""

import shutil
from pathlib import Path

import pytest
import soundfile
from support.corpora import FEATURES, RATE, data_settings, refused, speech
from support.known_corpora import HOMES, expected, laid_out

from mfcc_wavenet.config.settings import CORPORA
from mfcc_wavenet.data.prepared.prepare import prepare
from mfcc_wavenet.data.sources import find_sources

every_corpus = pytest.mark.parametrize("corpus", CORPORA)


def found(root: Path, corpus: str, *subsets: str) -> list[tuple[str, str, str, str | None]]:
    """Path below the root, speaker, id and split of every utterance."""
    sources = find_sources((str(root),), corpus, subsets or None)
    return [(str(one.path.relative_to(root)), one.speaker, one.id, one.split) for one in sources]


@every_corpus
def test_a_layout_gives_speakers_ids_and_splits(tmp_path, corpus, capsys):
    """Of each utterance, and nothing is said of a corpus that is whole."""
    assert sorted(found(laid_out(tmp_path, corpus), corpus)) == sorted(expected(corpus))
    assert capsys.readouterr().err == ""


@every_corpus
def test_a_corpus_is_prepared_as_it_lies(tmp_path, corpus):
    """As any other audio is."""
    data = data_settings(tmp_path, laid_out(tmp_path / "audio", corpus), corpus=corpus)
    prepared = prepare(data, FEATURES, 256)
    assert sorted(prepared.speakers) == sorted(speaker for _, speaker, _, _ in expected(corpus))


@every_corpus
def test_the_root_may_be_the_corpus_itself(tmp_path, corpus):
    """Or a link to it, by whatever name; the ids are the same."""
    laid_out(tmp_path / "données", corpus)
    (tmp_path / "link").symlink_to(tmp_path / "données" / HOMES[corpus])
    ids = [identity for _, _, identity, _ in found(tmp_path / "données", corpus)]
    for root in (tmp_path / "données" / HOMES[corpus], tmp_path / "link"):
        assert [identity for _, _, identity, _ in found(root, corpus)] == ids


def test_subsets_are_named_or_all_that_are_there(tmp_path):
    """In one order, however they are named."""
    laid_out(tmp_path, "librispeech")
    for subsets in (("dev-clean", "train-clean-100"), ("train-clean-100", "dev-clean", "dev-clean")):
        rows = found(tmp_path, "librispeech", *subsets)
        assert [split for *_, split in rows] == ["train", "train", "valid", "valid"]
    speakers = [speaker for _, speaker, *_ in found(laid_out(tmp_path, "cmu_arctic"), "cmu_arctic", "slt")]
    assert speakers == ["slt"]


# --- what is left out or missing ------------------------------------------------------------------


def test_what_is_not_of_the_corpus_is_left_out_and_counted(tmp_path, capsys):
    """Hidden files, as macOS leaves them, and audio with a name of its own."""
    folder = laid_out(tmp_path, "librispeech") / "LibriSpeech" / "dev-clean" / "84"
    shutil.copy(folder / "121123" / "84-121123-0000.flac", folder / "121123" / "._84-121123-0000.flac")
    soundfile.write(folder / "noise.wav", speech(), RATE)
    assert sorted(found(tmp_path, "librispeech")) == sorted(expected("librispeech"))
    hidden, strange = capsys.readouterr().err.splitlines()
    assert hidden == f"{folder.parent}: passed over 1 hidden files or folders."
    assert strange.startswith(f"{folder.parent}: left out 1 files") and strange.endswith(f"{folder}/noise.wav.")


@pytest.mark.parametrize(
    ("corpus", "speaker", "words"),
    [
        ("librispeech", "dev-clean/174", "1 of 4 speakers in SPEAKERS.TXT: 174."),
        ("vctk", "wav48_silence_trimmed/s5", "1 of 2 speakers in speaker-info.txt: s5."),
    ],
)
def test_a_speaker_who_is_missing_is_named(tmp_path, capsys, corpus, speaker, words):
    """Where the corpus lists its speakers; the others are used."""
    home = laid_out(tmp_path, corpus) / HOMES[corpus]
    shutil.rmtree(home / speaker)
    rows = found(tmp_path, corpus)
    assert rows and all(not name.startswith(f"{HOMES[corpus]}/{speaker}/") for name, *_ in rows)
    assert capsys.readouterr().err == f"{home}: there is no audio of {words}\n"


def test_a_speaker_of_cmu_arctic_who_is_missing_is_refused_where_named(tmp_path):
    """Each is a subset; the sentence has the archive and its address."""
    home = laid_out(tmp_path, "cmu_arctic") / "ARCTIC"
    sentence = refused(found, tmp_path, "cmu_arctic", "bdl", "rms")
    assert f"there is no folder {home / 'cmu_us_rms_arctic'}" in sentence
    assert "http://festvox.org/cmu_arctic/packed/cmu_us_rms_arctic.tar.bz2" in sentence and "mode=download" in sentence


@every_corpus
def test_a_corpus_that_is_not_there_is_one_sentence(tmp_path, corpus):
    """It names an archive, its address and where it is looked for; a file is not a folder."""
    sentence = refused(found, tmp_path, corpus)
    assert HOMES[corpus] in sentence
    assert all(word in sentence for word in (f"data.root={tmp_path}: ", "mode=download", "://", f"lies in {tmp_path}"))
    (tmp_path / "a.wav").write_bytes(b"")
    assert "data=folder" in refused(found, tmp_path / "a.wav", corpus)


def test_an_unknown_subset_is_refused_with_those_that_there_are(tmp_path):
    laid_out(tmp_path, "librispeech")
    sentence = refused(found, tmp_path, "librispeech", "dev-claen")
    assert "no subset 'dev-claen'" in sentence and "dev-clean, dev-other" in sentence
    assert "VCTK 0.92 has no subsets" in refused(found, tmp_path, "vctk", "p225")


@every_corpus
def test_folders_without_an_utterance_are_refused(tmp_path, corpus):
    """As unpacking by hand leaves them that was stopped."""
    laid_out(tmp_path, corpus)
    for name, *_ in expected(corpus):
        for path in (tmp_path / name).parent.glob("*.*"):
            path.unlink()
    assert "holds no audio that is named as an utterance" in refused(found, tmp_path, corpus)


@pytest.mark.parametrize("corpus", ["librispeech", "libritts", "vctk", "ljspeech", "cmu_arctic"])
def test_an_utterance_that_is_there_twice_is_refused_with_both_files(tmp_path, corpus):
    """As where somebody has converted the audio next to the original."""
    laid_out(tmp_path, corpus)
    name, _, identity, _ = expected(corpus)[0]
    twin = (tmp_path / name).with_suffix(".ogg")
    soundfile.write(twin, speech(), RATE)
    sentence = refused(found, tmp_path, corpus)
    assert all(word in sentence for word in (identity, str(tmp_path / name), str(twin), "remove one"))


# --- metadata.csv ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("LJ001-0003", ("line 4", "'LJ001-0003' is not 'ID|TRANSCRIPT|NORMALISED TRANSCRIPT'")),
        ("LJ001-0003|cut in the mid", ("line 4", "'LJ001-0003|cut in the mid' is not")),
        ("|a|b", ("line 4", "'|a|b' is not")),
        ("../../LJ001-0003|a|b", ("line 4", "is not")),
        ("\udcff\udcfe\udc80", ("line 4", "is not")),
        ("LJ001-0002|again|again", ("lines 2 and 4", "LJ001-0002 is there twice")),
        ("x" * 300, ("line 4", "'" + "x" * 40 + "...'")),
    ],
)
def test_a_broken_line_of_metadata_is_named_by_its_number(tmp_path, line, words):
    """Cut, without an id, not text, or repeated."""
    metadata = laid_out(tmp_path, "ljspeech") / "LJSpeech-1.1" / "metadata.csv"
    metadata.write_text(metadata.read_text() + line + "\n", encoding="utf-8", errors="surrogateescape")
    sentence = refused(found, tmp_path, "ljspeech")
    assert all(word in sentence for word in (*words, str(metadata)))


def test_metadata_that_is_empty_or_gone_is_refused(tmp_path):
    """Or lists nothing that is there."""
    metadata = laid_out(tmp_path, "ljspeech") / "LJSpeech-1.1" / "metadata.csv"
    metadata.write_text("LJ009-0001|a|b\n")
    assert "lists none of the audio files" in refused(found, tmp_path, "ljspeech")
    metadata.write_text("\n")
    assert "is empty" in refused(found, tmp_path, "ljspeech")
    metadata.unlink()
    assert f"{metadata}: cannot be read (No such file" in refused(found, tmp_path, "ljspeech")


def test_metadata_says_which_files_are_utterances(tmp_path, capsys):
    """What only one of the two has is counted; an editor's byte order mark and line ends change nothing."""
    home = laid_out(tmp_path, "ljspeech") / "LJSpeech-1.1"
    text = (home / "metadata.csv").read_text()
    (home / "metadata.csv").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert found(tmp_path, "ljspeech") == expected("ljspeech") and capsys.readouterr().err == ""
    (home / "metadata.csv").write_text(text + "LJ002-0001|a|b\nLJ002-0002|a|b\n")
    soundfile.write(home / "wavs" / "LJ003-0001.wav", speech(), RATE)
    assert found(tmp_path, "ljspeech") == expected("ljspeech")
    missing, unlisted = capsys.readouterr().err.splitlines()
    assert missing == f"{home}: there is no audio of 2 of 5 utterances in metadata.csv, the first LJ002-0001."
    assert "left out 1 files, which metadata.csv does not list" in unlisted and "LJ003-0001.wav" in unlisted

"""mode=encode and mode=decode: speech to files of units, and those, edited or not, to audio."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from support.checkpoints import autoencoder, checkpoint
from support.command import CommandLine
from support.settings import compose_command
from support.sounds import RATE, SENTENCES

from mfcc_wavenet import Inverter
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.tasks.decode import Decode
from mfcc_wavenet.models import checkpoint as checkpoints

LENGTHS = {"in/spoken.wav": 3210, "in/below/spoken.wav": 800}  # samples; the first are no whole hops
WAVS = {name: SENTENCES[0][4000 : 4000 + length] for name, length in LENGTHS.items()}


@pytest.fixture(scope="module")
def models() -> dict[str, checkpoints.Checkpoint]:
    return {
        "units": autoencoder("wavenet.preemphasis=0.8"),
        "others": autoencoder(seed=1),
        "latents": autoencoder("bottleneck=ae", "bottleneck.channels=8"),
        "frames": checkpoint(training=False),
    }


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    """Checkpoints, and a folder of two wavs, an .npy and an .npz of two."""
    path = tmp_path_factory.mktemp("units")
    for name, one in models.items():
        checkpoints.save(path / f"{name}.pt", replace(one, temperature=1.0))
    (path / "in" / "below").mkdir(parents=True)
    for name, wav in WAVS.items():
        soundfile.write(path / name, wav, RATE)
    mfcc = Inverter(models["units"]).features(SENTENCES[0][4000:7000], RATE)
    np.save(path / "in" / "one.npy", mfcc)
    np.savez(path / "in" / "two.npz", a=mfcc, b=mfcc[:, :3])
    return path


@pytest.fixture
def type_in(folder, monkeypatch, capsys) -> CommandLine:
    return CommandLine(folder, monkeypatch, capsys)


OUTPUTS = ["below/spoken", "one", "spoken", "two-a", "two-b"]


def audio(path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def written(folder, suffix: str) -> list[str]:
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob(f"*{suffix}"))


def test_encoded_and_decoded_is_what_generate_makes(type_in):
    """Sample for sample, at the checkpoint's temperature, for either speaker; and the sentence counts the units."""
    done = type_in("mode=encode checkpoint=units.pt input=in/spoken.wav")
    assert done.code == 0, done.err
    with np.load(type_in.folder / "spoken.units.npz") as archive:
        units, samples, name, hop = (archive[one] for one in ("units", "samples", "name", "latent_hop"))
        assert (units.dtype, samples, name, hop, archive["sample_rate"]) == (np.uint16, 3210, "spoken", 320, RATE)
    shares = np.unique(units, return_counts=True)[1] / len(units)
    bits = -(shares * np.log2(shares)).sum() * 50
    assert done.out == f"spoken.units.npz: 11 units at 50 Hz, {len(shares)} of 16 codes, {bits:.0f} bit/s.\n"
    for words in ("", "speaker=ann sampling_seed=3"):
        done = type_in(f"mode=decode checkpoint=units.pt input=spoken.units.npz output=decoded.wav {words}")
        assert done.code == 0 and "decoded.wav: 3,210 samples, " in done.out, done
        again = type_in(f"mode=generate checkpoint=units.pt input=in/spoken.wav output=generated.wav {words}")
        assert again.code == 0, again.err
        np.testing.assert_array_equal(audio(type_in.folder / "decoded.wav"), audio(type_in.folder / "generated.wav"))


def test_a_folder_is_encoded_to_a_folder_and_decoded_from_it(type_in):
    """Resumable both times, and what is encoded from MFCCs has the length that generate makes of them."""
    for summary in ("wrote 5 files", "5 files existed already; restart=true encodes everything again"):
        done = type_in("mode=encode checkpoint=units.pt input=in output=encoded")
        assert done.code == 0 and summary in done.out, done
    assert written(type_in.folder / "encoded", ".npz") == OUTPUTS
    for summary in ("wrote 5 files", "5 files existed already; restart=true decodes everything again"):
        done = type_in("mode=decode checkpoint=units.pt input=encoded output=decoded")
        assert done.code == 0 and summary in done.out, done
    done = type_in("mode=decode checkpoint=units.pt input=encoded output=decoded speaker=ann")
    assert "wrote 5 files" in done.out
    done = type_in("mode=generate checkpoint=units.pt input=in output=generated speaker=ann")
    assert done.code == 0, done.err
    for name in OUTPUTS:
        one, other = (audio(type_in.folder / made / f"{name}.wav") for made in ("decoded", "generated"))
        np.testing.assert_array_equal(one, other)


def test_text_has_a_line_for_each_utterance_and_decodes_to_the_same(type_in):
    """But for the length, which text does not have: whole hops."""
    done = type_in("mode=encode checkpoint=units.pt input=in output=units.txt")
    assert done.code == 0 and done.out.startswith("units.txt: 36 units at 50 Hz, "), done
    lines = (type_in.folder / "units.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == OUTPUTS
    type_in("mode=encode checkpoint=units.pt input=in/spoken.wav output=one.npz")
    with np.load(type_in.folder / "one.npz") as archive:
        assert list(map(int, lines[2].split("\t")[1].split())) == archive["units"].tolist()
    done = type_in("mode=decode checkpoint=units.pt input=units.txt output=from_text")
    assert done.code == 0 and "wrote 5 files" in done.out, done
    assert written(type_in.folder / "from_text", ".wav") == ["below-spoken", "one", "spoken", "two-a", "two-b"]
    type_in("mode=decode checkpoint=units.pt input=one.npz output=one.wav")
    from_text, from_archive = audio(type_in.folder / "from_text/spoken.wav"), audio(type_in.folder / "one.wav")
    assert len(from_text) == (2 * 11 - 1) * 160 > len(from_archive) == 3210
    np.testing.assert_array_equal(from_text[:2880], from_archive[:2880])
    (type_in.folder / "one.txt").write_text(lines[2] + "\n")
    assert type_in("mode=decode checkpoint=units.pt input=one.txt output=same.wav").code == 0
    np.testing.assert_array_equal(audio(type_in.folder / "same.wav"), from_text)


def test_an_input_that_fails_stops_no_other(type_in):
    """Neither of units to decode nor of speech to encode; each is named at the end."""
    (type_in.folder / "bad").mkdir()
    np.save(type_in.folder / "bad" / "shape.npy", np.zeros((20, 13)))
    soundfile.write(type_in.folder / "bad" / "good.wav", WAVS["in/spoken.wav"], RATE)
    for output in ("bad.txt", "bad_units"):
        done = type_in(f"mode=encode checkpoint=units.pt input=bad output={output}")
        *_, failure, sentence = done.err.strip().splitlines()
        assert done.code == 2 and failure.startswith("bad/shape.npy: These MFCCs have the shape")
        assert sentence == f"1 of 2 inputs failed (see above); the others are in {output}."
    (type_in.folder / "bad" / "good.wav").rename(type_in.folder / "good.wav")
    for output in ("none.txt", "none_units"):
        done = type_in(f"mode=encode checkpoint=units.pt input=bad output={output}")
        assert done.code == 2 and done.err.endswith("1 of 1 inputs failed (see above).\n"), done
    assert not (type_in.folder / "none.txt").exists()
    assert len((type_in.folder / "bad.txt").read_text().splitlines()) == 1
    np.savez(type_in.folder / "bad_units" / "wrong.npz", units=[3, 16])
    done = type_in("mode=decode checkpoint=units.pt input=bad_units output=bad_wavs")
    assert done.code == 2 and "bad_units/wrong.npz: The unit at index 1 is 16" in done.err
    assert written(type_in.folder / "bad_wavs", ".wav") == ["good"]


def test_latents_are_files_where_there_is_no_codebook(type_in):
    done = type_in("mode=encode checkpoint=latents.pt input=in/spoken.wav output=latents.npz")
    assert done.code == 0 and done.out == "latents.npz: 11 latents of 8 numbers at 50 Hz.\n"
    with np.load(type_in.folder / "latents.npz") as archive:
        assert archive["latents"].shape == (11, 8) and archive["latents"].dtype == np.float32
    assert type_in("mode=decode checkpoint=latents.pt input=latents.npz output=latents.wav").code == 0
    type_in("mode=generate checkpoint=latents.pt input=in/spoken.wav output=generated.wav")
    np.testing.assert_array_equal(*(audio(type_in.folder / f"{name}.wav") for name in ("latents", "generated")))
    words = ("output=latents.txt", "bottleneck.kind=ae", "an .npz holds them")
    type_in.refused("mode=encode checkpoint=latents.pt input=in/spoken.wav output=latents.txt", *words)


def test_units_of_another_codebook_are_refused(type_in, models):
    """Both are named; units that name none are decoded, whosever they are."""
    type_in("mode=encode checkpoint=units.pt input=in/spoken.wav output=ours.npz")
    ours, theirs = (Inverter(models[name]).generator.encoder.digest[:12] for name in ("units", "others"))
    line = "mode=decode checkpoint=others.pt input=ours.npz output=never.wav"
    type_in.refused(line, f"ours.npz: its units are of the codebook {ours}, and that of this checkpoint is {theirs}")
    assert not (type_in.folder / "never.wav").exists()
    with np.load(type_in.folder / "ours.npz") as archive:
        np.savez(type_in.folder / "nobody's.npz", units=archive["units"])
    assert type_in('mode=decode checkpoint=others.pt "input=nobody\'s.npz" output=made.wav').code == 0


WRONG = {
    "its latent_hop is 640, and that of the model is 320": {"units": [1, 2], "latent_hop": 640},
    "its sample_rate is 8000, and that of the model is 16000": {"units": [1, 2], "sample_rate": 8000},
    "samples=640 does not match 2 units, which are those of 320 to 639 samples": {"units": [1, 2], "samples": 640},
    "The unit at index 1 is -1; expected are whole numbers (units,) from 0 to 15": {"units": [1, -1]},
    "of the type float64": {"units": [1.0, 2.0]},
    "have the shape (0,)": {"units": np.zeros(0, int)},
    "have the shape (1, 2)": {"units": [[1, 2]]},
    "These units have the shape (2, 8)": {"latents": np.zeros((2, 8))},
    "of the type object, and units are numbers": {"units": np.array([None])},
}


def test_units_that_the_model_cannot_have_are_refused(folder, models):
    """Before anything is made, in a sentence that names the file."""
    decode = Decode(models["units"], compose_command("mode=decode"))
    for words, content in WRONG.items():
        np.savez(folder / "wrong.npz", **content)
        with pytest.raises(UserError) as refusal:
            decode.check(*decode.read(folder / "wrong.npz", folder / "never.wav"))
        assert str(refusal.value).startswith(f"{folder / 'wrong.npz'}: ") and words in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mode=encode checkpoint=frames.pt input=in/spoken.wav", ["no encoder", "encoder.strides is []"]),
        ("mode=decode checkpoint=frames.pt input=two.txt", ["no encoder", "bottleneck=vqvae_ema64"]),
        ("mode=encode checkpoint=early.pt input=in/spoken.wav", ["no codebook yet", "bottleneck.quantise_from=500"]),
        ("mode=encode checkpoint=units.pt", ["mode=encode needs input=PATH: audio"]),
        ("mode=decode checkpoint=units.pt", ["mode=decode needs input=PATH: units"]),
        ("mode=decode checkpoint=units.pt input=in/below", ["the folder holds no units (.npz or .txt;"]),
        ("mode=encode checkpoint=units.pt input=in/spoken.wav output=x.pt", ["units are written as .npz or .txt"]),
        ("mode=encode checkpoint=units.pt input=in/two.npz output=x.npz", ["is one file, but in/two.npz holds 2"]),
        ("mode=encode checkpoint=units.pt input=in/spoken.wav output=two.txt/x.npz", ["could not be written"]),
        ("mode=encode checkpoint=units.pt input=in/spoken.wav output=two.txt/x.txt", ["could not be written"]),
        ("mode=encode checkpoint=units.pt input=in/two.npz output=in/two.npz", ["is what is read"]),
        ("mode=decode checkpoint=units.pt input=two.txt output=x.wav", ["is one file, but two.txt holds 2"]),
        ("mode=decode checkpoint=units.pt input=two.txt output=x speaker=nobody", ["nobody is unknown", "bob, ann"]),
        ("mode=decode checkpoint=units.pt input=two.txt temperature=-1", ["temperature=-1"]),
        ("mode=encode checkpoint=units.pt input=in/spoken.wav speaker=ann", ["speaker=... is for mode=generate or"]),
        ("mode=decode checkpoint=units.pt input=two.txt corrections=1", ["corrections=... is for mode=generate or"]),
    ],
)
def test_what_cannot_be_done_is_one_sentence(type_in, line, words):
    early = autoencoder()
    early.weights["bottleneck.ready"] = torch.tensor(False)
    checkpoints.save(type_in.folder / "early.pt", early)
    (type_in.folder / "two.txt").write_text("one\t1 2\ntwo\t3\n")
    type_in.refused(line, *words)


def test_names_in_text_stay_in_the_folder_and_apart(type_in):
    """They are only names: no path leads out of the folder, and no two become one file."""
    (type_in.folder / "names.txt").write_text("../../x\t1\n/etc/y\t2\n\t3\n")
    assert type_in("mode=decode checkpoint=units.pt input=names.txt output=named").code == 0
    assert written(type_in.folder / "named", ".wav") == ["-etc-y", "..-..-x", "names"]
    (type_in.folder / "alike.txt").write_text("a b\t1\na-b\t2\n")
    done = type_in("mode=decode checkpoint=units.pt input=alike.txt output=alike")
    assert done.code == 2 and "'a-b' and 'a b' would both become a-b.wav" in done.err

"""The ceiling of mu-law codes rises with their number, and the floor with coefficients; a table and JSON say so."""

import json

from support.corpora import folder_of, refused

from mfcc_wavenet.bench import ceiling
from mfcc_wavenet.evaluation.speech_quality import missing_packages


def test_more_codes_are_nearer_to_the_original(tmp_path, capsys):
    *rows, first, _, _, last = ceiling.benchmark(str(folder_of(tmp_path, "a.wav", "b.wav")), [64, 256, 4096], tmp_path)
    assert [(row["quantization_channels"], row["preemphasis"]) for row in rows] == [
        (count, preemphasis) for count in (64, 256, 4096) for preemphasis in (0.0, 0.85)
    ]
    assert all(row["clips"] == 2 for row in rows)
    for name in ("mfcc_rmse", "lsd"):
        for of_preemphasis in (rows[::2], rows[1::2]):
            values = [row[name] for row in of_preemphasis]
            assert values == sorted(values, reverse=True) and values[2] < values[0] / 2
    assert (first["n_mfcc"], last["n_mfcc"]) == (13, 80) and last["lsd"] < first["lsd"] and last["clips"] == 2
    lines = capsys.readouterr().out.splitlines()[len(missing_packages()) :]
    assert len(lines) == 1 + 6 + 1 + 4 and lines[0].split()[:2] == ["codes", "preemphasis"]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows and lines[7].split()[:2] == ["noise", "n_mfcc"]


def test_a_folder_without_audio_is_refused(tmp_path):
    assert refused(ceiling.benchmark, str(tmp_path / "nowhere"), None, tmp_path)

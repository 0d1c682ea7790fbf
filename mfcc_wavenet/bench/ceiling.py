"""What mu-law codes allow at best, and what MFCCs say without any model: `bench ceiling`.

Prints a table and then one line of JSON. Each clip is coded and decoded, with each number of codes, with and without
pre-emphasis, and compared to what it was, as mode=evaluate compares what a model generates. So is noise that has the
envelope of its MFCCs, of 13 coefficients as models have them and of more: the floor.
"""

from dataclasses import replace
from pathlib import Path

from mfcc_wavenet.bench.networks import composed
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.data.sources import find_sources
from mfcc_wavenet.evaluation.held_out import mean_and_interval, shaped_noise
from mfcc_wavenet.evaluation.speech_quality import MEASURES, Original, Wav, missing_packages

CHANNELS = (256, 512, 1024)
PREEMPHASES = (0.0, 0.85)
COEFFICIENTS = (13, 20, 40, 80)
CLIPS, CLIP_SECONDS = 30, 10.0
COLUMNS = ("mfcc_rmse", "lsd", "stoi", "pesq")


def benchmark(root: str, channels: list[int] | None, folder: Path) -> list[dict]:
    """Makes anew clips, spread evenly over the audio in root; returns a mapping per row, printed as a line.

    channels: numbers of codes, None for CHANNELS; folder: for what the settings name. UserError if there is no audio.
    """
    features = composed("baseline_adam", folder).features
    missing = missing_packages()
    for sentence in missing.values():
        print(sentence)
    columns = [name for name in COLUMNS if name not in missing]
    originals = _originals(root, features)
    headings = [MEASURES[name].heading for name in columns]
    print(_line("codes", "preemphasis", *headings), flush=True)
    rows = []
    for count in channels or CHANNELS:
        for preemphasis in PREEMPHASES:
            coding = {"quantization_channels": count, "preemphasis": preemphasis}
            coded = [mulaw.decode(mulaw.encode(one.wav, *coding.values()), *coding.values()) for one in originals]
            rows.append(_row(coding, originals, coded, columns))
    print(_line("noise", "n_mfcc", *headings), flush=True)
    for count in COEFFICIENTS:
        finer = replace(features, n_mfcc=count)
        shaped = [shaped_noise(mfcc(one.wav, finer), len(one.wav), finer) for one in originals]
        rows.append(_row({"system": "noise", "n_mfcc": count}, originals, shaped, columns))
    return rows


def _row(what: dict, originals: list[Original], made: list[Wav], columns: list[str]) -> dict:
    """Means over the clips of what was made of each; printed."""
    others = frozenset(MEASURES) - {*columns}
    values = [original.quality(wav, others) for original, wav in zip(originals, made)]
    means = {name: mean_and_interval([of_clip[name] for of_clip in values])["mean"] for name in columns}
    shown = ("–" if mean is None else f"{mean:.4g}" for mean in means.values())
    print(_line(*what.values(), *shown), flush=True)
    return what | {"clips": len(originals)} | means


def _originals(root: str, features: FeatureSettings) -> list[Original]:
    sources = find_sources((root,), None, None)
    longest = round(CLIP_SECONDS * features.sample_rate)
    step = max(len(sources) / CLIPS, 1)
    chosen = [sources[int((number + 0.5) * step)] for number in range(min(CLIPS, len(sources)))]
    audio = (read_audio(source.path, features.sample_rate, features.hop_length) for source in chosen)
    return [Original(wav[:longest], features) for wav in audio]


def _line(*cells: object) -> str:
    return "".join(f"{cell!s:>16}" for cell in cells)

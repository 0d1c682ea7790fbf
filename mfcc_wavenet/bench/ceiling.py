"""What mu-law codes allow at best: `bench ceiling`.

Prints a table and then one line of JSON. Each clip is coded and decoded, with each number of codes, with and without
pre-emphasis, and compared to what it was, as mode=evaluate compares what a model generates.
"""

from pathlib import Path

from mfcc_wavenet.bench.networks import composed
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.sources import find_sources
from mfcc_wavenet.evaluation.held_out import mean_and_interval
from mfcc_wavenet.evaluation.speech_quality import MEASURES, Original, missing_packages

CHANNELS = (256, 512, 1024)
PREEMPHASES = (0.0, 0.85)
CLIPS, CLIP_SECONDS = 30, 10.0
COLUMNS = ("mfcc_rmse", "lsd", "stoi", "pesq")


def benchmark(root: str, channels: list[int] | None, folder: Path) -> list[dict]:
    """Codes and decodes clips, spread evenly over the audio in root; returns a mapping per row, printed as a line.

    channels: numbers of codes, None for CHANNELS; folder: for what the settings name. UserError if there is no audio.
    """
    features = composed("baseline_adam", folder).features
    missing = missing_packages()
    for sentence in missing.values():
        print(sentence)
    columns = [name for name in COLUMNS if name not in missing]
    originals = _originals(root, features)
    print(_line("codes", "preemphasis", *(MEASURES[name].heading for name in columns)), flush=True)
    rows = []
    for count in channels or CHANNELS:
        for preemphasis in PREEMPHASES:
            coded = count, preemphasis
            values = [
                original.quality(
                    mulaw.decode(mulaw.encode(original.wav, *coded), *coded), frozenset(MEASURES) - {*columns}
                )
                for original in originals
            ]
            means = {name: mean_and_interval([of_clip[name] for of_clip in values])["mean"] for name in columns}
            row = {"quantization_channels": count, "preemphasis": preemphasis, "clips": len(originals), **means}
            shown = ("–" if mean is None else f"{mean:.4g}" for mean in means.values())
            print(_line(count, preemphasis, *shown), flush=True)
            rows.append(row)
    return rows


def _originals(root: str, features: FeatureSettings) -> list[Original]:
    sources = find_sources((root,), None, None)
    longest = round(CLIP_SECONDS * features.sample_rate)
    step = max(len(sources) / CLIPS, 1)
    chosen = [sources[int((number + 0.5) * step)] for number in range(min(CLIPS, len(sources)))]
    audio = (read_audio(source.path, features.sample_rate, features.hop_length) for source in chosen)
    return [Original(wav[:longest], features) for wav in audio]


def _line(*cells: object) -> str:
    return "".join(f"{cell!s:>16}" for cell in cells)

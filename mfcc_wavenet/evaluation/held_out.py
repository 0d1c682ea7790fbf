"""How good what a model generates from MFCCs is, next to what others make of them.

Each clip is generated from its MFCCs and its number of samples alone: by the model, free-running, at its own
temperature, its envelope corrected and not, and greedily, and by librosa's inverse. White noise with the envelope of
the MFCCs is the floor: what they say without any model. The original, coded and decoded by mu-law, is the ceiling of
what a model that generates mu-law codes can do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32
from tqdm import tqdm

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.files import CLIP, CLIPS_INDEX, ORIGINAL, file_name, replacing, write_json
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.evaluation.clips import Clip
from mfcc_wavenet.evaluation.griffin_lim import griffin_lim
from mfcc_wavenet.evaluation.sharing import ALONE, Alone
from mfcc_wavenet.evaluation.speech_quality import MEASURES, Original, missing_packages
from mfcc_wavenet.generation import correction
from mfcc_wavenet.generation.generator import Generator
from mfcc_wavenet.models.checkpoint import Checkpoint

CONFIDENCE = 0.95
DIGITS = 4  # of a mean in the table, and at least its integer part
NOISE_LEVEL, NOISE_SEED = 0.1, 0  # of what is shaped: its root mean square, from which corrections begin
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # that are compared
TEMPERATURE_MEASURES = ("stoi", "lsd")  # by which: the first that can be had here

Wavs = list[Float32[np.ndarray, " _"]]


class Take(NamedTuple):
    """What a system made of a clip."""

    wav: Float32[np.ndarray, " samples"]
    values: dict[str, float]  # by the names of MEASURES; NaN where it cannot be had


@dataclass(frozen=True)
class Quality:
    """What several systems made of clips."""

    clips: Sequence[Clip]
    takes: list[dict[str, Take]]  # of each clip, by system
    sampling: Sampling  # of the model
    corrections: int  # of what it sampled
    candidates: int  # that it sampled for each clip
    sample_rate: int  # Hz
    without: dict[str, str]  # measures that could not be had, and a sentence for each

    @property
    def columns(self) -> list[str]:
        """The measures that could be had."""
        return [name for name in MEASURES if name not in self.without]

    def results(self) -> dict[str, Any]:
        """Plain values: for each system and measure the mean over the clips and its 95 % interval."""
        values = {
            system: {name: [takes[system].values[name] for takes in self.takes] for name in self.columns}
            for system in self.takes[0]
        }
        return {
            "clips": len(self.clips),
            "seconds": round(sum(len(clip.original) for clip in self.clips) / self.sample_rate, 2),
            **asdict(self.sampling),
            "corrections": self.corrections,
            "candidates": self.candidates,
            "columns": {name: MEASURES[name].heading for name in self.columns},
            "rows": {system: label(system, self.sampling, self.candidates) for system in values},
            "values": {
                system: {name: mean_and_interval(of_clips) for name, of_clips in measures.items()}
                for system, measures in values.items()
            },
        }

    def rows(self) -> list[dict[str, Any]]:
        """For each clip, of the original and of every system in turn: "clip", "system", "audio" and the measures."""
        rows = []
        for clip, takes in zip(self.clips, self.takes):
            for system, take in [(ORIGINAL, Take(clip.original, {})), *takes.items()]:
                values = {MEASURES[name].heading: _number(take.values.get(name, math.nan)) for name in self.columns}
                rows.append({"clip": clip.name, "system": system, "audio": take.wav, **values})
        return rows

    def save(self, folder: Path) -> None:
        """Every sound as a FLAC file, and the rows, with the files' names, in CLIPS_INDEX.

        Raises OSError or soundfile.SoundFileError where the folder cannot be written.
        """
        index = []
        for row in self.rows():
            audio = CLIP.format(file_name(row["clip"]), row["system"])
            with replacing(folder / audio) as unfinished:
                soundfile.write(unfinished, row["audio"], self.sample_rate, format="FLAC")
            index.append(row | {"audio": audio})
        write_json(folder / CLIPS_INDEX, {"rows": index})

    def table(self) -> str:
        """The results in lines for a terminal, and a sentence for each measure that is left out."""
        results = self.results()
        headings = [heading.partition(", ")[::2] for heading in results["columns"].values()]
        cells = [["", *above_or_below] for above_or_below in zip(*headings)]
        for system, means in results["values"].items():
            cells.append([results["rows"][system], *(_shown(means[name]) for name in self.columns)])
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [f"{results['clips']} clips, {results['seconds']:.1f} s; ± is the 95 % interval of a mean"]
        lines += ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
        return "\n".join([*lines, *self.without.values()])


def label(system: str, sampling: Sampling, candidates: int) -> str:
    """A system in words."""
    names = {
        "uncorrected": "ours, uncorrected",
        "greedy": "ours, greedy",
        "librosa": "librosa",
        "noise": "noise, floor",
        "mu-law": "mu-law, ceiling",
    }
    if system != "ours":
        return names[system]
    top_k = f", top {sampling.top_k}" if sampling.top_k else ""
    several = f", of {candidates}" if candidates > 1 else ""
    return f"ours, at {sampling.temperature:g}{top_k}{several}" if sampling.temperature else names["greedy"]


def mean_and_interval(values: Sequence[float]) -> dict[str, float | int | None]:
    """The mean of those that are not NaN, and by how much it may be off, at 95 % confidence, and how many they are.

    Student's t interval of the mean of independent clips: t * deviation / sqrt(n), with n - 1 degrees of freedom. None
    for an interval of less than two values, and for the mean of none.
    """
    from scipy.special import stdtrit  # takes a sixth of a second, which a run that begins need not wait for

    known = np.array([value for value in values if not math.isnan(value)])
    count = len(known)
    half = stdtrit(count - 1, (1 + CONFIDENCE) / 2) * known.std(ddof=1) / math.sqrt(count) if count > 1 else None
    return {
        "mean": float(known.mean()) if count else None,
        "interval": None if half is None else float(half),
        "clips": count,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shown(of_clips: dict[str, Any]) -> str:
    mean, interval = of_clips["mean"], of_clips["interval"]
    if mean is None:
        return "–"
    digits = max(DIGITS - len(str(int(mean))), 0)
    return f"{mean:.{digits}f}" + ("" if interval is None else f"±{interval:.{digits}f}")


def quality(
    checkpoint: Checkpoint, clips: Sequence[Clip], sampling: Sampling, corrections: int | None = None,
    candidates: int = 1, processes: Alone = ALONE,
) -> Quality:  # fmt: skip
    """What the model and others make of these clips, one or more.

    corrections, candidates: of what the model samples, as in Inverter.invert; without them it is measured, too.
    processes: that share the clips, and of which each gets the same result.
    """
    settings, without = checkpoint.settings, missing_packages()
    own = processes.share([len(clip.original) for clip in clips])
    own_clips = [clips[number] for number in own]
    times = correction.checked_corrections(corrections, sampling, settings)
    count = correction.checked_candidates(candidates, sampling, times, settings)
    generate = _generator(checkpoint, own_clips)
    sampled = generate(sampling, count)
    originals = [Original(clip.original, settings.features) for clip in own_clips]
    systems = {"ours": _agreed(sampled, originals, times)}
    if times:
        systems["uncorrected"] = [first for first, *_ in sampled]
    if sampling.temperature:
        systems["greedy"] = [wav for (wav,) in generate(replace(sampling, temperature=0.0))]
    found = {}
    for place, number in enumerate(tqdm(own, desc="measuring", unit="clip", leave=False, disable=None)):
        original, wav = originals[place], clips[number].original
        of_clip = {system: wavs[place] for system, wavs in systems.items()}
        of_clip["librosa"] = griffin_lim(original.mfcc, len(wav), settings.features)
        of_clip["noise"] = shaped_noise(original.mfcc, len(wav), settings.features)
        of_clip["mu-law"] = mulaw.decode(mulaw.encode(wav, *settings.wavenet.coding), *settings.wavenet.coding)
        found[number] = {
            system: Take(made, original.quality(made, frozenset(without))) for system, made in of_clip.items()
        }
    takes = list(processes.collect(found).values())
    return Quality(clips, takes, sampling, times, count, settings.features.sample_rate, without)


def shaped_noise(
    mfcc: Float32[np.ndarray, "n_mfcc frames"], samples: int, features: FeatureSettings
) -> Float32[np.ndarray, " samples"]:
    """White noise, the same each time, its envelope corrected to the one that the MFCCs describe."""
    noise = NOISE_LEVEL * np.random.default_rng(NOISE_SEED).standard_normal(samples, dtype=np.float32)
    return correction.corrected(noise, mfcc, features, correction.CORRECTIONS)


def temperatures(
    checkpoint: Checkpoint, clips: Sequence[Clip], seed: int, corrections: int | None = None, processes: Alone = ALONE
) -> tuple[str, dict[float, float]]:
    """By which of TEMPERATURE_MEASURES TEMPERATURES were compared on these clips, and its mean at each.

    It is the first that can be had, here and of these clips. seed: of the random numbers; corrections
    as in Inverter.invert; processes as in quality.
    """
    missing = missing_packages()
    measures = [name for name in TEMPERATURE_MEASURES if name not in missing]
    others = frozenset(MEASURES) - {*measures}
    own = processes.share([len(clip.original) for clip in clips])
    own_clips = [clips[number] for number in own]
    generate = _generator(checkpoint, own_clips)
    originals = [Original(clip.original, checkpoint.settings.features) for clip in own_clips]
    means: dict[str, dict[float, float | None]] = {name: {} for name in measures}
    for temperature in TEMPERATURES:
        sampling = Sampling(temperature, seed=seed)
        times = correction.checked_corrections(corrections, sampling, checkpoint.settings)
        wavs = _agreed(generate(sampling), originals, times)
        values = [original.quality(wav, others) for original, wav in zip(originals, wavs)]
        of_all = processes.collect(dict(zip(own, values))).values()
        for name in measures:
            means[name][temperature] = mean_and_interval([of_clip[name] for of_clip in of_all])["mean"]
    return next((name, means[name]) for name in measures if None not in means[name].values())


def best_temperature(measure: str, means: dict[float, float]) -> float:
    """The one with the best mean; of equal ones the lowest."""
    sign = -1 if MEASURES[measure].more_is_better else 1
    return min(means, key=lambda temperature: (sign * means[temperature], temperature))


def _generator(checkpoint: Checkpoint, clips: Sequence[Clip]) -> Callable[..., list[Wavs]]:
    """A function from how codes are chosen, and how many candidates there are, to the audio of those of each clip."""
    settings, statistics = checkpoint.settings, checkpoint.statistics
    prediction = LinearPrediction.of(settings.features, settings.wavenet, statistics)
    generator = Generator(checkpoint.model(), linear_prediction=prediction)
    frames = [
        np.ascontiguousarray(statistics.normalise(features(clip.original, settings.features)).T) for clip in clips
    ]
    latents = [generator.encoder(of_clip) for of_clip in frames]
    lengths = [len(clip.original) for clip in clips]

    def generate(sampling: Sampling, candidates: int = 1) -> list[Wavs]:
        with tqdm(total=sum(lengths), desc="generating", unit="sample", leave=False, disable=None) as bar:
            codes = generator.generate_candidates(
                latents, [clip.speaker for clip in clips], lengths, candidates, sampling, progress=bar.update
            )
        return [[mulaw.decode(one, *settings.wavenet.coding) for one in of_clip] for of_clip in codes]

    return generate


def _agreed(sampled: Sequence[Wavs], originals: Sequence[Original], times: int) -> Wavs:
    """What the candidates for each original agree on, corrected that many times to the original's MFCCs."""
    return [correction.agreed(wavs, one.mfcc, one.features, times) for wavs, one in zip(sampled, originals)]

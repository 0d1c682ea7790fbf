"""Fits and measures what front_ends.py knows of librosa's and torchaudio's defaults: logistic regression on clips.

    PYTHONPATH=.:tests python -m support.fit_front_ends SPEECH [--seed 0] [--versions 12]

SPEECH: a folder with a folder of 16 kHz audio for each speaker, two or more. Each file becomes --versions clips (as it
is, with one change each, and with several), and there are sounds that are not speech. Prints the rates on speakers that
the fit has not seen, the table of numbers, and the rates of the table that front_ends.py has on the same clips.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from sklearn.linear_model import LogisticRegression

from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data import front_ends
from mfcc_wavenet.data.mfcc import mfcc
from support.front_ends import FRONT_ENDS
from support.sounds import RATE, SOUNDS

OURS = FeatureSettings(RATE, 400, 400, 160, n_mels=80, n_mfcc=13, delta_order=2, delta_width=9, backend="librosa")
KINDS = {
    "ours": lambda wav: mfcc(wav, OURS),
    **{
        name: lambda wav, name=name: FRONT_ENDS[name](wav, RATE, 13).astype(np.float32)
        for name in ("librosa's defaults", "librosa's defaults, 22050 Hz", "torchaudio's defaults")
    },
}
TARGETS = [("librosa", list(KINDS)[1:3]), ("torchaudio", list(KINDS)[3:])]
OURS_WEIGHT = 10.0  # of a clip of ours: a false alarm is worse than a miss

Wav = np.ndarray
Random = np.random.Generator


# --------------------------------------------------------------------------- what happens to audio


def filtered(random: Random, wav: Wav) -> Wav:
    """Low-pass, high-pass or a telephone's band."""
    kind, edges = [
        ("low", random.uniform(800, 7000)),
        ("high", random.uniform(60, 2000)),
        ("band", [300, 3400]),
    ][random.integers(3)]
    return scipy.signal.sosfilt(scipy.signal.butter(random.integers(2, 9), edges, kind, fs=RATE, output="sos"), wav)


def equalised(random: Random, wav: Wav) -> Wav:
    gains = 10 ** (random.uniform(-15, 15, 6) / 20)
    return scipy.signal.fftconvolve(wav, scipy.signal.firwin2(257, [0, 100, 300, 1000, 3000, 8000], gains, fs=RATE))


def noisy(random: Random, wav: Wav) -> Wav:
    """White, brown or blue noise, 0 to 40 dB below."""
    noise = random.normal(size=len(wav))
    noise = [noise, scipy.signal.lfilter([1], [1, -0.95], noise), np.diff(noise, prepend=0)][random.integers(3)]
    return wav + noise * wav.std() / noise.std() * 10 ** (-random.uniform(0, 40) / 20)


def reverberant(random: Random, wav: Wav) -> Wav:
    """Noise that decays by 60 dB in 0.2 to 1.5 s."""
    length = int(random.uniform(0.2, 1.5) * RATE)
    response = random.normal(size=length) * 10 ** (-3 * np.arange(length) / length)
    response[0] += random.uniform(0, 20)
    wet = scipy.signal.fftconvolve(wav, response)[: len(wav)]
    return wet / np.abs(wet).max() * np.abs(wav).max()


def short(random: Random, wav: Wav) -> Wav:
    length = int(random.uniform(0.3, 1.5) * RATE)
    start = random.integers(max(1, len(wav) - length))
    return wav[start : start + length]


def tremolo(random: Random, wav: Wav) -> Wav:
    phase = 2 * np.pi * random.uniform(2, 30) * np.arange(len(wav)) / RATE
    return wav * (1 + random.uniform(0.2, 1) * np.sin(phase))


def gated(random: Random, wav: Wav) -> Wav:
    envelope = scipy.signal.fftconvolve(np.abs(wav), np.ones(320) / 320, "same")
    return wav * (envelope > random.uniform(0.01, 0.1) * np.abs(wav).max())


def resampled(random: Random, wav: Wav) -> Wav:
    lower = int(random.choice([8000, 11025, 12000]))
    return scipy.signal.resample_poly(scipy.signal.resample_poly(wav, lower, RATE), RATE, lower)


CHANGES: dict[str, Callable[[Random, Wav], Wav]] = {
    "gain": lambda random, wav: wav * 10 ** (random.uniform(-40, 20) / 20),
    "filtered": filtered,
    "equalised": equalised,
    "noisy": noisy,
    "reverberant": reverberant,
    "short": short,
    "silence around": lambda random, wav: np.pad(wav, (random.uniform(0, 1.5, 2) * RATE).astype(int)),
    "slower or faster": lambda random, wav: scipy.signal.resample(wav, int(len(wav) * random.uniform(0.6, 1.4))),
    "tremolo": tremolo,
    "gated": gated,
    "resampled": resampled,
    "two at once": lambda random, wav: wav + random.uniform(0.2, 1) * np.roll(wav, random.integers(len(wav))),
}


def changed(random: Random, wav: Wav, names: list[str]) -> Wav:
    wav = wav.astype(np.float64)
    for name in names:
        wav = CHANGES[name](random, wav)
    return np.clip(wav, -1, 1).astype(np.float32)


# --------------------------------------------------------------------------------------- measuring


class Clips:
    """Statistics and verdicts of clips by every front end."""

    def __init__(self, speech: Path, seed: int, versions: int):
        random = np.random.default_rng(seed)
        self.speakers, self.changes = [], []
        self.statistics, self.frames, self.ranges, self.verdicts = ({kind: [] for kind in KINDS} for _ in range(4))
        for path in sorted(speech.glob("*/*")):
            if path.suffix not in (".flac", ".wav"):
                continue
            wav = soundfile.read(path, dtype="float32")[0]
            single = list(random.permutation(list(CHANGES)))
            mixed = [list(random.permutation(single)[: random.integers(2, 5)]) for _ in range(versions // 4)]
            for names in [[], *([name] for name in single[: versions - 1 - len(mixed)]), *mixed]:
                self.add(path.parent.name, "+".join(names) or "as it is", changed(random, wav, names))
        for index in range(len(self.speakers) // 8):
            name = list(SOUNDS)[index % len(SOUNDS)] if index % 2 else "music"
            sound = SOUNDS[name](random, int(random.uniform(0.3, 5) * RATE))
            peak = 10 ** (random.uniform(-40, 0) / 20)
            self.add("", name, (peak * sound / max(np.abs(sound).max(), 1e-9)).astype(np.float32))
        self.speakers = np.array(self.speakers)
        for of in (self.statistics, self.frames, self.ranges, self.verdicts):
            of.update({kind: np.array(values) for kind, values in of.items()})

    def add(self, speaker: str, change: str, wav: Wav) -> None:
        self.speakers.append(speaker)
        self.changes.append(change)
        for kind, front_end in KINDS.items():
            cepstra = front_end(wav)
            self.statistics[kind].append(front_ends.clip_statistics(cepstra.astype(np.float64)))
            self.ranges[kind].append(front_ends.level_range(cepstra.astype(np.float64), OURS))
            self.frames[kind].append(cepstra.shape[1])
            verdict = front_ends.verdict(cepstra, OURS)
            self.verdicts[kind].append("" if verdict is None else "refused" if verdict.is_certain else "warned")


def fit(clips: Clips, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centre and scale of the foreign statistics, (S,); weights (targets, S) and biases (targets,) of the scores."""
    long = {kind: chosen & (clips.frames[kind] >= front_ends.MIN_FRAMES) for kind in KINDS}
    spoken = clips.speakers != ""
    foreign = np.concatenate([clips.statistics[kind][long[kind] & spoken] for kind in list(KINDS)[1:]])
    centre, scale = foreign.mean(axis=0), foreign.std(axis=0)
    weights, biases = [], []
    for _, kinds in TARGETS:
        ours = clips.statistics["ours"][long["ours"]]
        theirs = np.concatenate([clips.statistics[kind][long[kind] & spoken] for kind in kinds])
        regression = LogisticRegression(max_iter=5000, class_weight={0: OURS_WEIGHT, 1: 1.0})
        labels = np.repeat([0, 1], [len(ours), len(theirs)])
        regression.fit((np.concatenate([ours, theirs]) - centre) / scale, labels)
        weights.append(regression.coef_[0])
        biases.append(regression.intercept_[0])
    return centre, scale, np.array(weights), np.array(biases)


def unseen(clips: Clips) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The larger score and the distance, (clips,), of each kind, where the fit has not seen the speaker or sound."""
    scores = {kind: np.full(len(clips.speakers), -np.inf) for kind in KINDS}
    distances = {kind: np.full(len(clips.speakers), np.inf) for kind in KINDS}
    names = sorted(set(clips.speakers) - {""})
    parts = np.array([names.index(one) if one else index % len(names) for index, one in enumerate(clips.speakers)])
    for part in range(len(names)):
        centre, scale, weights, biases = fit(clips, parts != part)
        for kind in KINDS:
            here = (parts == part) & (clips.frames[kind] >= front_ends.MIN_FRAMES)
            standard = (clips.statistics[kind][here] - centre) / scale
            scores[kind][here] = (standard @ weights.T + biases).max(axis=1)
            distances[kind][here] = np.abs(standard).max(axis=1)
    return {kind: (scores[kind], distances[kind]) for kind in KINDS}


def outcomes(clips: Clips) -> dict[str, np.ndarray]:
    """What front_ends.py would do, by regressions that have not seen the clip's speaker or sound."""
    found = {}
    for kind, (scores, distances) in unseen(clips).items():
        frames = clips.frames[kind]
        thresholds = np.array([front_ends.warned_from(count) for count in frames])
        is_typical = (distances < front_ends.MAX_DISTANCE) & (frames >= front_ends.MIN_REFUSED_FRAMES)
        certain = (scores > front_ends.REFUSED) & is_typical | (clips.ranges[kind] > front_ends.MAX_OWN_RANGE)
        warned = (scores > thresholds) & (distances < front_ends.MAX_WARNED_DISTANCE)
        found[kind] = np.where(warned & certain, "refused", np.where(warned, "warned", ""))
    return found


def report(clips: Clips, verdicts: dict[str, np.ndarray]) -> None:
    spoken = clips.speakers != ""
    for kind, found in verdicts.items():
        for what, chosen in [("speech", spoken), ("other sounds", ~spoken)]:
            refused, warned = (found[chosen] == "refused").sum(), (found[chosen] == "warned").sum()
            print(f"  {kind}, {what}: {refused} refused, {warned} warned, of {chosen.sum()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--versions", type=int, default=12)
    arguments = parser.parse_args()
    clips = Clips(arguments.speech, arguments.seed, arguments.versions)
    print("speakers that the fit has not seen:")
    report(clips, outcomes(clips))
    print("front_ends.py as it is:")
    report(clips, clips.verdicts)
    centre, scale, weights, biases = fit(clips, np.full(len(clips.speakers), True))
    for name, numbers in [("CENTRE", centre), ("SCALE", scale), *zip([name for name, _ in TARGETS], weights)]:
        print(f"{name} = ({', '.join(f'{number:.3f}' for number in numbers)})")
    print("biases:", biases.round(2))


if __name__ == "__main__":
    main()

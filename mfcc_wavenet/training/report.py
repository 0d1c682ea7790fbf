"""What a person sees of a run: the progress bar, W&B's rows, sounds and pictures, and the table at the end."""

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import soundfile
from matplotlib.figure import Figure
from tqdm import tqdm

from mfcc_wavenet.config.files import CHECKPOINT, CONFIG, HISTORY, RESULTS, file_name
from mfcc_wavenet.evaluation.free_running import Sample
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced
from mfcc_wavenet.models.bottleneck import CodesInUse
from mfcc_wavenet.runs import plots
from mfcc_wavenet.runs.history import append_row
from mfcc_wavenet.runs.summary import table
from mfcc_wavenet.runs.tracker import SAMPLES_SEEN, Tracker

CURVES, CODEBOOK = "curves", "codebook"  # pictures in the run's folder
CODE_SHARES = "train/code_shares"  # a histogram
TERMINAL_SECONDS, LOG_SECONDS = 0.5, 30.0  # between two drawings of the bar


class Report:
    """Shows one run; closes its progress bar at the end of its context."""

    def __init__(self, folder: Path, tracker: Tracker, steps: int, samples: int, sample_rate: int):
        """steps: of the run; samples: of the corpus; sample_rate: of its audio, in Hz."""
        self.folder = folder
        self.tracker = tracker
        self.samples = samples
        self.sample_rate = sample_rate
        interval = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS
        self.bar = tqdm(total=steps, unit="step", mininterval=interval)
        self.latest = ""  # of the latest row, what stays on the bar: perplexity of the codes, if any, and speed
        self.valid = ""  # nats of the latest pass over the valid part, which do so, too
        self.shown = 0.0, math.nan, "?"  # epochs, nats and wrong samples that are on it

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def progress(self, step: int) -> None:
        self.bar.update(step - self.bar.n)

    def note(self, line: str) -> None:
        """On stderr, above the bar."""
        self.bar.write(line, file=sys.stderr)

    def row(
        self,
        step: int,
        epochs: float,
        values: dict[str, float],
        score: float | None,
        codes_in_use: Callable[[], CodesInUse | None],
    ) -> None:
        """A row of metrics, accumulated since the last one.

        codes_in_use: of the model that is trained. A W&B run gets a histogram of the counts that the row's perplexity
        is of; where there is none, nothing waits for the device.
        """
        logged = {f"train/{name}": value for name, value in values.items()} | {"train/epoch": epochs}
        self._log(logged, score, step)
        if self.tracker.directory and (codes := codes_in_use()):
            self.tracker.histogram(CODE_SHARES, codes.shares, step)
        if "loss" in values:
            perplexity = f", perplexity {values['perplexity']:.1f}" if "perplexity" in values else ""
            self.latest = f"{perplexity}, {values['samples_per_second']:,.0f} samples/s"
            self._show(epochs, values["loss"], f"about {round(values['error'] * self.samples):,}")

    def evaluation(self, step: int, epochs: float, samples_seen: int, measured: TeacherForced, score: float) -> None:
        """A teacher-forced pass over everything."""
        values = {f"eval/{name}": value for name, value in measured.values().items()}
        self._log(values | {SAMPLES_SEEN: samples_seen}, score, step)
        self._show(epochs, measured.nats, f"{measured.wrong:,}")

    def validation(self, step: int, epochs: float, samples_seen: int, measured: TeacherForced) -> None:
        """A teacher-forced pass over the valid part."""
        values = {"valid/nats": measured.nats, "valid/error": measured.error, SAMPLES_SEEN: samples_seen}
        self._log(values, None, step)
        self.valid = f", valid {measured.nats:.4f} nats"
        self._show(epochs, *self.shown[1:])

    def returned(self, step: int, loss: float, best: dict) -> None:
        """Training has returned to its best pass; loss: of the row that made it return, nats per sample."""
        self._log({"train/returned_to": best["step"]}, None, step)
        measured = f"{best['wrong']:,} wrong" if "wrong" in best else f"{best['valid_nats']:.4g} nats on the valid part"
        self.note(
            f"The loss is {loss:.4g} nats at step {step:,}; weights and optimizer return to the best pass, "
            f"that of step {best['step']:,} ({measured}, {best['loss']:.4g} nats)."
        )

    def sounds(self, step: int, samples: Iterable[Sample]) -> None:
        """Originals and what the model makes of their MFCCs, free-running, with spectrograms."""
        for sample in samples:
            self._sound(step, sample)

    def _sound(self, step: int, sample: Sample) -> tuple[str, Figure]:
        """The name that its files have, and its spectrograms."""
        utterance, original, copy = sample
        name, rate = file_name(utterance, taken=(CURVES, CODEBOOK)), self.sample_rate
        self.tracker.audio(f"audio/{name}/original", original, rate, step)
        self.tracker.audio(f"audio/{name}/generated", copy, rate, step, f"step {step}, from MFCCs alone")
        figure = plots.spectrograms(original, copy, rate, f"{name}, step {step}")
        self.tracker.picture(f"spectrogram/{name}", figure, step)
        return name, figure

    def codes(self, step: int, codes: CodesInUse | None) -> Figure | None:
        """The picture of a codebook, if there is one."""
        if codes is None:
            return None
        title = f"{self.folder.name}, step {step}"
        figure = plots.codebook(codes.vectors, codes.shares, codes.perplexity, title)
        self.tracker.picture(CODEBOOK, figure, step)
        return figure

    def conclude(
        self, step: int, samples: list[Sample], codes: CodesInUse | None, history: list[dict], results: dict
    ) -> None:
        """The end: summary, last sounds, codebook and curves; sounds and pictures also as files in the run's folder.

        Raises OSError or soundfile.SoundFileError where a file cannot be written.
        """
        self.tracker.summarise(results)
        if figure := self.codes(step, codes):
            plots.save(figure, self.folder / f"{CODEBOOK}.png")
        curves = plots.curves(history, self.folder.name)
        self.tracker.picture(CURVES, curves, step)
        plots.save(curves, self.folder / f"{CURVES}.png")
        for sample in samples:
            name, figure = self._sound(step, sample)
            plots.save(figure, self.folder / f"{name}.png")
            for which, wav in zip(("original", "generated"), sample[1:]):
                soundfile.write(self.folder / f"{name}.{which}.wav", wav, self.sample_rate)

    def keep(self, experiment: str | None, results: dict) -> None:
        """The table in W&B's log; the final checkpoint as an artifact, which checkpoint=wandb:... finds again."""
        self.tracker.note(table(self.folder, self.tracker.commands))
        aliases = ["latest", "zero"] if results["wrong"] == 0 else ["latest"]
        files = [self.folder / name for name in (CHECKPOINT, CONFIG, RESULTS)]
        self.tracker.artifact(self.folder.name, "model", files, {"experiment": experiment, **results}, aliases)

    def _log(self, values: dict[str, float | int], score: float | None, step: int) -> None:
        values = values if score is None else values | {"score": score}
        self.tracker.log(values, step)
        append_row(self.folder / HISTORY, {"step": step, **values})

    def _show(self, epochs: float, nats: float, wrong: str) -> None:
        self.shown = epochs, nats, wrong
        wrong = f"wrong {wrong} of {self.samples:,}"
        self.bar.set_postfix_str(f"epoch {epochs:.1f}, {nats:.4f} nats, {wrong}{self.valid}{self.latest}")


class NoReport(Report):
    """Of a process that leaves it to another one of the same run to show it."""

    def __init__(self, *_):
        pass

    def __exit__(self, *_) -> None:
        pass

    def progress(self, step: int) -> None:
        pass

    def note(self, line: str) -> None:
        pass

    def returned(self, step: int, loss: float, best: dict) -> None:
        pass

    def row(
        self,
        step: int,
        epochs: float,
        values: dict[str, float],
        score: float | None,
        codes_in_use: Callable[[], CodesInUse | None],
    ) -> None:
        pass

    def evaluation(self, step: int, epochs: float, samples_seen: int, measured: TeacherForced, score: float) -> None:
        pass

    def validation(self, step: int, epochs: float, samples_seen: int, measured: TeacherForced) -> None:
        pass

    def sounds(self, step: int, samples: Iterable[Sample]) -> None:
        pass

    def codes(self, step: int, codes: CodesInUse | None) -> Figure | None:
        pass

    def conclude(
        self, step: int, samples: list[Sample], codes: CodesInUse | None, history: list[dict], results: dict
    ) -> None:
        pass

    def keep(self, experiment: str | None, results: dict) -> None:
        pass

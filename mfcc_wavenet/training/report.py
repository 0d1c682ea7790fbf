"""What a person sees of a run: the progress bar, W&B's rows, sounds and pictures, and the files it leaves."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import soundfile
import yaml
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import plain
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.teacher_forced import Sample, TeacherForced, first_utterances
from mfcc_wavenet.models.mfcc_inverter import MfccInverter
from mfcc_wavenet.runs import plots
from mfcc_wavenet.runs.history import HISTORY, RESULTS, append_row, forget_rows_after, score
from mfcc_wavenet.runs.tracker import SAMPLES_SEEN, Tracker

CONFIG = "config.yaml"  # in a run's folder: all its settings


class Report:
    """Tells of one run. history is the list of rows that the curves are drawn from; it grows here."""

    def __init__(self, settings: Settings, windows: Windows, folder: Path, tracker: Tracker, history: list[dict]):
        self.settings = settings
        self.sample_rate = settings.features.sample_rate
        self.windows = windows
        self.folder = folder
        self.tracker = tracker
        self.history = history
        forget_rows_after(folder / HISTORY, history[-1]["step"] if history else -1)
        self.samples_per_second = 0.0
        # A terminal is redrawn twice a second; a log file gets a line every half minute.
        self.bar = tqdm(total=settings.train.steps, unit="step", mininterval=0.5 if sys.stderr.isatty() else 30)

    def progress(self, step: int) -> None:
        self.bar.update(step - self.bar.n)

    def row(self, step: int, epochs: float, values: dict[str, float]) -> None:
        """A row of metrics, accumulated since the last one."""
        wrong = round(values["error"] * self.windows.corpus.samples)
        self.history.append({"step": step, **values, "wrong_estimate": wrong})
        logged = {f"train/{name}": value for name, value in values.items()} | {"train/epoch": epochs}
        self._log(logged, step)
        self.samples_per_second = values["samples_per_second"]
        self._show(epochs, values["loss"], f"about {wrong:,}")

    def evaluation(self, step: int, epochs: float, samples_seen: int, measured: TeacherForced) -> None:
        """A teacher-forced pass over everything."""
        self.history.append({"step": step, "samples_seen": samples_seen, "wrong": measured.wrong})
        values = {f"eval/{name}": value for name, value in measured.values().items()}
        self._log(values | {SAMPLES_SEEN: samples_seen}, step)
        self._show(epochs, measured.nats, f"{measured.wrong:,}")

    def samples(self, step: int, model: MfccInverter) -> None:
        """Originals and what the model makes of their MFCCs, free-running, with spectrograms."""
        self._log_samples(step, self._listen(model))

    def _log_samples(self, step: int, samples: Iterable[Sample]) -> None:
        for name, original, copy in samples:
            self.tracker.audio(f"audio/{name}/original", original, self.sample_rate, step)
            self.tracker.audio(
                f"audio/{name}/generated", copy, self.sample_rate, step, f"step {step}, from MFCCs alone"
            )
            figure = plots.spectrograms(original, copy, self.sample_rate, f"{name}, step {step}")
            self.tracker.picture(f"spectrogram/{name}", figure, step)

    def conclude(self, step: int, model: MfccInverter, results: dict) -> None:
        """The end: summary, last samples, and settings, results, sounds and pictures as files in the run's folder."""
        self.tracker.summarise(results)
        samples = list(self._listen(model))
        self._log_samples(step, samples)
        curves = plots.curves(self.history)
        self.tracker.picture("curves", curves, step)
        try:
            plots.save(curves, self.folder / "curves.png")
            for name, original, copy in samples:
                soundfile.write(self.folder / f"{name}.original.wav", original, self.sample_rate)
                soundfile.write(self.folder / f"{name}.generated.wav", copy, self.sample_rate)
                plots.save(plots.spectrograms(original, copy, self.sample_rate, name), self.folder / f"{name}.png")
            (self.folder / CONFIG).write_text(yaml.safe_dump(plain(self.settings), sort_keys=False))
            write_json(self.folder / RESULTS, results)
        except (OSError, soundfile.SoundFileError) as error:
            raise UserError(
                f"The results could not be written to {self.folder} ({error}); the checkpoint there is whole, "
                "and the same command finishes the run once there is room."
            ) from error

    def keep(self, checkpoint: Path, experiment: str | None, results: dict) -> None:
        """The final checkpoint with settings and results as an artifact, which checkpoint=wandb:... finds again."""
        aliases = ["latest", "zero"] if results["wrong"] == 0 else ["latest"]
        files = [checkpoint, self.folder / CONFIG, self.folder / RESULTS]
        self.tracker.artifact(self.folder.name, "model", files, {"experiment": experiment, **results}, aliases)

    def close(self) -> None:
        self.bar.close()

    def _log(self, values: dict[str, float | int], step: int) -> None:
        """With the score beside them, which the last row of the history may have lowered."""
        values = values | {"score": score(self.history, self.windows.corpus.samples)}
        self.tracker.log(values, step)
        append_row(self.folder / HISTORY, {"step": step, **values})

    def _show(self, epochs: float, nats: float, wrong: str) -> None:
        self.bar.set_postfix_str(
            f"epoch {epochs:.1f}, {nats:.4f} nats, wrong {wrong} of {self.windows.corpus.samples:,}, "
            f"{self.samples_per_second:,.0f} samples/s"
        )

    def _listen(self, model: MfccInverter) -> Iterator[Sample]:
        return first_utterances(model, self.windows, self.settings)


def write_json(path: Path, values: dict) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(json.dumps(values, indent=2) + "\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

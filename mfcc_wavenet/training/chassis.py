"""The training loop: what is built, in which order, and what happens in a step."""

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import soundfile
import torch
import yaml
from torch import Tensor

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import Interrupted, UserError
from mfcc_wavenet.config.files import BEST, CHECKPOINT, CONFIG, HISTORY, RESULTS, write_json, write_text
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.parse import plain, run_config
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.config.size import refuse_too_large, sizes, training_bytes, windows_at_once
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.data.prepared import splits
from mfcc_wavenet.data.prepared.prepare import prepare
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.free_running import Sample, first_utterances
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.base import Model, Predictions
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs.history import forget_results, forget_rows_after, score
from mfcc_wavenet.runs.interrupt import Interruption
from mfcc_wavenet.runs.summary import table
from mfcc_wavenet.runs.tracker import Tracker
from mfcc_wavenet.training import cost, distributed, optimizer, passes, state
from mfcc_wavenet.training.computing.network_pass import (
    device_memory,
    make_network_pass,
    pick_compile,
    pick_device,
    pick_precision,
    pick_products,
)
from mfcc_wavenet.training.loader import (
    load_batches,
    loader_deaths_as_user_errors,
    on_device,
    without_signals_of_children,
)
from mfcc_wavenet.training.metrics import Metrics, latent_gradients
from mfcc_wavenet.training.report import NoReport, Report
from mfcc_wavenet.training.schedule import every, learning_rate, note_decayed


class Chassis:
    """Builds all that a run needs from its settings, and trains.

    Geometry comes first, so that settings which contradict each other are refused before a file is
    read. Given a checkpoint, training continues where that stood; where the settings are the
    checkpoint's, bit for bit. Attributes are what is built here and what a checkpoint holds; everything
    else passes by arguments and return values.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        checkpoint: Checkpoint | None = None,
        choices: dict[str, str | None] | None = None,
        ranks: distributed.Ranks = distributed.ALONE,
    ):
        """folder: where the run's files go; choices: the option chosen of each config group, which is logged.

        ranks: the processes that train together, of which each has a Chassis.
        """
        self.settings = settings
        self.folder = folder
        self.checkpoint_path = folder / CHECKPOINT
        self.choices, self.ranks = choices or {}, ranks
        self.geometry = Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)
        self.device = pick_device(distributed.device_of(ranks.place, settings.train.device))
        self.precision = pick_precision(settings.train.precision, self.device)
        needed = training_bytes(settings, self.geometry, self.precision.itemsize, ranks.size)
        refuse_too_large(needed, "window or network", device_memory(self.device))
        self.compiled = pick_compile(settings.train.compile, self.device)
        if settings.train.threads:
            torch.set_num_threads(settings.train.threads)
        self.products = pick_products(settings, self.device, self.precision, self.compiled, ranks.size, ranks.of_first)
        torch.manual_seed(settings.train.seed)
        corpus = ranks.open_corpus(lambda: prepare(settings.data, settings.features, *settings.wavenet.coding))
        self.speakers = checkpoint.speakers if checkpoint else tuple(corpus.speaker_samples)
        parts = splits.parts(corpus, settings.data, settings.features.sample_rate)
        self.corpus = parts[splits.TRAIN]
        self.statistics = checkpoint.statistics if checkpoint else self.corpus.statistics
        speakers = self.speakers if settings.wavenet.speaker_channels else None
        prediction = LinearPrediction.of(settings.features, settings.wavenet, self.statistics)
        self.windows = Windows(
            self.corpus, self.geometry, settings.window, self.statistics, speakers, settings.train.seed, prediction,
            (ranks.rank, ranks.size),
        )  # fmt: skip
        ranks.refuse_too_short_epoch(self.windows)
        self.valid = passes.windows_to_validate_on(self, parts)
        self.model = build_model(settings, self.geometry, len(self.speakers)).to(self.device)
        self.averaged = deepcopy(self.model).requires_grad_(False) if settings.optim.ema_decay else None
        network_pass = make_network_pass(self.model, self.precision, self.compiled, self.device, self.products)
        self.network_pass = ranks.parallel(self.model, network_pass)
        ranks.scatter_random()
        self.optimizer = optimizer.make_optimizer(settings.optim, self.model.parameter_groups())
        self.metrics = Metrics(self.device, ranks.total)
        self.position = Position()
        self.step = 0
        self.bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)  # non-finite ones in a row
        self.seconds = 0.0  # of training, over all parts of a run
        self.history: list[dict] = []  # what the curves are drawn from
        self.best: dict | None = None  # the pass with the fewest wrong samples or, on the valid part, nats
        self.rows_logged: int | None = 0  # in the folder, when the checkpoint was written
        self.run_id: str | None = None  # W&B's
        self.is_untrained = checkpoint is None
        if checkpoint:
            state.restore(self, checkpoint)

    # --- the run ----------------------------------------------------------------------------------

    def train(self) -> dict:
        """Trains to zero error or to the last step, prints a table and returns the results.

        Raises Interrupted after Ctrl-C or SIGTERM, when all is saved, and UserError when the
        gradients stay non-finite or the folder cannot be written to.
        """
        if self.ranks.leads:
            forget_rows_after(self.folder / HISTORY, self.step, self.rows_logged)
        passes.match_best_file(self)
        self.save()  # a folder that refuses is found out now, not after the first hours
        if self.ranks.leads:
            forget_results(self.folder)
        note_decayed(self.settings.optim, self.step, self.settings.train.steps)
        settings = self.settings
        cost.tell_in_advance(self)
        config = run_config(settings, self.choices) | sizes(settings, len(self.speakers), self.corpus.samples)
        tracking = settings.tracking if self.ranks.leads else replace(settings.tracking, mode="disabled")
        with (
            Interruption() as interruption,  # around the W&B run: that is never left unfinished
            loader_deaths_as_user_errors(settings.train.workers, f"the last checkpoint is {self.checkpoint_path}"),
            Tracker(tracking, name=self.folder.name, config=config, run_id=self.run_id) as tracker,
        ):
            self.run_id = tracker.run_id
            rate = settings.features.sample_rate
            shown = Report if self.ranks.leads else NoReport
            with shown(self.folder, tracker, settings.train.steps, self.corpus.samples, rate) as report:
                zero = self._train_to_the_end(report, interruption)
                results = self._conclude(report, zero)
        if self.ranks.leads:
            print(table(self.folder, tracker.commands))
        return results

    def _train_to_the_end(self, report: Report, interruption: Interruption) -> TeacherForced | None:
        """All steps there are; the pass that found nothing wrong, if one ended the training."""
        settings = self.settings.train
        if self.is_untrained:
            self.model.before_training(self._batches(Position()))
            self.ranks.spread(self.model)
            if self.averaged is not None:
                self.averaged.load_state_dict(self.model.state_dict())
        self.model.train()
        self.ranks.warm_up(self.run_batch, self._batches(self.position))
        batches = self._batches(self.position)
        self.metrics.restart_clock()
        started = time.perf_counter() - self.seconds
        zero, out_of_patience = passes.zero_of_before(self), passes.is_out_of_patience(self)
        first_steps = cost.FirstSteps(self)
        while self.step < settings.steps and not zero and not out_of_patience:
            self.training_step(batches)
            report.progress(self.step)
            first_steps.tell(report)
            self.seconds = time.perf_counter() - started
            if every(settings.log_interval, self.step):
                self._log_row(report)
            if every(settings.sample_interval, self.step):
                report.sounds(self.step, self._first_utterances())
                report.codes(self.step, self.evaluated_model.codes_in_use())
                self.metrics.restart_clock()
            if every(settings.evaluate_interval, self.step) and passes.is_worth_it(self):
                zero = passes.look_for_zero(self, report)
                self.metrics.restart_clock()
            if every(settings.validate_interval, self.step):
                out_of_patience = passes.validate(self, report)
                self.metrics.restart_clock()
            self.seconds = time.perf_counter() - started
            signal_number = self.ranks.agreed_signal(interruption.signal_number)
            if every(settings.checkpoint_interval, self.step) or passes.is_best(self) or signal_number:
                self.save()
            if signal_number:
                raise Interrupted(
                    f"Stopped at step {self.step}; {self.checkpoint_path} holds all of it, "
                    "and the same command resumes it.",
                    signal_number,
                )
        self.save()
        return zero

    # --- a step -----------------------------------------------------------------------------------

    def training_step(self, batches: Iterator[Batch]) -> None:
        """One batch, one step of the optimizer. Nothing here waits for a GPU.

        Where a gradient is NaN or infinite, the device skips the step by itself: weights, moments, averages and
        metrics stay what they were. Too many of those in a row end the run when the next row is read.
        """
        settings = self.settings.optim
        logged = self.settings.train.gradient_metrics and every(self.settings.train.log_interval, self.step + 1)
        rate = learning_rate(settings, self.step)
        batch, predictions, scalars = self.loss_fn(batches, logged)
        finite = scalars["grad_norm"].isfinite()
        before = {name: optimizer.copies(weights) for name, weights in self.model.parameter_groups().items() if logged}
        optimizer.take_step(self.optimizer, rate, finite)
        scalars |= self._update_ratios(before) | self.model.after_step(self.step, finite, predictions)
        if self.averaged is not None:
            self.averaged.follow(self.model)
            optimizer.update_average(self.averaged, self.model, settings.ema_decay, finite)
        self.metrics.update(predictions, finite, learning_rate=rate, **scalars)
        self.bad_steps = optimizer.count_bad_steps(self.bad_steps, finite, self.settings.train.max_bad_steps)
        self.step += 1
        self.position = batch.after

    def loss_fn(self, batches: Iterator[Batch], logged: bool) -> tuple[Batch, Predictions, dict[str, Tensor]]:
        """The next batch, what the model makes of it, and scalars of the gradients, which are computed here.

        logged: the gradient at the frames is computed, too.
        """
        batch = next(batches)
        parts = batch.parts(self.settings.train.accumulation)
        self.optimizer.zero_grad(set_to_none=True)
        computed, several = [], []
        for part in parts:
            with self.ranks.part(self.network_pass, part is parts[-1]):
                part, predictions = self.run_batch(iter([part]), logged)
                objective = self.model.objective(predictions, self.step)
                if len(parts) * self.ranks.size > 1:
                    objective = self.ranks.weighted(objective, part.mask, batch.step_samples)
                objective.backward()
            computed.append(predictions.detached())
            several.append(part)
        gradients = [weights.grad for weights in self.model.parameters() if weights.grad is not None]
        grad_norm = torch.nn.utils.get_total_norm(gradients)
        if (limit := self.settings.optim.clip_grad_norm) is not None:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), limit, grad_norm)
        scalars = predictions.figures | {"grad_norm": grad_norm}
        if logged:
            mean, sd = self.ranks.frame_gradients(several)
            scalars |= {"mfcc_grad_mean": mean, "mfcc_grad_sd": sd, **latent_gradients(predictions)}
        joined = Predictions.joined(computed)
        windows = self.settings.train.accumulation * windows_at_once(self.settings, self.ranks.size)
        return batch, replace(joined, kept=self.ranks.gathered(joined.kept, windows)), scalars

    def run_batch(self, batches: Iterator[Batch], logged: bool) -> tuple[Batch, Predictions]:
        """The next batch and what the model makes of it; logged: frames and latents get a gradient."""
        batch = next(batches)
        if self.compiled:
            batch = batch.padded(windows_at_once(self.settings, self.ranks.size))
        # Code that is compiled has the gradient or has not: it is cheap, and compiling twice is not.
        batch.frames.requires_grad_(logged or self.compiled)
        predictions = self.network_pass(batch)
        if logged and predictions.latents is not None:
            predictions.latents.retain_grad()
        return batch, predictions

    def _update_ratios(self, before: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        after = self.model.parameter_groups()
        return {
            f"update_ratio_{name}": optimizer.relative_change(weights, after[name]) for name, weights in before.items()
        }

    # --- rows and passes --------------------------------------------------------------------------

    @property
    def evaluated_model(self) -> Model:
        """The model that counts: the averaged one, if weights are averaged."""
        return self.model if self.averaged is None else self.averaged

    def _log_row(self, report: Report) -> None:
        """UserError after too many steps in a row whose gradients were not finite."""
        values = self.metrics.read()
        row = {"step": self.step, **values}
        if "error" in values:
            row["wrong_estimate"] = round(values["error"] * self.corpus.samples)
        self.history.append(row)
        reached = score(self.history, self.corpus.samples)
        report.row(self.step, self.position.epochs, values, reached, self.model.codes_in_use)
        self._refuse_divergence()
        if warning := self.model.warning(self.history):
            report.note(warning)
        if passes.is_far_from_best(self, values.get("loss")):
            report.returned(self.step, values["loss"], passes.return_to_best(self))

    def _refuse_divergence(self) -> None:
        bad_steps = int(self.bad_steps)
        if bad_steps > self.settings.train.max_bad_steps:
            raise UserError(
                f"The gradients were not finite in {bad_steps} steps in a row, up to step {self.step}, at the "
                f"learning rate {learning_rate(self.settings.optim, self.step - 1):.2g}; a lower optim.learning_rate "
                f"or optim.clip_grad_norm=1 may help. The last checkpoint is {self.checkpoint_path}."
            )

    def _conclude(self, report: Report, zero: TeacherForced | None) -> dict:
        """Measures the model unless that was just done; writes settings, results, sounds and pictures."""
        self._refuse_divergence()
        results = passes.conclude(self, report, zero)
        try:
            codes = self.evaluated_model.codes_in_use()
            report.conclude(self.step, self._first_utterances(), codes, self.history, results)
            if passes.is_best(self):
                self._write(BEST)  # the last pass is in no checkpoint.pt: a resumed run makes and logs it again
            if self.ranks.leads:
                write_text(self.folder / CONFIG, yaml.safe_dump(plain(self.settings), sort_keys=False))
                write_json(self.folder / RESULTS, results)
        except (OSError, soundfile.SoundFileError) as error:
            raise UserError(
                f"The results could not be written to {self.folder} ({error}); the checkpoint there is whole, "
                "and the same command finishes the run once there is room."
            ) from error
        report.keep(self.choices.get("experiment"), results)
        return results

    def _first_utterances(self) -> list[Sample]:
        windows, sampling = self.valid or self.windows, Sampling(passes.temperature(self))
        return list(first_utterances(self.evaluated_model, windows, self.settings, sampling, self.ranks))

    # --- building blocks --------------------------------------------------------------------------

    def _batches(self, position: Position) -> Iterator[Batch]:
        """On the device, from that position on, without end; nothing is prepared before the first one is asked for."""
        yield from on_device(
            load_batches(self.windows, position, self.settings.train.workers, self.device), self.device
        )

    # --- saving and resuming ----------------------------------------------------------------------

    def save(self) -> None:
        """A checkpoint of everything, into the run's folder; at the best pass also as that of the best pass."""
        self._write(CHECKPOINT, *([BEST] if passes.is_best(self) else []))

    def _write(self, *names: str) -> None:
        weights, training = self.evaluated_model.state_dict(), state.of_training(self)
        about = self.corpus.digest, passes.temperature(self)
        checkpoint = Checkpoint(self.settings, self.speakers, self.statistics, weights, training, *about)
        if self.ranks.leads:
            with without_signals_of_children():
                for name in names:
                    checkpoints.save(self.folder / name, checkpoint)

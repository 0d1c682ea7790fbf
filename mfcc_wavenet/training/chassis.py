"""The training loop: what is built, in which order, and what happens in a step."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data import mfcc as front_end
from mfcc_wavenet.data.corpus import prepare
from mfcc_wavenet.data.windows import Batch, Position, Windows
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced, reproduced, teacher_forced
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.models.mfcc_inverter import MfccInverter
from mfcc_wavenet.runs.history import RESULTS, samples_to_zero, score
from mfcc_wavenet.runs.interrupt import Interrupted, Interruption, leave_signals_to_parent
from mfcc_wavenet.runs.tracker import Tracker, run_config
from mfcc_wavenet.training import optimizer
from mfcc_wavenet.training.metrics import Metrics
from mfcc_wavenet.training.report import Report

CHECKPOINT = "checkpoint.pt"  # in a run's folder


class Chassis:
    """Builds all that a run needs from its settings, and trains.

    Geometry comes first, so that settings which contradict each other are refused before a file is
    read. Given a checkpoint, training goes on where that stood; where the settings are the
    checkpoint's, bit for bit.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        checkpoint: Checkpoint | None = None,
        choices: dict[str, str] | None = None,
    ):
        """folder: where the run's files go; choices: the option chosen of each config group, which is logged."""
        self.settings = settings
        self.folder = folder
        self.choices = choices or {}
        front_end.check(settings.features)
        optimizer.check(settings.optim)
        self.geometry = Geometry.of(settings.features, settings.upsampling, settings.wavenet, settings.window)
        self.device = pick_device(settings.train.device)
        if settings.train.threads:
            torch.set_num_threads(settings.train.threads)
        torch.manual_seed(settings.train.seed)
        self.corpus = prepare(settings.data, settings.features, settings.wavenet.quantization_channels)
        self.speakers = checkpoint.speakers if checkpoint else tuple(sorted(set(self.corpus.speakers)))
        self.statistics = checkpoint.statistics if checkpoint else self.corpus.statistics
        self.windows = Windows(self.corpus, self.geometry, self.statistics, self.speakers, settings.train.seed)
        self.model = MfccInverter.of(settings, len(self.speakers)).to(self.device)
        self.averaged = self._average() if settings.optim.ema_decay else None
        self.optimizer = optimizer.make_optimizer(settings.optim, self._parameter_groups())
        self.metrics = Metrics(self.device)
        self.position = Position()
        self.step = 0
        self.bad_steps = 0  # in a row
        self.seconds = 0.0  # of training, over all parts of a run
        self.history: list[dict] = []  # what the curves are drawn from
        self.run_id: str | None = None  # W&B's
        self.commands: dict[str, str] = {}  # what can be done with the W&B run, and how
        if checkpoint:
            self._restore(checkpoint)

    # --- the run ----------------------------------------------------------------------------------

    def train(self) -> dict:
        """Trains to zero error or to the last step, and returns the results.

        Raises Interrupted after Ctrl-C or SIGTERM, when all is saved, and UserError when the
        gradients stay non-finite or the folder cannot be written to.
        """
        self.save()  # a folder that refuses is found out now, not after the first hours
        (self.folder / RESULTS).unlink(missing_ok=True)
        with Interruption() as interruption:  # from the opening of the W&B run to its end: it is never left unfinished
            return self._train_in_run(interruption)

    def _train_in_run(self, interruption: Interruption) -> dict:
        config = run_config(self.settings, self.choices)
        tracker = Tracker(self.settings.tracking, name=self.folder.name, config=config, run_id=self.run_id)
        self.run_id = tracker.run_id
        self.commands = tracker.commands
        exit_code = 1
        try:
            report = Report(self.settings, self.windows, self.folder, tracker, self.history)
            try:
                results = self._train(report, interruption)
            finally:
                report.close()
            exit_code = 0
            return results
        except Interrupted:
            exit_code = 0  # it was asked to end, and ended well
            raise
        except UserError as error:
            tracker.note(str(error))
            raise
        finally:
            tracker.finish(exit_code)

    def _train(self, report: Report, interruption: Interruption) -> dict:
        settings = self.settings.train
        self.model.before_training()
        self.model.train()
        self.batches = self._batches()
        self.metrics.restart_clock()
        started = time.perf_counter() - self.seconds
        zero = None
        while self.step < settings.steps and not zero:
            self.training_step()
            report.progress(self.step)
            self.seconds = time.perf_counter() - started
            if due(self.step, settings.log_interval):
                report.row(self.step, self.position.epochs, self.metrics.read())
            if due(self.step, settings.sample_interval):
                report.samples(self.step, self.evaluated_model)
                self.metrics.restart_clock()
            if due(self.step, settings.evaluate_interval) and self._worth_evaluating():
                zero = self._look_for_zero(report)
                self.metrics.restart_clock()
            self.seconds = time.perf_counter() - started
            if due(self.step, settings.checkpoint_interval) or interruption.signal_number:
                self.save()
            if interruption.signal_number:
                raise Interrupted(
                    f"Stopped at step {self.step}; {self.checkpoint_path} holds all of it, "
                    "and the same command goes on from there.",
                    interruption.signal_number,
                )
        self.save()
        results = self._results(zero, report)
        report.conclude(self.step, self.evaluated_model, results)
        report.keep(self.checkpoint_path, self.choices.get("experiment"), results)
        return results

    # --- a step -----------------------------------------------------------------------------------

    def training_step(self) -> None:
        """One batch, one step of the optimizer."""
        self.looking = self.settings.train.gradient_metrics and due(self.step + 1, self.settings.train.log_interval)
        self.learning_rate = optimizer.learning_rate(self.settings.optim, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.loss_fn()
        if self.finite():
            former = self._weights() if self.looking else {}
            self.optimizer.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
            self.scalars |= self._update_ratios(former) | self.model.after_step(self.step)
            self.metrics.update(*self.predictions, self.batch.mask, **self.scalars)
        self.step += 1
        self.position = self.batch.after

    def loss_fn(self) -> Tensor:
        """The objective of the next batch, in nats per sample, its gradients computed and looked at."""
        pred, target = self.run_batch()
        loss = self.model.objective(pred, target, self.batch.mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.settings.optim.clip_grad_norm
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), torch.inf if limit is None else limit)
        self.predictions = pred.detach(), target
        self.scalars = {"learning_rate": self.learning_rate, "grad_norm": grad_norm}
        if self.looking:
            gradient = self.batch.frames.grad
            self.scalars |= {"mfcc_grad_mean": gradient.mean(), "mfcc_grad_sd": gradient.std()}
        return loss.detach()

    def run_batch(self) -> tuple[Tensor, Tensor]:
        """The next batch through the model: logits (B, Q, N) and codes (B, N)."""
        self.batch: Batch = next(self.batches).to(self.device)
        if self.looking:
            self.batch.frames.requires_grad_()
        return self.model.run(self.batch)

    def finite(self) -> bool:
        """False where a gradient is NaN or infinite and the step is skipped; UserError after too many in a row."""
        self.bad_steps = 0 if torch.isfinite(self.scalars["grad_norm"]) else self.bad_steps + 1
        if self.bad_steps > self.settings.train.most_bad_steps:
            raise UserError(
                f"The gradients were not finite in {self.bad_steps} steps in a row, up to step {self.step}, at the "
                f"learning rate {self.learning_rate:.2g}; a lower optim.learning_rate or optim.clip_grad_norm=1 "
                f"may help. The last checkpoint is {self.checkpoint_path}."
            )
        return self.bad_steps == 0

    # --- is it there yet --------------------------------------------------------------------------

    @property
    def evaluated_model(self) -> MfccInverter:
        """The model that counts: the averaged one, if weights are averaged."""
        return self.model if self.averaged is None else self.averaged.module

    def _worth_evaluating(self) -> bool:
        errors = [row["error"] for row in self.history if "error" in row]
        return bool(errors) and errors[-1] < self.settings.train.evaluate_below

    def _look_for_zero(self, report: Report) -> TeacherForced | None:
        """A pass over everything. It is the end if nothing is wrong and generation repeats every sample."""
        measured = teacher_forced(self.evaluated_model, self.windows)
        report.evaluation(self.step, self.position.epochs, self.metrics.samples_seen, measured)
        if measured.wrong or not self.settings.train.stop_at_zero:
            return None
        return measured if reproduced(self.evaluated_model, self.windows) == measured.samples else None

    def _results(self, zero: TeacherForced | None, report: Report) -> dict:
        self.metrics.read()
        measured = zero
        if measured is None:
            measured = teacher_forced(self.evaluated_model, self.windows)
            report.evaluation(self.step, self.position.epochs, self.metrics.samples_seen, measured)
        return {
            "score": score(self.history, measured.samples),
            **measured.values(),
            "reproduced": reproduced(self.evaluated_model, self.windows) if measured.wrong == 0 else None,
            "steps": self.step,
            "epochs": round(self.position.epochs, 3),
            "samples_seen": self.metrics.samples_seen,
            "samples_to_zero": samples_to_zero(self.history),
            "seconds": round(self.seconds, 1),
            "seed": self.settings.train.seed,
        }

    # --- building blocks --------------------------------------------------------------------------

    def _average(self) -> AveragedModel:
        return AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.settings.optim.ema_decay))

    def _parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """By what they do, which is how update_ratio_* tells of them."""
        wavenet = self.model.wavenet
        modules = {
            "upsampling": [self.model.upsampling],
            "speaker": [self.model.speaker] if self.model.speaker else [],
            "embedding": [wavenet.embedding],
            "layers": [wavenet.layers],
            "head": [wavenet.skip, wavenet.post, wavenet.logits],
        }
        return {name: [p for part in parts for p in part.parameters()] for name, parts in modules.items() if parts}

    def _batches(self) -> Iterator[Batch]:
        return iter(
            DataLoader(
                self.windows,
                sampler=self.windows.positions(self.position),
                batch_size=None,  # a position stands for a whole batch
                num_workers=self.settings.train.workers,
                worker_init_fn=leave_signals_to_parent,
                generator=torch.Generator(),  # its own, so that starting it leaves the run's randomness alone
            )
        )

    def _weights(self) -> dict[str, list[Tensor]]:
        return {g["name"]: [p.detach().clone() for p in g["params"]] for g in self.optimizer.param_groups}

    @torch.no_grad()
    def _update_ratios(self, former: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        ratios = {}
        for group in self.optimizer.param_groups if former else ():
            before = former[group["name"]]
            moved = torch.stack([(new - old).norm() for new, old in zip(group["params"], before)]).norm()
            ratios[f"update_ratio_{group['name']}"] = moved / torch.stack([old.norm() for old in before]).norm()
        return ratios

    # --- saving and going on ----------------------------------------------------------------------

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / CHECKPOINT

    def save(self) -> None:
        """A checkpoint of everything, into the run's folder."""
        training = {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "averaged_steps": None if self.averaged is None else self.averaged.n_averaged,
            "metrics": self.metrics.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "position": asdict(self.position),
            "step": self.step,
            "bad_steps": self.bad_steps,
            "seconds": self.seconds,
            "history": self.history,
            "run_id": self.run_id,
            "corpus": self.corpus.digest,
        }
        weights = self.evaluated_model.state_dict()
        checkpoint = Checkpoint(self.settings, self.speakers, self.statistics, weights, training)
        checkpoints.save(self.checkpoint_path, checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Weights, and where the checkpoint can go on training all that it takes to go on bit for bit.

        The learning rate and the optimizer's other numbers are the settings'; its moments are the checkpoint's.
        """
        training = checkpoint.training
        if training is None:  # a pinned one: its weights are a beginning
            checkpoints.load_weights(self.model, checkpoint.weights)
            self.averaged = self._average() if self.averaged else None
            return
        checkpoints.load_weights(self.model, training["weights"])
        if self.averaged is not None:
            checkpoints.load_weights(self.averaged.module, checkpoint.weights)
            if training["averaged_steps"] is not None:
                self.averaged.n_averaged.copy_(training["averaged_steps"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": training["optimizer"], "param_groups": groups})
        self.metrics.load_state_dict(training["metrics"])
        torch.set_rng_state(training["random"])
        if training["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(training["random_cuda"], self.device)
        self.position = Position(**training["position"])
        self.step = training["step"]
        self.bad_steps = training["bad_steps"]
        self.seconds = training["seconds"]
        self.history = training["history"]
        self.run_id = training["run_id"]
        if training["corpus"] != self.corpus.digest:
            print("The corpus is not the one that the checkpoint was trained on.", file=sys.stderr)


def due(step: int, interval: int) -> bool:
    """Every so many steps; an interval of 0 never comes."""
    return interval > 0 and step % interval == 0


def pick_device(name: str) -> torch.device:
    """The named device; auto is cuda where there is one, else cpu."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"train.device={name}: torch cannot use it ({str(error).splitlines()[0]}).") from error

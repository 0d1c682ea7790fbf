"""The settings of a training: how the weights move, and what happens when while they do."""

from dataclasses import dataclass

from mfcc_wavenet.config.errors import UserError, at_least, at_most, one_of

MAX_PROCESSES = 1024  # and threads
OPTIMIZERS = ("adam", "adamw", "muon")
SCHEDULES = ("constant", "linear", "cosine", "step")
PRECISIONS = ("float32", "bfloat16")  # of training
PRODUCTS = ("blas", "onednn")  # of training on a CPU


@dataclass(frozen=True)
class OptimSettings:
    """How the weights move."""

    optimizer: str  # "adam", "adamw" or "muon"
    learning_rate: float  # the peak; with muon, of everything but the network's matrices
    encoder_factor: float  # of the rates of an encoder and its bottleneck: over learning_rate
    muon_learning_rate: float  # "muon" alone: the peak of the matrices, which rises and falls with the other
    muon_momentum: float
    betas: tuple[float, float]
    weight_decay: float
    schedule: str  # "constant", "linear", "cosine" or "step"
    warmup_steps: int  # of a linear rise from 0, before any schedule
    decay_steps: int  # the step at which linear and cosine have reached the floor
    floor: float  # that floor, as a fraction of the peak
    milestones: tuple[int, ...]  # "step" alone: the steps at which the rate changes ...
    milestone_factors: tuple[float, ...]  # ... and the fraction of the peak from each of them on
    clip_grad_norm: float | None  # null: gradients are not clipped
    ema_decay: float  # of the averaged weights that are evaluated; 0: the weights themselves are

    def __post_init__(self):
        one_of(OPTIMIZERS, "optim", "optimizer", self.optimizer)
        one_of(SCHEDULES, "optim", "schedule", self.schedule)
        if self.schedule in ("linear", "cosine") and self.decay_steps <= self.warmup_steps:
            raise UserError(
                f"optim.decay_steps is {self.decay_steps}, but optim.warmup_steps is {self.warmup_steps}; "
                "the decay must end after the warm-up."
            )
        if len(self.milestones) != len(self.milestone_factors):
            raise UserError(
                f"optim.milestones has {len(self.milestones)} entries and optim.milestone_factors "
                f"{len(self.milestone_factors)}; every milestone needs its factor."
            )
        if list(self.milestones) != sorted(self.milestones):
            raise UserError(f"optim.milestones is {list(self.milestones)}; the steps must ascend.")
        if max(self.betas) >= 1:
            raise UserError(f"optim.betas is {list(self.betas)}; both must be less than 1.")
        if self.muon_momentum >= 1:
            raise UserError(f"optim.muon_momentum is {self.muon_momentum}; it must be less than 1.")
        if self.optimizer == "muon" and not self.learning_rate:
            raise UserError("optim.learning_rate is 0; with optim.optimizer=muon it must be above 0.")
        if self.floor > 1:
            raise UserError(f"optim.floor is {self.floor}; it is a fraction of optim.learning_rate, at most 1.")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"optim.ema_decay is {self.ema_decay}; it must be at least 0 and less than 1.")


@dataclass(frozen=True)
class TrainSettings:
    """Logging, evaluation, checkpoints and stopping. An interval of 0 disables what it is for."""

    seed: int  # of weights, windows and jitter
    steps: int  # at most
    stop_at_zero: bool  # end as soon as a whole pass finds no wrong sample
    log_interval: int  # steps between two rows of metrics
    gradient_metrics: bool  # mfcc_grad_* and update_ratio_*, at every logged step
    evaluate_interval: int  # steps between two teacher-forced passes over everything
    evaluate_below: float  # such a pass is made only once the training error is below this
    validate_interval: int  # steps between two teacher-forced passes over what is held out for validation
    validate_samples: int  # of it, at most, in whole utterances
    patience: int | None  # such passes without an improvement after which training ends; null: it never does so
    return_to_best: float | None  # times the loss at the best pass, above which training returns to it; null: never
    sample_interval: int  # steps between two audio samples
    sample_utterances: int  # utterances that are generated then: of the valid part, where there are passes over it
    sample_seconds: float  # at most, of each of them
    checkpoint_interval: int  # steps
    accumulation: int  # parts that a step's windows are computed in, one after the other
    workers: int  # processes that prepare batches; 0: the main one does
    threads: int  # of torch; 0: as many as torch takes by itself
    device: str  # "auto", "cpu", "cuda", ...
    precision: str | None  # one of PRECISIONS; null: bfloat16 on a GPU that has it, float32 elsewhere
    compile: bool | None  # by torch.compile; null: on a GPU, where a compiler is found
    products: str | None  # of matrices in a step on a CPU, one of PRODUCTS; null: the one measured to be faster
    max_bad_steps: int  # non-finite steps in a row that are skipped before training ends with an error

    def __post_init__(self):
        at_least(1, "train", "accumulation", self.accumulation)
        at_least(1, "train", "validate_samples", self.validate_samples)
        at_most(MAX_PROCESSES, "train", "workers", self.workers)
        at_most(MAX_PROCESSES, "train", "threads", self.threads)
        if self.return_to_best is not None and self.return_to_best <= 1:
            raise UserError(
                f"train.return_to_best is {self.return_to_best}; it is a factor above 1, or null to never return."
            )
        if self.patience is not None:
            at_least(1, "train", "patience", self.patience)
            if not self.validate_interval:
                raise UserError(
                    f"train.patience is {self.patience}, which counts passes over the valid part, but "
                    "train.validate_interval is 0, so there are none."
                )
        if self.precision is not None:
            one_of(PRECISIONS, "train", "precision", self.precision)
        if self.products is not None:
            one_of(PRODUCTS, "train", "products", self.products)

"""The processes of a run, its ranks, and what they exchange: torch.distributed, as torchrun starts it.

Every process holds the whole model and computes its share of each step's windows; gradients are averaged by torch's
DistributedDataParallel, over NCCL on GPUs and over gloo elsewhere. Process 0 alone writes files and prints.
"""

import contextlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import first_difference
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.sharing import Alone
from mfcc_wavenet.models.base import Model, Predictions
from mfcc_wavenet.runs.rendezvous import Place, meet
from mfcc_wavenet.training.computing.network_pass import NetworkPass

T = TypeVar("T")

EXCHANGE_MINUTES = 30  # that an exchange waits for the slowest process; one that has died is noticed at once
POLL_SECONDS = 0.1
# May differ between the processes.
OF_EACH_PROCESS = ("tracking", "data.prepared", "data.workers", "train.workers", "train.threads", "train.compile")
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


class Ranks(Alone):
    """This process among those of its run. Where it is the only one, nothing here costs anything."""

    def __init__(self, place: Place = Place(), store: dist.Store | None = None):  # noqa: B008, a tuple
        """store: of several processes that have met."""
        self.place = place
        self.rank, self.size = place.rank, place.size
        self.store = store
        self._corpora = itertools.count()

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which writes and prints."""
        return self.rank == 0

    # --- values -----------------------------------------------------------------------------------

    def gather(self, value: Any) -> list[Any]:
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def of_first(self, action: Callable[[], T]) -> T:
        """What the action gives in process 0, for all of them."""
        if self.size == 1:
            return action()
        values = [action() if self.leads else None]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def open_corpus(self, prepare: Callable[[], Corpus]) -> Corpus:
        """The corpus, which process 0 prepares before the others open it, however long it takes.

        UserError where the audio of a process is not that of process 0.
        """
        if self.size == 1:
            return prepare()
        is_prepared = f"corpus {next(self._corpora)}"
        while not (self.leads or self.store.check([is_prepared])):
            time.sleep(POLL_SECONDS)
        corpus = prepare()
        self.store.set(is_prepared, "")
        found = self.gather((socket.gethostname(), corpus.digest[:8]))
        for rank, (host, digest) in enumerate(found):
            if digest != found[0][1]:
                raise UserError(
                    f"Process {rank} on {host} has another corpus ({digest}) than process 0 on {found[0][0]} "
                    f"({found[0][1]}): data.root must name the same audio everywhere."
                )
        return corpus

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in the tensor's own type."""
        if self.size == 1:
            return tensor
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    def agreed_signal(self, number: int | None) -> int | None:
        """The signal that any process has got; None if none has."""
        if self.size == 1:
            return number
        numbers = torch.tensor(number or 0)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return int(numbers) or None

    # --- a step -----------------------------------------------------------------------------------

    def parallel(self, model: Model, network_pass: NetworkPass) -> NetworkPass:
        """The same pass, whose gradients are averaged over all processes when they are computed.

        The weights become those of process 0. The model itself, and so the names of its weights, stay as they are.
        """
        if self.size == 1:
            return network_pass
        # Buffers are the model's own to keep equal: a pass exchanges nothing, however many parts a process has.
        return DistributedDataParallel(
            _NetworkPass(model, network_pass), broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def spread(self, model: Model) -> None:
        """Gives all processes the weights of process 0."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)

    def part(self, network_pass: NetworkPass, is_last: bool) -> contextlib.AbstractContextManager:
        """For a part of a step: gradients are exchanged with the last one's."""
        return contextlib.nullcontext() if is_last or self.size == 1 else network_pass.no_sync()

    def weighted(self, objective: Float[Tensor, ""], mask: Bool[Tensor, "B N"], step_samples: int) -> Float[Tensor, ""]:
        """A part's objective, a mean over its samples, such that what DDP averages is the mean over the whole step."""
        return objective * mask.sum() * (self.size / step_samples)

    def frame_gradients(self, parts: list[Batch]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the gradient at the frames of a step, of which each process has some parts."""
        gradient = torch.cat([part.frames.grad for part in parts])
        if self.size == 1:
            return gradient.mean(), gradient.std()
        windows = torch.cat([part.mask.any(1) for part in parts]).sum()  # without one that does not count
        gradient = gradient.double() / self.size  # DDP averages what is summed here
        sums = [windows * gradient[0].numel(), gradient.sum(), gradient.square().sum()]
        count, first, second = self.total(torch.stack([value.double() for value in sums]))
        mean = first / count
        return mean, ((second - count * mean.square()).clamp(min=0) / (count - 1)).sqrt()

    def gathered(self, kept: dict[str, Tensor], windows: int) -> dict[str, Tensor]:
        """What every process keeps of its windows: of all processes, in their order, the same tensors in each.

        windows: of a process at most; one that has fewer fills up with zeros.
        """
        if self.size == 1:
            return kept
        return {name: self._gathered(tensor, windows) for name, tensor in kept.items()}

    def _gathered(self, tensor: Tensor, windows: int) -> Tensor:
        own = tensor.new_zeros((windows, *tensor.shape[1:]))
        own[: len(tensor)] = tensor
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    def warm_up(self, run_batch: Callable[..., tuple[Batch, Predictions]], batches: Iterator[Batch]) -> None:
        """A pass whose gradients are thrown away.

        After the first pass DDP puts gradients into buckets anew, in the order in which they came. Where a gradient
        lies may decide in which order three processes or more are summed, and the first step of a resumed run must have
        the bits that it would have had without the interruption.
        """
        if self.size > 1:
            with torch.random.fork_rng():
                predictions = run_batch(batches, False)[1]
                sum(predictions.penalties.values(), predictions.pred.mean()).backward()

    def scatter_random(self) -> None:
        """From one random state, another one for each process; that of process 0 stays as it is."""
        if not self.leads:
            torch.manual_seed(int(torch.randint(2**62, ())) + self.rank)

    # --- agreement --------------------------------------------------------------------------------

    def refuse_other_settings(self, settings: Settings) -> None:
        """UserError where a process has other settings than process 0."""
        found = self.gather((socket.gethostname(), settings))
        for rank, (host, others) in enumerate(found):
            if difference := first_difference(others, found[0][1], OF_EACH_PROCESS):
                name, theirs, first = difference
                raise UserError(
                    f"Process {rank} on {host} has {name}={theirs}, but process 0 on {found[0][0]} has {first}; "
                    "all processes of a run take the same command."
                )

    def refuse_too_few_windows(self, settings: Settings) -> None:
        """UserError where not every process would have a window in each part of a step."""
        parts = settings.train.accumulation
        if self.size > 1 and settings.window.batch_size < self.size * parts:
            each = f", each in train.accumulation={parts} parts" if parts > 1 else ""
            raise UserError(
                f"window.batch_size is {settings.window.batch_size}, but {self.size} processes share a step{each}; it "
                f"must be at least {self.size * parts}."
            )

    def refuse_too_short_epoch(self, windows: Windows) -> None:
        """UserError where not every process would have a window in an epoch."""
        count = windows.at(Position()).of
        if count < self.size:
            raise UserError(
                f"The corpus has {count} windows of window.samples={windows.window.samples}, too few for {self.size} "
                "processes; take shorter windows, more audio or fewer processes."
            )


ALONE = Ranks()


class _NetworkPass(nn.Module):
    """What DDP wraps: its forward is what a step calls, its parameters are the model's."""

    def __init__(self, model: Model, network_pass: NetworkPass):
        super().__init__()
        self.model = model
        self.network_pass = network_pass

    def forward(self, batch: Batch) -> Predictions:
        return self.network_pass(batch)


# --- beginning and end --------------------------------------------------------------------------------


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """All processes of the run that torchrun started this one for; ALONE where it started none.

    Within the context, process 0 alone prints. device: train.device's value. UserError where the processes do not
    meet, and where one is lost later on.
    """
    place = Place.of_environment()
    if place.size == 1:
        yield ALONE
        return
    backend = BACKENDS[torch.device(device_of(place, device)).type]
    store = meet(place)
    try:
        with _lost_processes_as_user_errors(place.size):
            options = {"store": store, "timeout": timedelta(minutes=EXCHANGE_MINUTES)}
            dist.init_process_group(backend, rank=place.rank, world_size=place.size, **options)
            with contextlib.nullcontext() if place.rank == 0 else _silence():
                yield Ranks(place, store)
    finally:
        # NCCL would wait for a process that is lost; the end of this one closes all that is open.
        if dist.is_initialized() and (backend == "gloo" or sys.exception() is None):
            dist.destroy_process_group()


def device_of(place: Place, name: str) -> str:
    """The device of that name, of several GPUs this process's own; UserError where it would have none."""
    if place.size == 1:
        return name
    kind, _, index = name.partition(":")
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in BACKENDS:
        raise UserError(f"train.device={name}: several processes train on cpu or cuda.")
    if kind == "cpu":
        return kind
    if index:
        raise UserError(f"train.device={name} names one GPU for several processes; cuda gives each its own.")
    if place.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{place.local_size} processes on {socket.gethostname()} need a GPU each, and torch sees "
            f"{torch.cuda.device_count()}; take fewer processes, or train.device=cpu."
        )
    return f"{kind}:{place.local_rank}"


@contextlib.contextmanager
def _lost_processes_as_user_errors(size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, dist.DistError) and "gloo" not in text and "NCCL" not in text:
            raise
        reason = text.splitlines()[0].rpartition("] ")[2].rstrip(".")[:160]
        raise UserError(
            f"Another of the {size} processes of this run has ended or is out of reach ({reason}); the same command "
            "resumes from the last checkpoint."
        ) from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield

"""How the processes that torchrun starts for one run find each other, and which of them says why it ends.

torchrun describes each process in variables of its environment, and has a store of keys at MASTER_ADDR:MASTER_PORT that
outlives them. Where something else has set the variables, process 0 has the store.
"""

import contextlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist

from mfcc_wavenet.config.errors import UserError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
MEETING_SECONDS = 60.0  # in which all processes have to be there
TELLING_SECONDS = 5.0  # that a process which ends looks for the store
# The jobs of a Hydra multirun are in one process: how often it has met the others, and told of an end.
_meetings, _ends = itertools.count(), itertools.count()
_stores: list[dist.Store] = []  # the connected one, once there is one


class Place(NamedTuple):
    """Which process of its run this is."""

    rank: int = 0
    size: int = 1  # how many there are
    local_rank: int = 0  # on this machine
    local_size: int = 1

    @classmethod
    def of_environment(cls) -> "Place":
        """As torchrun's variables say, the only one without them; UserError where they do not fit together."""
        values = {name: os.environ.get(name) for name in VARIABLES}
        if values["WORLD_SIZE"] in (None, "", "1"):
            return cls()
        try:
            place = cls(*(int(values[name] or 0) for name in VARIABLES[:4]))
            if not 0 <= place.rank < place.size or not values["MASTER_ADDR"] or values["RANK"] is None:
                raise ValueError
            int(values["MASTER_PORT"] or "")
        except ValueError as error:
            there = ", ".join(f"{name}={value}" for name, value in values.items())
            raise UserError(f"{there}: this does not describe a process of a run; torchrun sets these.") from error
        return place

    def __str__(self) -> str:
        return f"process {self.rank} of {self.size} on {socket.gethostname()}"


def refuse_several(mode: str) -> None:
    """UserError if torchrun started several processes for a mode that takes one."""
    size = Place.of_environment().size
    if size > 1:
        raise UserError(f"mode={mode} takes one process, which uses all cores by itself; torchrun started {size}.")


def meet(place: Place, seconds: float = MEETING_SECONDS) -> dist.Store:
    """The store of all processes, once every one of them is there; a UserError says which are not."""
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} (MASTER_ADDR:MASTER_PORT)"
    try:
        store = _connected(place, seconds)
    except RuntimeError as error:  # what torch raises about networks and stores
        if place.rank == 0 and "EADDRINUSE" in str(error):
            raise UserError(f"{address} is in use by another program; another MASTER_PORT works.") from error
        who = str(place)
        raise UserError(
            f"{who[:1].upper()}{who[1:]} did not reach the others at {address} within {seconds:g} s."
        ) from error
    store = dist.PrefixStore(f"meeting {next(_meetings)}", store)
    names = [f"here {rank}" for rank in range(place.size)]
    try:
        store.set(names[place.rank], "")
        store.wait(names, timedelta(seconds=seconds))
    except RuntimeError as error:
        missing = "some"
        with contextlib.suppress(RuntimeError):
            missing = ", ".join(str(rank) for rank, name in enumerate(names) if not store.check([name]))
        raise UserError(
            f"Of the {place.size} processes of this run, {missing} did not come to {address} within {seconds:g} s."
        ) from error
    return store


def tell(why: str) -> None:
    """Says on stderr why this process ends, unless another one of its run has said before why it does."""
    if _is_first(lambda place: _connected(place, TELLING_SECONDS).add(f"told {next(_ends)}", 1) == 1):
        print(why, file=sys.stderr)


def tell_of_signal(why: str) -> None:
    """The same of a signal, which all processes of the run agree on: process 0 says so."""
    if _is_first(lambda place: place.rank == 0):
        print(why, file=sys.stderr)


def _is_first(holds: Callable[[Place], bool]) -> bool:
    """Whether that holds of this process among several; True for the only one, and where the others cannot be asked."""
    try:
        place = Place.of_environment()
        if place.size == 1:
            return True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to all that are left: they are ending
        return holds(place)
    except (UserError, RuntimeError):
        return True


def _connected(place: Place, seconds: float) -> dist.Store:
    if not _stores:
        of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=place.rank == 0 and not of_torchrun,
            timeout=timedelta(seconds=seconds), wait_for_workers=False,
        )  # fmt: skip
        # torchrun --max-restarts starts all processes again, with the store of before.
        _stores.append(dist.PrefixStore(f"mfcc_wavenet {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store))
    return _stores[0]

"""The sentence and the exit code with which a command ends that could not do what was asked."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import wraps
from typing import Any, NoReturn

USER_ERROR = 2
CTRL_C = 130  # 128 + SIGINT, the shell's convention
AGAIN_SECONDS = 0.01  # after which a signal that was swallowed comes again


class UserError(Exception):
    """A user's mistake that can be fixed: one sentence that says what, where and what would work.

    Every command prints the sentence and exits with code 2, without a traceback.
    """


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, for which a mistake is one sentence and not the usage of all."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help shows what can be given.")


class Interrupted(BaseException):
    """A signal asked the command to end, and it ended with everything saved.

    Not an Exception, as KeyboardInterrupt is not: whoever handles what can go wrong does not mean the end.
    """

    def __init__(self, sentence: str, signal_number: int):
        super().__init__(sentence)
        self.exit_code = 128 + signal_number  # the shell's convention


def _terminate(number: int, _) -> None:
    """SIGTERM ends a command as Ctrl-C does: files that are being written are removed, what is whole stays."""
    raise Interrupted("Stopped by SIGTERM.", number)


@contextlib.contextmanager
def _not_swallowed() -> Iterator[None]:
    """What a signal raises in a callback of Python's own, of an import for instance, is raised again after that.

    Otherwise Python would print it as an exception that was ignored, and continue.
    """

    def ignored(unraisable: Any) -> None:
        numbers = {KeyboardInterrupt: signal.SIGINT, Interrupted: signal.SIGTERM}
        if number := numbers.get(unraisable.exc_type):
            timer = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, [threading.main_thread().ident, number])
            timer.daemon = True
            timer.start()
        else:
            before(unraisable)

    before, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        yield
    finally:
        sys.unraisablehook = before


def exit_codes(main: Callable[[], None]) -> Callable[[], None]:
    """The main function of a command, which ends with one sentence and its exit code instead of a traceback."""

    @wraps(main)
    def command() -> None:
        try:
            # A command may have let Ctrl-C end it at once while its imports took their seconds.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, _terminate)
            with _not_swallowed():
                main()
            sys.stdout.flush()
        except UserError as error:
            print(error, file=sys.stderr)
            sys.exit(USER_ERROR)
        except Interrupted as interrupted:
            print(interrupted, file=sys.stderr)
            sys.exit(interrupted.exit_code)
        except KeyboardInterrupt:
            print("Stopped by Ctrl-C.", file=sys.stderr)
            sys.exit(CTRL_C)
        except BrokenPipeError:  # whoever reads has seen enough
            # So that nothing is left to be written when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        finally:
            # What comes now is Python's own end, in which an exception would be a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    return command


# --- values that a setting cannot have ------------------------------------------------------------


def at_least(least: int, group: str, name: str, value: int) -> None:
    """UserError where the setting group.name is below that."""
    if value < least:
        raise UserError(f"{group}.{name} is {value}; it must be at least {least}.")


def at_most(most: int, group: str, name: str, value: int) -> None:
    """UserError where the setting group.name is above that."""
    if value > most:
        raise UserError(f"{group}.{name} is {value}; it must be at most {most}.")


def one_of(known: tuple[Any, ...], group: str, name: str, value: Any) -> None:
    """UserError where the setting group.name is none of these."""
    if value in known:
        return
    close = get_close_matches(str(value), [one for one in known if isinstance(one, str)], n=1)
    meant = f"; did you mean {close[0]}?" if close else "."
    raise UserError(f"{group}.{name} is {value}; there are {', '.join(map(str, known))}{meant}")

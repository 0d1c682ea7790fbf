"""The sentence and the exit code with which a command ends that could not do what was asked."""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps

USER_ERROR = 2
CTRL_C = 130  # 128 + SIGINT, the shell's convention


class UserError(Exception):
    """A user's mistake that can be fixed: one sentence that says what, where and what would work.

    Every command prints the sentence and exits with code 2, without a traceback.
    """


class Interrupted(BaseException):
    """A signal asked the command to end, and it ended with everything saved.

    No Exception, as KeyboardInterrupt is none: whoever handles what can go wrong does not mean the end.
    """

    def __init__(self, sentence: str, signal_number: int):
        super().__init__(sentence)
        self.exit_code = 128 + signal_number  # the shell's convention


def _terminate(number: int, _) -> None:
    """SIGTERM ends a command as Ctrl-C does: files that are being written are removed, what is whole stays."""
    raise Interrupted("Stopped by SIGTERM.", number)


def exit_codes(main: Callable[[], None]) -> Callable[[], None]:
    """The main function of a command, which ends with one sentence and its exit code instead of a traceback."""

    @wraps(main)
    def command() -> None:
        try:
            # A command may have let Ctrl-C end it at once while its imports took their seconds.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, _terminate)
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

"""Ctrl-C and SIGTERM, turned into a question that the training loop asks between two steps."""

import signal


class Interruption:
    """Within its context the first SIGINT or SIGTERM is only noted; a second one acts as usual."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.signal_number: int | None = None

    def __enter__(self) -> "Interruption":
        self._former = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        self.signal_number = number
        signal.signal(number, self._former[number])

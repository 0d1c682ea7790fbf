"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A mistake that the user can mend: one sentence that says what, where and what would work.

    run.py prints the sentence and exits with code 2, without a traceback.
    """

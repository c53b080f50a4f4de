"""The one exception of the local stack: a sentence for the user and the exit code that goes with it."""

FAILURE = 1
USAGE = 2
UNREACHABLE = 75


class StackError(Exception):
    """Something the user can act on; printed as one line, never as a traceback.

    ``exit_code`` follows the table of every foodstream command: 1 failure, 2 usage, 75 a service (here also a
    download) that was unreachable and may answer later.
    """

    def __init__(self, message: str, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code

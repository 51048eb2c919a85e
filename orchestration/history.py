"""The run history that DAGSTER_HOME names, opened for a command; what keeps it from opening is told in one sentence.

Holds no settings: those are in the instance's dagster.yaml.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from assets.errors import InputError

HOME = "DAGSTER_HOME"
LOCK = ".opening"
SHIPPED_INSTANCE = Path(__file__).resolve().parent / "instance"


class HistoryError(InputError):
    """A history that cannot be opened: no such folder, a file of settings with a fault, a database that does not answer."""


@contextmanager
def opened_history() -> Iterator[dg.DagsterInstance]:
    """The instance of this process; without DAGSTER_HOME the one of the checkout. Raises HistoryError."""
    home = Path(os.environ.setdefault(HOME, str(SHIPPED_INSTANCE)))
    if not home.is_absolute() or not home.is_dir():
        raise HistoryError(f"{HOME}: given {str(home)!r}; give the absolute path of a folder that is there, such as {SHIPPED_INSTANCE}")
    with _opened(home) as instance:
        try:
            yield instance
        except Exception as error:
            if not _is_of_a_database(error):
                raise
            raise HistoryError(
                f"the run history of {HOME}={home} could not be written any more ({_reason(error)}); what was published stays. Free space, or "
                "start the database, then run again: finished parts are kept"
            ) from None


def _opened(home: Path) -> dg.DagsterInstance:
    """The instance, once a database has answered."""
    try:
        with _alone(home):
            instance = dg.DagsterInstance.get()
            instance.get_run_records(limit=1)  # a database is asked for the first time here
    except Exception as error:  # each storage has its own, most of them no DagsterError
        raise HistoryError(
            f"the run history of {HOME}={home} cannot be opened ({_reason(error)}); docs/deployment.md says what it needs"
        ) from None
    return instance


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """While open, no other command opens this history: of two that lay out a new SQLite database at once, one fails on a table half made."""
    try:
        lock = (home / LOCK).open("a")
    except OSError:  # settings that nobody may write beside; their history is in a database elsewhere
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_of_a_database(error: BaseException | None) -> bool:
    """Whether a database is behind it, however a storage of Dagster's has wrapped that."""
    from sqlalchemy.exc import SQLAlchemyError

    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__
    return error is not None


def _reason(error: BaseException) -> str:
    """The innermost reason, which names server and database, never the password, in one line."""
    while (inner := error.__cause__ or getattr(error, "orig", None)) is not None:
        error = inner
    return " ".join(str(error).split())[:300] or type(error).__name__

"""The life of hosted terms in one answer: how long they may take, when they are closed."""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from engine.energy import Term
from engine.errors import Cancelled, OutOfTime
from engine.minimizer import never
from engine.problem import Problem

# of the work in this context: an exchange under way is given up when it says so
STOP: ContextVar[Callable[[], bool]] = ContextVar("STOP", default=never)


class Verdict(Protocol):
    """What a host says of plain values."""

    holds: bool

    def HasField(self, name: Any, /) -> bool: ...


class HostedTerm(Term):
    """Abstract: a term whose energy lives in another process."""

    decides: bool = False  # it says of plain values whether it holds

    @abstractmethod
    def judge(self, candidates: Sequence[Sequence[Any]]) -> Sequence[Verdict]:
        """What the host says of several candidates, in one call."""

    @abstractmethod
    def score_ahead(self, *tensors: Any) -> None:
        """Has the host score a batch, and remembers what it says of each state beside its row."""

    @abstractmethod
    def close(self) -> None:
        """End the stream; the next evaluation opens another."""


@dataclass(frozen=True)
class Patience:
    """How long hosts are waited for; as it stands, for ever. Each is asked every few moments."""

    searching: Callable[[], bool] = never  # no longer, while it is searched
    judging: Callable[[], bool] = never  # no longer, while the best so far is judged
    left: Callable[[], bool] = never  # the caller is gone: nobody waits for the best so far


@contextlib.contextmanager
def wait_until(stop: Callable[[], bool]) -> Iterator[None]:
    """Hosts are waited for until `stop` says so, also while a query is compiled. Raises OutOfTime
    for a call that was given up."""
    before = STOP.set(stop)
    try:
        yield
    except Cancelled:
        raise OutOfTime("a module did not answer before the deadline") from None
    finally:
        STOP.reset(before)


@contextlib.contextmanager
def attend(problem: Problem, patience: Patience) -> Iterator[None]:
    """Hosts are given up where `patience` ends, and their streams end with the block.

    Raises OutOfTime for an exchange that was given up, Cancelled where the caller left.
    """
    before = STOP.set(patience.searching)
    try:
        yield
    except Cancelled:
        if patience.left():
            raise
        raise OutOfTime("a module did not answer before the deadline") from None
    finally:
        STOP.reset(before)
        close_remotes(problem)


def may_still_judge(patience: Patience) -> bool:
    """An exchange was given up: whether the best so far may be judged, which from now on may take
    as long as `patience` says."""
    if not patience.left():
        STOP.set(patience.judging)
    return not patience.left()


def remotes_of(problem: Problem) -> list[HostedTerm]:
    """Every hosted term of a problem, those inside `|` too."""
    return [term for summand in problem.summands for term in hosted_in(summand.term)]


def hosted_in(term: Term) -> list[HostedTerm]:
    """The hosted terms of a term: itself, or those it is made of."""
    return [module for module in term.modules() if isinstance(module, HostedTerm)]


def close_remotes(problem: Problem) -> None:
    """End the streams of a problem that is solved."""
    for term in remotes_of(problem):
        term.close()

"""What the arguments of a client's calls may be, told in the words of a query's mistakes."""

from numbers import Real
from typing import Annotated, Any

from pydantic import Field

from engine.errors import BadQuery, Mistake, shown
from services.query.fields import Number, Params, Text, Truth, Whole
from services.query.model import Spec
from services.settings import Limits

LONGEST = 1e9  # seconds that a call may wait: more than gRPC counts


class Progressing(Spec):
    """How progress is told."""

    interval: Annotated[Number, Field(ge=0, allow_inf_nan=False)] = 0.0
    partial_values: Truth = False


class Wanted(Spec):
    """What a smallest change is asked for."""

    wanted: Params
    keep: tuple[Text, ...] = ()


class Page(Spec):
    """How many entries of a list come at once; 0: as many as the service sends."""

    page_size: Annotated[Whole, Field(ge=0, lt=2**31)] = 0


class Named(Spec):
    """One kind."""

    kind: Text


class Talking(Spec):
    """How a session reaches the service."""

    stream: Truth = True


def check_deadline(deadline: Any) -> None:
    """Raises BadQuery unless it is None, or seconds above 0."""
    if deadline is None:
        return
    if not isinstance(deadline, Real) or isinstance(deadline, bool):
        raise BadQuery(Mistake("deadline", f"{shown(deadline)} is no number", "give seconds"))
    seconds: Any = deadline
    if not 0 < seconds <= LONGEST:
        remedy = f"give seconds above 0, at most {LONGEST:g}"
        raise BadQuery(Mistake("deadline", f"{shown(deadline)} is out of range", remedy))


def check_limits(limits: Any) -> None:
    """Raises BadQuery unless they are limits."""
    if not isinstance(limits, Limits):
        remedy = "give Limits(...) of services.settings"
        raise BadQuery(Mistake("limits", f"{shown(limits)} is no Limits", remedy))

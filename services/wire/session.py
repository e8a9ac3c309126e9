"""What a session says as messages and back: how it stands, changes, questions."""

from collections.abc import MutableSequence, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from engine.errors import BadQuery, Mistake, TooLarge
from services.query import spec_of
from services.query.change import Change, Resolve
from services.settings import DEFAULT, Limits
from services.v1 import session_pb2, value_pb2
from services.wire.arrays import Content
from services.wire.evidence import rows_from_proto, rows_to_proto
from services.wire.fields import collect_mistakes, present, put_present
from services.wire.query import options_from_proto, options_to_proto, term_from_proto, term_to_proto


def change_to_proto(
    change: Change, raw: MutableSequence[bytes] | None = None
) -> session_pb2.Change:
    """A change as a message; bytes of its arrays are appended to `raw`, without which they become
    nested lists."""
    message = session_pb2.Change(drop=change.drop)
    for term in change.add:
        term_to_proto(term, message.add.add())
    if change.evidence is not None:
        made: list[value_pb2.Assignment] = []
        rows_to_proto([change.evidence], made, message.arrays, raw)
        message.evidence.CopyFrom(made[0])
    return message


def change_from_proto(
    message: session_pb2.Change, raw: Sequence[Content] = (), limits: Limits = DEFAULT
) -> Change:
    """The change of a message; raw: the contents of the outermost message. Raises BadQuery with
    every mistake, or TooLarge."""
    found: list[Mistake] = []
    data: dict[str, Any] = {"drop": tuple(message.drop)}
    data["add"] = tuple(
        collect_mistakes(found, f"add[{k}]", partial(term_from_proto, term, limits))
        for k, term in enumerate(message.add)
    )
    if message.HasField("evidence"):
        try:
            every = rows_from_proto([message.evidence], message.arrays, raw, limits)
            data["evidence"] = every[0]
        except TooLarge:
            raise
        except BadQuery as error:
            found += (_of_one_row(mistake) for mistake in error.mistakes)
    if found:
        raise BadQuery(*found[: limits.mistakes])
    return spec_of(Change, data, limits)


def _of_one_row(mistake: Mistake) -> Mistake:
    path = "evidence" + mistake.path.removeprefix("evidence[0]")
    if not mistake.path.startswith("evidence"):
        path = mistake.path
    return Mistake(path, mistake.problem, mistake.remedy)


def resolve_to_proto(resolve: Resolve) -> session_pb2.Resolve:
    """A question as a message."""
    options = resolve.options
    message = session_pb2.Resolve(
        options=options_to_proto(options), explain=options.explain, differ=options.differ
    )
    put_present(message, seconds=resolve.seconds, steps=resolve.steps)
    return message


def resolve_from_proto(message: session_pb2.Resolve, limits: Limits = DEFAULT) -> Resolve:
    """The question of a message. Raises BadQuery with every mistake, or TooLarge."""
    asked = {"explain": message.explain, "differ": tuple(message.differ)}
    options = options_from_proto(message.options, limits, **asked)
    return spec_of(Resolve, present(message, "seconds", "steps") | {"options": options}, limits)


def session_to_proto(
    terms: Sequence[str], identifier: str = "", expiry: datetime | None = None
) -> session_pb2.Session:
    """How a session stands, as a message. identifier: empty for a stream. expiry: with a time zone;
    None: it has ended."""
    message = session_pb2.Session(id=identifier, terms=terms)
    if expiry is not None:
        message.expire_time.FromDatetime(expiry)
    return message


def expiry_of(message: session_pb2.Session) -> datetime | None:
    """When a session ends if nothing is asked of it, in UTC; None: it has ended."""
    if not message.HasField("expire_time"):
        return None
    return message.expire_time.ToDatetime(UTC)

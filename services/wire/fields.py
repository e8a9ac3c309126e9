"""What all conversions share: absent fields, mistakes with their paths."""

from collections.abc import Callable
from typing import Any

from engine.errors import BadQuery, BasinError, Mistake


def enum_member(kind: Any, enum: Any, number: int, prefix: str) -> Any:
    name = enum.Name(number) if number in enum.values() else str(number)
    if name.removeprefix(prefix) not in kind.__members__:
        raise BasinError(f"the service sent {name}, which this version does not know")
    return kind[name.removeprefix(prefix)]


def put_present(message: Any, **fields: Any) -> None:
    """Fill optional fields; None leaves one out."""
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)


def present(message: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def collect_mistakes(found: list[Mistake], path: str, make: Callable[[], Any]) -> Any:
    """What `make` makes; its mistakes go to `found` instead."""
    try:
        return make()
    except BadQuery as error:
        found.extend(error.under(path).mistakes)
        return None

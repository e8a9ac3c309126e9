"""The type of parameters that name a file, by which callers elsewhere are kept inside a folder."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Annotated, Any, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel, Field, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from engine.errors import BadQuery

FILE = "file"  # what pydantic calls a name that is refused
Confine = Callable[[str], str]  # the file that a name may mean; raises BadQuery


class Confined:
    """Marks a type as one that names a file: `Annotated[str, Confined()]`, or of a `Path`.

    Where a caller elsewhere gives it, at any depth of the parameters, `validated` has it mean a
    file of the folder such callers may name.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def inside(name: Any, info: ValidationInfo) -> Any:
            if info.context is None:
                return name
            try:
                return type(name)(info.context[FILE](str(name)))
            except BadQuery as error:
                mistake = error.mistakes[0]
                told = {"problem": mistake.problem, "remedy": mistake.remedy}
                raise PydanticCustomError(FILE, "{problem}", told) from None

        return core_schema.with_info_after_validator_function(inside, handler(source))


File = Annotated[str, Confined(), Field(json_schema_extra={"format": "file"})]


@functools.cache
def names_files(model: type[BaseModel]) -> bool:
    """Whether a field of a model, at any depth, names a file."""
    return any(True for _ in _named(model, "", ()))


def loose_files(model: type[BaseModel]) -> list[str]:
    """The fields of a model, by their paths, that name a file and are not `Confined`: paths of any
    sort at any depth, and a text that is called `weights`."""
    every = _named(model, "", ())
    return list(dict.fromkeys(path for path, confined in every if not confined))


def _named(kind: Any, path: str, inside: tuple[Any, ...]) -> Iterator[tuple[str, bool]]:
    """What names a file in a type, by its path, and whether it is `Confined`."""
    if kind in inside:  # a type that is made of itself
        return
    if get_origin(kind) is Annotated:
        bare, *marks = get_args(kind)
        if any(isinstance(mark, Confined) for mark in marks):
            yield path, True
        else:
            yield from _named(bare, path, inside)
    elif alias := getattr(kind, "__value__", None):
        yield from _named(alias, path, (*inside, kind))
    elif get_args(kind):
        for argument in get_args(kind):
            yield from _named(argument, path, inside)
    elif _is_file(kind, path):
        yield path, False
    elif isinstance(kind, type) and _made_of_fields(kind):
        for name, field in _fields(kind):
            yield from _named(field, f"{path}.{name}" if path else name, (*inside, kind))


def _is_file(kind: Any, path: str) -> bool:
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return True
    return kind is str and path.rpartition(".")[2] == "weights"


def _made_of_fields(kind: type) -> bool:
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return (
        issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind) or named or is_typeddict(kind)
    )


def _fields(kind: type) -> Iterator[tuple[str, Any]]:
    """The names and types of what a record holds, with what they are annotated by."""
    if not issubclass(kind, BaseModel):
        yield from get_type_hints(kind, include_extras=True).items()
        return
    for name, field in kind.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Confined)]
        yield name, Annotated[field.annotation, marks[0]] if marks else field.annotation

"""What the parameter models of kinds share: nothing but the declared fields, and never changed."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A checked number; whole ones stay whole, as float64 would round those of 17 digits."""
    checked = check(value)
    return value if type(value) is int else checked


Site = Annotated[StrictInt, Field(ge=0)]  # flat place, row-major, through the whole scope
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean"]})]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), WrapValidator(_as_given)]
Literal = tuple[Site, Value]
SignedLiteral = tuple[Site, Value, StrictBool]
WeighedLiteral = tuple[Site, Value, Number]


class Strict(BaseModel):
    """A frozen model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

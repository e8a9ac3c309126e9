"""What the parameter models of kinds share: nothing but the declared fields, and never changed."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, WithJsonSchema

Site = Annotated[StrictInt, Field(ge=0)]  # flat place, row-major, through the whole scope
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean"]})]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Literal = tuple[Site, Value]
SignedLiteral = tuple[Site, Value, StrictBool]
WeighedLiteral = tuple[Site, Value, Number]


class Strict(BaseModel):
    """A frozen model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

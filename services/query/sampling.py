"""What samples are asked for."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from engine.errors import Mistake, TooLarge
from services.query.fields import Number, Whole
from services.query.model import Spec, spec_of
from services.settings import DEFAULT, Limits


class Sampling(Spec):
    """How many draws, and how hot."""

    count: Annotated[Whole, Field(ge=1)] = Field(description="Draws for each row.")
    temperature: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="In units of the energy: p is proportional to exp(-energy / temperature)."
    )


def sampling_of(data: Mapping[str, Any], limits: Limits = DEFAULT) -> Sampling:
    """What is asked, from plain data. Raises BadQuery with every mistake, or TooLarge."""
    wishes = spec_of(Sampling, data, limits)
    if wishes.count > limits.samples:
        raise TooLarge(Mistake("count", f"{wishes.count}", limits.told("samples")))
    return wishes

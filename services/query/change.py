"""What may be asked of a session: a change, and the answer as things stand."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializationInfo, field_serializer, field_validator

from engine.errors import Mistake
from services.query.fields import Number, Row, Text, Whole
from services.query.mistakes import wrong
from services.query.model import Options, Spec, TermSpec, written_row


class Change(Spec):
    """What becomes of a query; all of it applies, or nothing."""

    inner: ClassVar[Mapping[str, type[Spec]]] = {"add": TermSpec}

    drop: tuple[Text, ...] = Field((), description="Names of terms; done first.")
    add: tuple[TermSpec, ...] = Field((), description="Terms, each under a name of its own.")
    evidence: Row | None = Field(
        None, description="In place of all that was given before; null: as before."
    )

    @field_serializer("evidence")
    def _written(
        self, evidence: Mapping[str, Any] | None, info: SerializationInfo
    ) -> dict[str, Any] | None:
        return None if evidence is None else written_row(evidence, (), info.mode_is_json())


class Resolve(Spec):
    """The answer as things stand, before its own deadline."""

    inner: ClassVar[Mapping[str, type[Spec]]] = {"options": Options}

    seconds: Annotated[Number, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="The best so far comes back before they have passed."
    )
    steps: Annotated[Whole, Field(ge=0, lt=2**63)] | None = None
    options: Options = Options()

    @field_validator("options")
    @classmethod
    def _searched(cls, options: Options) -> Options:
        if options.score:
            wrong(mistakes=[Mistake("score", "a session searches", "leave it out")])
        return options

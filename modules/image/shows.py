"""What a picture shows that is itself asked for: the energy of a label, with slopes to pixels."""

import random
from collections.abc import Iterator, Sequence

from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from engine.domain import Finite, Real, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake
from modules.image._generated.numbers import shape_of_numbers
from modules.image.classifier.pictures import squared
from modules.image.classifier.reader import FOLDER, load_reader
from modules.parameters import Strict
from modules.shared.files import File

DIGITS = "digits8.safetensors"


class Parameters(Strict):
    """Which classifier, and what the values mean."""

    weights: File = Field(
        description="A file of `basin train image.classifier`; a bare name is also looked for "
        "beside the kinds that ship with Basin."
    )
    labels: list[str] | None = Field(
        None,
        description="The label that each value of the variable stands for; without it, the value "
        "as a text.",
    )


class Shows(Term):
    """The label of a picture that is searched: light strokes on black, from 0 to 1.

    E = -ln p(label | picture, one of the variable's values), in nats, p of `image.classifier`;
    pixels and label may both be open. Beside an energy of pictures this asks for a picture of a
    label. Pictures that are given are read by `image.classifier`, whatever their ink and scale.
    Scope: the picture (height, width) of real numbers, and one site of finite values. BadQuery:
    other shapes, weights that are none, a value whose label was not learned.
    """

    calibrated = True
    shipped = FOLDER

    def __init__(
        self,
        picture: Variable | View,
        shown: Variable | View,
        weights: str,
        labels: Sequence[str] | None = None,
    ):
        super().__init__(picture, shown)
        shape_of_numbers(self.scope[0], "scope[0]")
        domain = self.scope[1].variable.domain
        if not isinstance(domain, Finite) or self.scope[1].places.size != 1:
            raise BadQuery(Mistake("scope[1]", "is no single label", "give values, and no shape"))
        values = domain.values
        told = [str(value) for value in values] if labels is None else list(labels)
        if len(told) != len(values):
            problem = f"{len(told)} labels for {len(values)} values"
            raise BadQuery(Mistake("labels", problem, "give one for each value"))
        reader = load_reader(weights)
        self.columns, self.side = reader.columns(told), reader.side
        self.temperature = reader.temperature
        self.net = reader.net

    def logs(self, picture: Tensor) -> Tensor:  # (B, h, w) -> (B, k)
        x = squared(picture)[:, None]
        if x.shape[-1] != self.side:
            x = interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        logits = self.net(x) / self.temperature
        return logits[:, self.columns].log_softmax(-1)

    def energy(self, picture: Tensor, shown: Tensor) -> Tensor:  # (B, h, w), (B, ..., k) -> (B,)
        return -(self.logs(picture) * shown.flatten(1)).sum(1)

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Shows":
        picture = Variable("picture", Real((8, 8), 0.0, 1.0))
        return cls(picture, Variable("shown", Finite((0, 1, 2))), weights=DIGITS)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Shows"]:
        while not scope:
            size = rng.randint(6, 10)
            values = tuple(rng.sample(range(10), rng.randint(2, 5)))
            picture = Variable("picture", Real((size, size), 0.0, 1.0))
            yield cls(picture, Variable("shown", Finite(values)), weights=DIGITS)

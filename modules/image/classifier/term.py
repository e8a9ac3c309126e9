"""What pictures show: the calibrated energy of a label for each picture that is given."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Given, Input, Real, Told, Variable, View
from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from modules.image.classifier.pictures import Ink
from modules.image.classifier.reader import FOLDER, load_reader
from modules.parameters import Number, Strict
from modules.shared.files import File

KIND = "image.classifier"
CHARACTERS = "characters.safetensors"
BAND = 0.999
REMEMBERED = 1024  # rows of pictures whose reading is kept: a search asks, then the check of it


class Parameters(Strict):
    """Where the weights lie, what the values mean, and which pictures are stood by."""

    weights: File = Field(
        CHARACTERS,
        description="A file of `basin train image.classifier`; a bare name is also looked for "
        "beside the kinds that ship with Basin.",
    )
    labels: list[str] | None = Field(
        None,
        description="The label that each value of the variable stands for; without it, the value "
        "as a text.",
    )
    ink: Ink | None = Field(None, description="Dark or light strokes; without it, found.")
    band: Annotated[Number, Field(gt=0, le=1)] = Field(
        BAND, description="Abstain where a picture is stranger than this share of held-out ones."
    )


class _Reading(NamedTuple):
    """What the pictures of a row say."""

    costs: Tensor  # (n, k) float64, 0 where there is no picture
    away: Tensor  # (n,) float64, how unusual they are


class Classifier(Term):
    """Labels of pictures, learned from examples.

    E = sum over present pictures of -ln p(label | picture, one of the variable's values), in nats;
    p: softmax of a convolutional network at one temperature fitted on held-out pictures. A picture
    that is given is one table over its site; an absent one contributes nothing. Pictures (n, h, w)
    belong to the sites in order, or one (h, w) to one site; any size, scale and ink. A site whose
    picture lies farther from all labels than nearly all held-out ones is named, and the answer
    flagged ABSTAIN. Sources: Guo
    et al., ICML 2017; Lee, Lee, Lee, Shin, NeurIPS 2018. BadQuery: weights that are none, a value
    whose label was not learned, not as many pictures as sites, a variable of real numbers.
    """

    calibrated = True
    partial = True
    fixed_structure = True
    shipped = FOLDER
    data_sets = ("digits",)  # of scikit-learn

    def __init__(
        self,
        pictures: Input | View,
        shown: Variable | View,
        weights: str = CHARACTERS,
        labels: Sequence[str] | None = None,
        ink: Ink | None = None,
        band: float = BAND,
    ):
        super().__init__(pictures, shown)
        self.characters = load_reader(weights)
        told, asked = self.scope
        domain = asked.variable.domain
        if not isinstance(domain, Finite):
            remedy = "name a variable with a list of values"
            raise BadQuery(Mistake("scope[1]", f"{asked.variable.name} has real values", remedy))
        single = len(told.shape) == 2 and asked.places.size == 1
        if not single and (len(told.shape) != 3 or told.shape[0] != asked.places.size):
            problem = f"{told.variable.name} has the shape {[*told.shape]}"
            remedy = f"give pictures of shape [{asked.places.size}, height, width], one a site"
            raise BadQuery(Mistake("scope[0]", problem, remedy))
        values = domain.values
        self.labels = tuple(str(v) for v in values) if labels is None else tuple(labels)
        if len(self.labels) != len(values):
            problem = f"{len(self.labels)} labels for {len(values)} values"
            raise BadQuery(Mistake("labels", problem, "give one for each value"))
        self.characters.columns(self.labels)
        self.ink = ink
        self.usual = self.characters.band(band)
        self._known: dict[bytes, _Reading] = {}  # by what is read

    def costs(self, pictures: Given) -> Tensor:  # (B, n, h, w), (B, n) -> (B, n, k) float64
        return torch.stack([one.costs for one in self._read(pictures)]).to(pictures.values.device)

    def _read(self, pictures: Given) -> list[_Reading]:
        """What each row of pictures says; each is looked at once. (B, n, h, w), (B, n) -> B"""
        values, present = (x.detach().cpu() for x in pictures)
        if values.dim() == 3:  # one picture, of which every line has to be there
            values, present = values[:, None], present.all(1, keepdim=True)
            values = values * present[..., None, None]
        keys = [_key(*row) for row in zip(values, present, strict=True)]
        known = dict(self._known)
        first = {key: k for k, key in enumerate(keys) if key not in known}
        if first:
            rows = torch.tensor(list(first.values()))
            every = self._looked(values[rows], present[rows])
            known.update(zip(first, every, strict=True))
            self._known = dict(list(known.items())[-REMEMBERED:])
        return [known[key] for key in keys]

    @torch.no_grad()
    def _looked(self, values: Tensor, present: Tensor) -> list[_Reading]:
        """The same by the network. (B, n, h, w), (B, n) -> B"""
        costs = torch.zeros(*present.shape, len(self.labels), dtype=torch.float64)
        away = torch.zeros(present.shape, dtype=torch.float64)
        if bool(present.any()):
            logs, far = self.characters.read(values[present], self.labels, self.ink)
            costs[present], away[present] = -logs, far
        return [_Reading(*row) for row in zip(costs, away, strict=True)]

    def energy(self, pictures: Given, shown: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        costs = self.costs(pictures).to(shown.dtype)
        return (costs * shown.reshape(costs.shape)).sum((1, 2))

    def cost(self, pictures: Given, shown: Tensor) -> Tensor:  # (B, *shape) -> (B,)
        costs = self.costs(pictures)
        return costs.gather(2, shown.reshape(len(shown), -1, 1))[..., 0].sum(1)

    def factors(self, pictures: Domain, shown: Domain) -> Factors:  # a table a picture
        assert isinstance(pictures, Told)
        given = Given(pictures.tensor.to(self.dtype), pictures.present)
        return Factors.unary(self.costs(given).cpu().numpy())

    def floor(self) -> float:
        return 0.0

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Given | Tensor]) -> Tensor:
        pictures = tensors[0]
        assert isinstance(pictures, Given)
        away = torch.stack([one.away for one in self._read(pictures)])
        return away <= self.usual

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.image.classifier.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "Classifier":
        pictures = Input("pictures", Real((4, 8, 8)))
        shown = Variable("shown", Finite((0, 1, 2, 3), (2, 2)))
        return cls(pictures, shown, weights="digits8.safetensors")

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Classifier"]:
        while not scope:
            n, side = rng.randint(1, 4), rng.randint(6, 12)
            values = tuple(rng.sample(range(10), rng.randint(2, 5)))
            yield cls(
                Input("pictures", Real((n, side, side))),
                Variable("shown", Finite(values, (n,))),
                weights="digits8.safetensors",
            )


def _key(values: Tensor, present: Tensor) -> bytes:
    """Tells the pictures of a row from others. (n, h, w), (n,)"""
    made = hashlib.blake2b(present.numpy().tobytes(), digest_size=16)
    made.update(values.contiguous().numpy().data)
    return made.digest()

"""Images of bits: a small convolutional energy, learned from examples."""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from engine.domain import Domain, Finite, Variable, View
from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from modules.parameters import Strict, validated
from modules.shared.bits import read_bits
from modules.shared.files import File
from modules.shared.training import train_and_save
from modules.shared.weights import Weights, read_weights, understood

KIND = "discrete.binary_image"
REMEDY = f"make it with `basin train {KIND} --data FILE --out W.safetensors`"


class Parameters(Strict):
    """Where the weights lie."""

    weights: File = Field(
        description="A file of `basin train discrete.binary_image`; a bare name is also looked for "
        "beside the kinds that ship with Basin."
    )


class Options(Strict):
    """What may be given as `params` of `basin train`."""

    shape: tuple[Annotated[int, Field(ge=4, le=256)], Annotated[int, Field(ge=4, le=256)]] = Field(
        examples=[[14, 14]]
    )
    channels: int = Field(8, ge=1, le=256)


class BinaryImage(Term):
    """The energy of an image of bits, learned from examples.

    E(x) = net(x) - sum over pixels of ln Bernoulli(x_i; mean_i), in nats: exp(-E) / Z is the chance
    of an image. net: three convolutions, then a linear map of their mean. Not affine, no explicit
    structure: open pixels are searched with gradient-informed moves, and nothing is proved.
    `digits14.safetensors` (14 x 14 digits) ships with Basin; `examples/digits.py` makes its data
    and names the command; training was cut short after 501 of
    2,000 steps. Source of the objective: Schroeder et al., NeurIPS 2024, grid channel.
    BadQuery: no such file, an image of another shape, a pixel with other than two values.
    """

    affine = False
    calibrated = True

    def __init__(self, image: Variable | View, weights: str):
        super().__init__(image)
        learned = read_weights(weights, KIND, Path(__file__).parent)
        (view,) = self.scope
        with understood(weights, "network of images", REMEDY):
            shape = tuple(learned.settings["shape"])
            self._build(shape, int(learned.settings["width"]))
            self.load_state_dict(dict(learned.tensors))
        domain = view.variable.domain
        if not isinstance(domain, Finite) or len(domain.values) != 2:
            raise BadQuery(Mistake("scope[0]", "has no pixels of two values", "values: [0, 1]"))
        if view.shape != shape:
            problem = f"has the shape {list(view.shape)}"
            raise BadQuery(Mistake("scope[0]", problem, f"these images have {list(shape)}"))
        self.requires_grad_(False)

    @classmethod
    def untrained(cls, image: Variable, width: int, mean: Tensor, seed: int) -> "BinaryImage":
        """A network to be trained, over the mean image (H, W)."""
        term = cls.__new__(cls)
        Term.__init__(term, image)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            term._build(tuple(mean.shape), width)
        mean = mean.clamp(0.01, 0.99)
        term.base.copy_(torch.stack([(1 - mean).log(), mean.log()], -1))
        return term

    def _build(self, shape: tuple[int, ...], width: int) -> None:
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, 2, padding=1),
            nn.SiLU(),
        )
        self.last = nn.Linear(4 * width, 1)
        self.register_buffer("base", torch.zeros(*shape, 2))
        self.base: Tensor
        self.width = width

    def energy(self, image: Tensor) -> Tensor:  # (B, H, W, 2) -> (B,)
        pixels = (2 * image[..., 1] - 1)[:, None].to(self.last.weight.dtype)
        features = self.net(pixels).sum((-1, -2))
        return self.last(features)[:, 0] - (image * self.base).sum((1, 2, 3))

    def factors(self, *domains: Domain) -> None:
        return None

    def weights(self, made: str) -> Weights:
        """What `write_weights` keeps; `made` is the command that made it."""
        settings = {"shape": list(self.base.shape[:2]), "width": self.width, "made": made}
        return Weights(self.state_dict(), settings)

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        """Params: shape [height, width] of the images, channels of the first convolution."""
        from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood

        options = Options(**validated(Options, lesson.params, KIND))
        shape, width = options.shape, options.channels
        examples = read_bits(lesson.data, shape)
        image = Variable("image", Finite((0, 1), shape))
        term = cls.untrained(image, width, examples.float().mean(0), lesson.seed)
        objective = PseudoLikelihood(sites=8, clip=5.0)
        return train_and_save(lesson, KIND, term, examples, objective, term.weights)

    @classmethod
    def example(cls) -> "BinaryImage":
        return cls(Variable("image", Finite((0, 1), (14, 14))), weights="digits14.safetensors")

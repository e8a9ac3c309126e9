"""How `image.classifier` learns: augmented pictures, one temperature, what is usual."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, StrictInt
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine.domain import State
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.learning.optimizers import AdamW
from engine.random import Stream
from modules.image.classifier.augmentation import Augmentation
from modules.image.classifier.examples import Labelled, labelled_pictures
from modules.image.classifier.network import WIDTHS, Network, seen_by
from modules.image.classifier.nothing import NONE, nothing
from modules.image.classifier.pictures import Ink, prepared
from modules.image.classifier.reader import QUANTILES, Reader, load_reader
from modules.parameters import Number, Strict, validated
from modules.shared.band import Nearest, fit_nearest
from modules.shared.files import File
from modules.shared.training import one_thread

try:
    from engine.learning.examples import Stored
    from engine.learning.recipe import Recipe, Trained
    from engine.learning.train import train
except ImportError as error:  # the extra `train` is not installed
    raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None

KIND = "image.classifier"
HELD, MOST_HELD = 0.1, 3_000  # share of pictures held out, and how many at most
PICTURES = 60_000 * 20  # that a training sees, in all passes together
NOTHING = 7  # of the stream of a seed: what pictures of noise are drawn from
COLDEST, HOTTEST, COOLINGS = 0.2, 5.0, 60  # temperatures that are tried


class Options(Strict):
    """What may be given as `params` of a training."""

    side: Annotated[StrictInt, Field(ge=12, le=128)] = Field(
        28, description="Of the pictures as the network sees them."
    )
    widths: tuple[
        Annotated[StrictInt, Field(ge=1, le=1024)],
        Annotated[StrictInt, Field(ge=1, le=1024)],
        Annotated[StrictInt, Field(ge=1, le=1024)],
    ] = Field(WIDTHS, description="Channels of the three pairs of convolutions.")
    ink: Ink | None = Field(None, description="Dark or light strokes; without it, found.")
    least: Annotated[StrictInt, Field(ge=0)] = Field(
        0, description="Pictures of rarer labels are shown again until there are so many."
    )
    nothing: Annotated[StrictInt, Field(ge=0)] = Field(
        0, description="Pictures of noise that are shown beside, under the label `none`."
    )
    start: File | None = Field(None, description="Weights to begin at; labels may differ.")
    rate: Annotated[Number, Field(gt=0, le=1)] = 4e-3
    batch: Annotated[StrictInt, Field(ge=2, le=4096)] = 128


@dataclass(frozen=True)
class Labelling(Objective[tuple[()]]):
    """loss = - mean over pictures of ln p(label | augmented picture), in bfloat16 where the
    processor has it."""

    augmentation: Augmentation = field(default_factory=Augmentation)

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        pictures = batch["pictures"][:, None].float() / 255
        with torch.no_grad():
            seen = self.augmentation(pictures, rng)
        with torch.autocast(seen.device.type, torch.bfloat16, enabled=has_bfloat16()):
            logits = nets["net"](seen)
        yield Update("net", cross_entropy(logits.float(), batch["labels"]), 5.0)
        return s


def has_bfloat16() -> bool:
    """Whether this processor multiplies numbers of 16 bits fast."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True, eq=False)
class Fitted:
    """held: how many pictures were held out; right: the share of them that is read right, at what
    -ln p on average."""

    reader: Reader
    trained: Trained
    held: int
    right: float
    loss: float


def fitted(
    examples: Labelled,
    options: Options,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    work: Path | None = None,
    held: Labelled | None = None,
    progress: bool | None = None,
) -> Fitted:
    """Trains a network on labelled pictures, then fits temperature and band on those held out.

    held: pictures for that, beside a tenth of the examples (3,000 at most) that is always held out.
    Raises BadQuery for labels of too few pictures.
    """
    examples = with_nothing(examples, options.nothing, seed)
    labels = examples.known
    x = _bytes(prepared(examples.pictures, options.side, options.ink))
    y = torch.tensor([labels.index(label) for label in examples.labels])
    own, apart = parted(y, seed)
    own = evened(y, own, options.least)
    net = _begun(labels, options, seed)
    count = steps or max(1, min(PICTURES, 400 * len(own)) // options.batch)
    batch = min(options.batch, len(own))
    recipe = Recipe(
        steps=count,
        batch=batch,
        optimizers={"net": AdamW(options.rate, weight_decay=0.02)},
        warm=max(1, count // 8),
        average=0.998,
        every=max(1, min(500, count // 10)),
        seconds=seconds,
        seed=seed,
    )
    stored = Stored({"pictures": x[own], "labels": y[own]})
    trained = train(Labelling(), {"net": net}, stored, recipe, work=work, progress=progress)
    net.eval().requires_grad_(False)
    seen, shown = _floats(x[apart]), y[apart]
    if held is not None:
        more = prepared(held.pictures, options.side, options.ink)
        seen = torch.cat([seen, more])
        known = [labels.index(label) for label in held.labels]
        shown = torch.cat([shown, torch.tensor(known)])
    features, logits = seen_by(net, seen)
    temperature = temperature_of(logits.double(), shown, shares(y[own], shown))
    usual = usual_features(net, x[own], y[own], labels)
    some = shown != labels.index(NONE) if NONE in labels else torch.ones_like(shown) > 0
    away = usual.away(features[some])
    quantiles = torch.quantile(away, torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
    reader = Reader(labels, options.side, net, temperature, usual, tuple(quantiles))
    right = float((logits.argmax(1) == shown).double().mean())
    loss = float(cross_entropy(logits.double() / temperature, shown))
    return Fitted(reader, trained, len(seen), right, loss)


def with_nothing(examples: Labelled, count: int, seed: int) -> Labelled:
    """The examples and so many pictures of noise, of the largest number that they hold."""
    if not count:
        return examples
    pictures = examples.pictures.float()
    high, wide = pictures.shape[1:]
    rng = Stream(seed, torch.zeros(1, dtype=torch.int64)).fork(NOTHING)
    drawn = nothing(count, high, wide, rng)
    every = torch.cat([pictures, drawn * pictures.max()])
    return Labelled(every, [*examples.labels, *[NONE] * count])


def usual_features(net: Network, x: Tensor, y: Tensor, labels: Sequence[str]) -> Nearest:
    """What is usual for each label but `none`. (n, s, s) uint8, (n,)"""
    named = torch.tensor([k for k, label in enumerate(labels) if label != NONE])
    place = torch.full((len(labels),), -1).scatter(0, named, torch.arange(len(named)))
    own = place[y] >= 0
    return fit_nearest(seen_by(net, _floats(x[own]))[0], place[y[own]], len(named))


def _bytes(pictures: Tensor) -> Tensor:
    """(n, 1, s, s) in [0, 1] -> (n, s, s) uint8"""
    return (255 * pictures[:, 0]).round().to(torch.uint8)


def _floats(pictures: Tensor) -> Tensor:
    """(n, s, s) uint8 -> (n, 1, s, s) in [0, 1]"""
    return pictures[:, None].float() / 255


def _begun(labels: Sequence[str], options: Options, seed: int) -> Network:
    """A network to be trained; it begins at random, or where another one stands."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Network(len(labels), options.widths)
    if options.start is None:
        return net
    other = load_reader(str(options.start))
    if other.net.widths != options.widths or other.side != options.side:
        problem = f"{options.start} has side {other.side} and widths {list(other.net.widths)}"
        raise BadQuery(Mistake("params.start", problem, "give the same side and widths"))
    net.body.load_state_dict(other.net.body.state_dict())
    with torch.no_grad():
        for k, label in enumerate(labels):
            if label in other.labels:
                there = other.labels.index(label)
                net.last.weight[k] = other.net.last.weight[there]
                net.last.bias[k] = other.net.last.bias[there]
    return net


def parted(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Places of pictures to learn from, and of those held out, each label in its share.

    Raises BadQuery where a label has too few pictures. (n,) -> (m,), (n - m,)
    """
    own, apart = [], []
    share = min(HELD, MOST_HELD / len(labels))
    for label in labels.unique().tolist():
        places = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
        out = max(1, round(share * len(places)))
        apart.append(places[order[:out]])
        own.append(places[order[out:]])
    return torch.cat(own), torch.cat(apart)


def evened(labels: Tensor, places: Tensor, least: int) -> Tensor:
    """The places, those of rarer labels again until there are `least`. -> (m,)"""
    out = []
    for label in labels[places].unique().tolist():
        own = places[labels[places] == label]
        out.append(own.repeat(max(1, -(-least // len(own)))))
    return torch.cat(out)


def shares(labels: Tensor, held: Tensor) -> Tensor:
    """How much each picture that is held out counts, so that each label does as often as it is
    shown. (m,), (n,) -> (n,)"""
    count = int(labels.max()) + 1
    often = labels.bincount(minlength=count).double() / len(labels)
    return often[held] / (held.bincount(minlength=count).double() / len(held))[held]


def temperature_of(logits: Tensor, labels: Tensor, weights: Tensor) -> float:
    """argmin_T of -sum w ln softmax(logits / T)[label], by golden section over ln T; it has one
    minimum in 1 / T. (n, k), (n,), (n,)"""

    def loss(log: float) -> float:
        paid = cross_entropy(logits / torch.tensor(log).exp(), labels, reduction="none")
        return float((weights * paid).sum())

    ratio = (5**0.5 - 1) / 2
    low, high = (float(torch.tensor(t).log()) for t in (COLDEST, HOTTEST))
    for _ in range(COOLINGS):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) <= loss(b) else (a, high)
    return float(torch.tensor((low + high) / 2).exp())


def learn(lesson: Lesson) -> list[str]:
    """Learns from labelled pictures, writes the weights, and says what was learned."""
    options = Options(**validated(Options, lesson.params, KIND))
    examples = labelled_pictures(lesson.data)
    with one_thread():
        made = fitted(
            examples,
            options,
            steps=lesson.steps,
            seconds=lesson.seconds,
            seed=lesson.seed,
            work=lesson.work,
        )
    made.reader.told_by(lesson.command).save(lesson.out)
    trained = made.trained
    return [
        f"{len(examples.labels)} pictures of {len(made.reader.labels)} labels: "
        + ", ".join(made.reader.labels),
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}",
        f"of {made.held} held-out pictures {100 * made.right:.2f} % are read right, at "
        f"-ln p = {made.loss:.4f} on average and temperature {made.reader.temperature:.3f}",
        f"wrote {lesson.out}",
    ]

"""How `language.model` learns: one text, read as many streams side by side, its end held out."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.domain import State
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.learning.naming import digest
from engine.learning.objective import Nets
from engine.learning.objectives.teacher_forcing import TeacherForcing
from engine.learning.optimizers import AdamW
from engine.random import Stream
from modules.language.model.causal import Causal
from modules.language.model.model_file import rounded, write_model
from modules.language.model.network import CharacterNet, Dropped
from modules.language.model.recalling import FEWEST, Recalling
from modules.parameters import Number, Strict, validated
from modules.shared.reading.examples import text_of
from modules.shared.training import one_thread

try:
    from engine.learning.examples import Examples
    from engine.learning.recipe import Recipe
    from engine.learning.train import train
except ImportError as error:  # the extra `train` is not installed
    raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None

KIND = "language.model"
STEPS = 3_000
PIECES = 32  # of a stream, before it begins again elsewhere
LEAST = 1_000  # characters of a text to learn from
LETTERS = 4_096  # different characters at most
LOOK = 250  # steps from one look at the held-out end to the next
CHECKED = 20_000  # characters of it that are looked at while training
CONTEXT = 256  # characters that are read before those that are scored
BESIDE = 16  # pieces of the held-out end that are read side by side


class Options(Strict):
    """What may be given as `params` of a training."""

    hidden: Annotated[StrictInt, Field(ge=8, le=4096)] = 480
    embedded: Annotated[StrictInt, Field(ge=4, le=1024)] = 96
    rows: Annotated[StrictInt, Field(ge=1, le=4096, description="Streams side by side.")] = 64
    length: Annotated[StrictInt, Field(ge=8, le=4096, description="Characters of a piece.")] = 128
    rate: Annotated[Number, Field(gt=0, le=1)] = 4e-3
    held_out: Annotated[Number, Field(ge=0, lt=1, description="Share, of the end.")] = 0.05
    dropped: tuple[
        Annotated[Number, Field(ge=0, lt=1)],
        Annotated[Number, Field(ge=0, lt=1)],
        Annotated[Number, Field(ge=0, lt=1)],
    ] = Field((0.1, 0.3, 0.1), description="Of inputs, outputs and recurrent weights.")
    recall: Annotated[StrictInt, Field(ge=0, le=65_536)] = Field(
        1_024, description="How many letters back a text is searched for what it said before."
    )


@dataclass(frozen=True, eq=False)
class Streams(Examples):
    """Pieces of one text, one behind the other in each of the rows; after some, a row goes on
    elsewhere, and knows nothing then. Which piece stands where is a function of the step."""

    text: Tensor  # (N,) tokens
    beginning: int  # the token before a text
    length: int

    def batch(self, size: int, step: int, rng: Stream) -> State:
        row = torch.arange(size)
        count = step + row * PIECES // size  # rows begin again at different steps
        turn = count // PIECES
        first = torch.empty(size, dtype=torch.long)
        for k in turn.unique().tolist():
            u = rng.at(k).uniform(1, size, dtype=torch.float64)[0]
            start = (u * len(self.text)).long()
            first = torch.where(turn == k, start, first)
        fresh = (count % PIECES == 0) | (torch.tensor(step) == 0)
        at = first + count % PIECES * self.length
        place = (at[:, None] + torch.arange(-1, self.length)) % len(self.text)
        tokens = self.text[place]  # (size, length + 1)
        before = tokens[:, :-1].clone()
        before[fresh, 0] = self.beginning
        return {"before": before, "text": tokens[:, 1:], "fresh": fresh}

    def mark(self) -> str:
        return f"{digest([self.text])} by {self.length}"


@torch.no_grad()
def nats_per_character(net: Causal, text: Tensor, before: Tensor) -> float:
    """-ln p of the characters of a text, each given all before it, those of `before` too. In
    pieces, each given so many characters as `before` has. (N,), (M,) -> nats"""
    count = max(1, min(BESIDE, len(text) // 512))
    each = len(text) // count
    whole = torch.cat([before, text])
    rows = torch.stack([whole[k * each : k * each + len(before) + each] for k in range(count)])
    known = tuple(t.expand(count, *t.shape[1:]) for t in net.begin())
    losses = net.losses(known, rows)[:, len(before) :]
    return float(losses.double().mean())


@dataclass(frozen=True)
class Held:
    """The figure that training should lower: nats per character of the held-out end."""

    text: Tensor
    before: Tensor

    def __call__(self, nets: Nets) -> float:
        net = nets["model"]
        assert isinstance(net, CharacterNet)
        return nats_per_character(net, self.text[:CHECKED], self.before)


def learn(lesson: Lesson) -> list[str]:
    """Learns from a text, writes the weights, and says how well it foretells the end of it."""
    options = Options(**validated(Options, lesson.params, KIND))
    text = text_of(lesson.data)
    letters = sorted(set(text))
    if len(text) < LEAST or len(letters) < 2:
        told = f"{len(text)} characters, {len(letters)} different ones"
        raise BadQuery(Mistake("line 1", told, f"give a text of at least {LEAST}"))
    if len(letters) > LETTERS:
        told = f"{len(letters)} different characters"
        raise BadQuery(Mistake("line 1", told, f"the limit is {LETTERS}"))
    place = {letter: k for k, letter in enumerate(letters)}
    tokens = torch.tensor([place[letter] for letter in text])
    cut = len(tokens) - int(len(tokens) * options.held_out)
    known, held = tokens[:cut], tokens[cut:]
    net = CharacterNet(
        letters,
        options.embedded,
        options.hidden,
        Dropped(*options.dropped),
        torch.Generator().manual_seed(lesson.seed),
        options.recall,
    )
    net.coarse = quick_type()
    recipe = Recipe(
        steps=lesson.steps or STEPS,
        batch=options.rows,
        optimizers={"model": AdamW(options.rate, betas=(0.9, 0.99), weight_decay=0.01)},
        warm=min(50, (lesson.steps or STEPS) // 2),
        every=LOOK,
        average=0.995,
        seconds=lesson.seconds,
        seed=lesson.seed,
    )
    with one_thread():
        trained = train(
            TeacherForcing(options.rows),
            {"model": net},
            Streams(known, len(letters), options.length),
            recipe,
            work=lesson.work,
            held_out=Held(held, known[-CONTEXT:]) if len(held) > 256 else None,
        )
        net.eval()
        said = [f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}"]
        if len(held) > 256:
            said += _bits(rounded(net), held, known)
    count = sum(p.numel() for p in net.parameters())
    said.insert(0, f"{len(known)} characters, {len(letters)} different; {count} numbers to learn")
    write_model(lesson.out, net, lesson.command, said)
    return [*said, f"wrote {lesson.out}"]


def _bits(net: CharacterNet, held: Tensor, known: Tensor) -> list[str]:
    """What the held-out end costs, by the network alone, and where it recalls."""
    bits = nats_per_character(net, held, known[-CONTEXT:]) / math.log(2)
    said = [f"{bits:.4f} bits per character on the last {len(held)}, held out"]
    if net.recalls > FEWEST:
        recalling = Recalling(net, net.recalls)
        bits = nats_per_character(recalling, held, known[-CONTEXT:]) / math.log(2)
        said.append(f"{bits:.4f} where it recalls the last {net.recalls}")
    return said


def quick_type() -> torch.dtype:
    """bfloat16 where this processor multiplies it in hardware, else float32."""
    able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if able else torch.float32

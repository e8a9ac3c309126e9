"""A text by a causal language model: E = -ln p(text), in nats."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.energy.changes import settled
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from modules.language.model.causal import Causal, Known, after, picked, repeated
from modules.language.model.mixed import Mixed
from modules.language.model.model_file import FOLDER, load_model
from modules.language.model.reading import TextReader
from modules.language.model.recalling import FEWEST, Recalling
from modules.language.model.shorter import Shorter
from modules.language.ngram.chain import read_chain
from modules.parameters import Number, Strict
from modules.shared.files import File
from modules.shared.sites import OverSites

NUMBERS = 1 << 21  # logarithms of chances held at once
MISTAKES = 8  # told at once
LONGEST = 65_536  # letters back that may be recalled


class Parameters(Strict):
    """Which model, and what stands before the text."""

    weights: File = Field(
        description="A file of `basin train language.model`, or a folder that holds a causal "
        "language model of Hugging Face; a bare name is also looked for beside the kinds that ship "
        "with Basin."
    )
    prompt: str = Field("", description="What stands before the text, read and not scored.")
    runs: File | None = Field(
        None,
        description="A file of `basin train language.ngram`, of the same letters: the chance of "
        "each letter is then a mean of both.",
    )
    share: Annotated[Number, Field(gt=0, lt=1)] = Field(
        0.2, description="How much of the mean is that of the runs."
    )
    recall: Annotated[StrictInt, Field(ge=0, le=LONGEST)] | None = Field(
        None,
        description="How many letters back it looks, in text and prompt, for what followed the "
        "last few letters earlier: that is likelier then. 0: not at all. Left out: as the file "
        "says, and of a folder not at all.",
    )


class LanguageModel(OverSites):
    """What a causal language model says of a text: E = -ln p(text | prompt), in nats.

    E(x) = - sum over t of ln p(x_t | prompt, x_1 ... x_(t-1)); log Z = 0 over all texts of this
    length in the letters of the model. The sites of the scope are the text, entry by entry, each
    row-major; every value is one letter (one token of the model), or "" for none, which costs 0
    (not of models in a folder). A relaxed site is read as the mean of its letters.
    Where it recalls (`recalling`), what the text said earlier is likelier after the same letters.
    `shakespeare.safetensors` ships: 65 characters, trained on the first 95 % of 90 % of
    tinyshakespeare (works of Shakespeare, public domain) by `basin train language.model --data
    tinyshakespeare_train90.txt.gz --out shakespeare.safetensors`. One or few open letters are
    settled exactly, others searched from left to right, many texts at once, with a look ahead.
    Source: Blondel et al., "Autoregressive language models are secretly energy-based models",
    arXiv 2512.15605. BadQuery: no such model, a letter that it does not know, too long a text.
    """

    affine = False
    calibrated = True
    fixed_structure = False
    shipped = FOLDER

    def __init__(
        self,
        *scope: Variable | View,
        weights: str,
        prompt: str = "",
        runs: str | None = None,
        share: float = 0.2,
        recall: int | None = None,
    ):
        super().__init__(*scope)
        self.model: Causal = _model(weights)
        reach = self.model.recalls if recall is None else recall
        reach = min(reach, self.layout.sites + len(prompt))
        if reach > FEWEST:  # what followed so many letters once before
            self.model = Recalling(self.model, reach)
        if runs is not None:
            self.model = _mixed(self.model, runs, share)
        if any("" in domain.values for domain in self.layout.domains) and self.model.steady:
            self.model = Shorter(self.model)
        self.prompt = prompt
        self.before = _spelled(self.model, prompt)
        self._check_length()
        self.register_buffer("tokens", self._tokens(), persistent=False)
        self.tokens: Tensor  # (n, k) the token of each value of each site, -1 beyond

    def _check_length(self) -> None:
        most, long = self.model.longest, self.layout.sites + len(self.before)
        if most is not None and long > most:
            told = f"{self.layout.sites} letters after a prompt of {len(self.before)}"
            raise BadQuery(Mistake("scope", told, f"this model reads {most}: give fewer"))

    def _tokens(self) -> Tensor:
        place = self.model.place
        wrong: list[Mistake] = []
        own: list[list[int]] = []
        for k, domain in enumerate(self.layout.domains):
            odd = [v for v in domain.values if not isinstance(v, str) or v not in place]
            for value in odd:
                remedy = self.model.near(value) if isinstance(value, str) else ""
                remedy = remedy or "give texts of one letter, such as 'a'"
                wrong.append(Mistake(f"scope[{k}]", f"the model has no letter {value!r}", remedy))
            own.append([place.get(v, 0) for v in domain.values])
        if wrong:
            raise BadQuery(*wrong[:MISTAKES])
        most = max(map(len, own))
        rows = [row + [-1] * (most - len(row)) for row in own]
        return torch.tensor(rows)[torch.from_numpy(self.layout.entry)]

    @cached_property
    def _known(self) -> Known:
        """What the model knows once it has read the prompt."""
        return after(self.model, self.before)

    def known(self) -> Known:
        """The same, where the model lies now, and in its type."""
        numbers, last = next(self.model.parameters()), self._known[0]
        if (last.device, last.dtype) != (numbers.device, numbers.dtype):
            del self._known
        return self._known

    def read(self, decided: Sequence[Tensor]) -> Tensor:
        """The tokens of decided states. (B, *shape) each -> (B, n)"""
        places = self.layout.decided(decided)
        return self.tokens.T.gather(0, places) if len(self.tokens) else places

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) each -> (B,)
        batch, count = len(tensors[0]), len(self.model.pieces)
        x = self.layout.columns(tensors)
        whole = x.new_zeros(batch, self.layout.sites * count)
        first = torch.arange(self.layout.sites, device=x.device)[:, None] * count
        at = (first + self.tokens)[self.tokens >= 0]
        x = whole.index_add(1, at, x).reshape(batch, self.layout.sites, count)
        own = x.to(self.known()[0].dtype)
        logs = self.model.relaxed(repeated(self.known(), batch), own)
        return -(logs.clamp(min=-1e30).double() * x).sum((1, 2)).to(x.dtype)

    def cost(self, *decided: Tensor) -> Tensor:  # (B, *shape) each -> (B,) float64
        tokens = self.read(decided)
        each = max(1, NUMBERS // (max(1, tokens.shape[1]) * len(self.model.pieces)))
        none = torch.zeros(0, dtype=torch.float64, device=tokens.device)
        return torch.cat([none, *(self._cost(some) for some in tokens.split(each))])

    def _cost(self, tokens: Tensor) -> Tensor:
        """-ln p of texts; what all of them begin with is read once. (B, n) -> (B,)"""
        known, batch = self.known(), len(tokens)
        alike = int((tokens == tokens[:1]).all(0).long().cumprod(0)[:-1].sum())  # not the last
        if batch == 1 or alike < 2:
            return self.model.losses(repeated(known, batch), tokens).double().sum(1)
        start = self.model.losses(known, tokens[:1, :alike]).double().sum(1)
        known = self.model.places(known, tokens[:1, :alike])[-1]
        rest = self.model.losses(repeated(known, batch), tokens[:, alike:]).double().sum(1)
        return start + rest

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        """Every text is read once; a letter in its place costs the reading of what follows."""
        if not len(sites):
            return super().changes(sites, *decided)
        tokens, at = self.read(decided), self.layout.numbers(sites)
        batch, count = tokens.shape
        known = self.model.places(repeated(self.known(), batch), tokens[:, :-1])
        now = self.model.losses(repeated(self.known(), batch), tokens).double()
        size = self.layout.values_of(at)
        most = int(size.max())
        out = now.new_zeros(batch, len(at), most)
        for m, site in enumerate(at.tolist()):
            values = self.tokens[site][: int(size[m])]
            later = now[:, site:].sum(1)  # what the text costs from here on
            out[:, m, : len(values)] = (
                self._rest(known[site], values, tokens[:, site + 1 :]) - later[:, None]
            )
        stands = self.layout.decided(decided)[:, at]
        return settled(out, stands, size)

    def _rest(self, known: Known, values: Tensor, suffix: Tensor) -> Tensor:
        """What each letter costs in a place, with all that follows. (B, s) -> (B, k) float64"""
        batch, k = len(known[0]), len(values)
        own = -self.model.following(known)[:, values].double()
        if not suffix.shape[1]:
            return own
        each = max(1, NUMBERS // (k * suffix.shape[1] * len(self.model.pieces)))
        rows = []
        for some in torch.arange(batch, device=values.device).split(each):
            wide = picked(known, some.repeat_interleave(k))
            wide = self.model.read(wide, values.repeat(len(some)))
            then = suffix[some].repeat_interleave(k, 0)
            rows.append(self.model.losses(wide, then).double().sum(1).reshape(-1, k))
        return own + torch.cat(rows)

    def reader(self, *domains: Domain) -> TextReader:
        del domains
        sites = [(e, s) for e, n in enumerate(self.layout.counts) for s in range(n)]
        return TextReader(self.model, self.known(), torch.tensor(sites), self.tokens.cpu())

    def floor(self) -> float:
        return 0.0  # no chance is above 1

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.language.model.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "LanguageModel":
        text = Variable("text", Finite(tuple("aehost .,"), (6,)))
        return cls(text, weights="shakespeare.safetensors", prompt="To be or not")


def _model(weights: str) -> Causal:
    """The model that a file or folder holds."""
    if Path(weights).is_dir():
        from modules.language.model.hf import load_folder  # the extra `hf`, only where asked for

        return load_folder(weights)
    return load_model(weights)


def _mixed(model: Causal, runs: str, share: float) -> Mixed:
    """A model beside runs. Raises BadQuery under `runs`."""
    try:
        return Mixed(model, read_chain(runs), share)
    except BadQuery as error:
        ours = (replace(m, path="runs") if m.path == "weights" else m for m in error.mistakes)
        raise BadQuery(*ours) from None


def _spelled(model: Causal, prompt: str) -> list[int]:
    """A prompt as tokens."""
    try:
        return model.spelled(prompt)
    except BadQuery as error:
        raise error.under("prompt") from None

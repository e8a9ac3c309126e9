"""A term whose energy lives in another process, value and gradient, and the kinds that do so.

One bidirectional stream for each `Remote` carries batches of states out and energies back; the
structure is fetched once for each set of domains; judgement is the host's. `agreement` holds
structure and judgement of an answer against each other.
"""

import hashlib
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.domain import Domain, Finite, Given, Input, Told, Variable, View
from engine.energy import sites_of
from engine.errors import BadQuery, Mistake, ModuleFault, TooLarge
from engine.factors import Factors
from engine.random import Stream
from services.remote.exchanges import Exchanges, Pending, Stats
from services.remote.lifecycle import HostedTerm
from services.remote.reading import HostedReader
from services.remote.rows import RowKeys, state_keys
from services.remote.structures import CostsOfRow, row_keys, together
from services.transport.rows import ToldRows
from services.transport.structure import StructureAsk
from services.v1 import module_pb2 as pb
from services.wire.arrays import Content
from services.wire.binding import Binding, BoundBinding, bytes_of, tensors_of
from services.wire.tensors import dtype_of, put
from services.wire.values import to_value

if TYPE_CHECKING:
    from services.remote.kinds import RemoteKind

log = logging.getLogger(__name__)


VERDICTS = 20_000  # judgements one term remembers
ROWS = 100_000  # rows whose costs one term remembers


class Remote(HostedTerm):
    """A hosted term over local variables; final but for `RemoteRule`, which decides too."""

    reusable = False  # its stream belongs to one solve

    def __init__(self, home: "RemoteKind", scope: Sequence[Variable | View], params: Mapping):
        super().__init__(*scope)
        self.home, self.params = home, dict(params)
        self._own = self._last = self._bind(tuple(v.of(v.variable.domain) for v in self.scope))
        module = home.module()
        # A rule mostly has explicit structure, so that no batch is ever sent: a call that checks it
        # takes 0.5 ms, a stream 1.1. What cannot decide is bound by the stream it needs anyway.
        checked = home.judge(self._own, []).ready if module.decides else None
        self._told = [k for k, view in enumerate(self.scope) if isinstance(view.variable, Input)]
        self._rows = RowKeys()
        self.partial = module.partial  # type: ignore[misc]
        self.fixed_structure = module.fixed_structure  # type: ignore[misc]
        self._exchanges = Exchanges(home.replicas, self._own, module.shared_memory, checked)
        weakref.finalize(self, self._exchanges.close).atexit = False
        ready = self._exchanges.ready()
        self.affine = ready.affine  # type: ignore[misc]
        self.dtype = dtype_of(ready.dtype)  # type: ignore[misc]
        self.calibrated = module.kind.calibrated  # type: ignore[misc]
        self.required_by_default = module.kind.required_by_default  # type: ignore[misc]
        self._floor = ready.floor
        self._structures: dict[tuple[bytes, float | None], Factors | None] = {}
        self._by_row: LRUCache[tuple[bytes, float | None], CostsOfRow | None] = LRUCache(ROWS)
        self._verdicts: LRUCache[bytes, pb.Verdict] = LRUCache(VERDICTS)
        self._scored: LRUCache[bytes, float] = LRUCache(VERDICTS)
        self._said: LRUCache[int, str] = LRUCache(VERDICTS)
        self._readers: dict[bytes, HostedReader | None] = {}
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        return self.home.name

    def energy(self, *tensors: Tensor | Given) -> Tensor:
        """One exchange with the host; what rows were told travels once. (B, *event) each ->
        (B,) float64"""
        return self.begin(*tensors)()

    def cost(self, *tensors: Tensor | Given) -> Tensor:
        """One exchange with the host, as one-hot states. (B, *shape) each -> (B,) float64"""
        return self.begin(*tensors)()

    def begin(self, *tensors: Tensor | Given) -> Callable[[], Tensor]:
        """Sends the batch, decided entries one-hot; the call returned waits for its energies."""
        states, rows = self._apart(tensors)
        device = states[0].device if states else torch.device("cpu")
        if torch.is_grad_enabled() and any(x.requires_grad for x in states):
            pending = self._exchanges.send(states, True, rows)
            return lambda: _Exchange.apply(self._exchanges, pending, *states)
        if rows is not None and len(rows.keys) <= len(self._scored):
            scored = [self._scored.get(key) for key in state_keys(states, rows)]
            if None not in scored:
                return lambda: torch.tensor(scored, dtype=torch.float64, device=device)
        pending = self._exchanges.send(states, False, rows)
        return lambda: self._exchanges.wait(pending)[0].to(device)

    @torch.no_grad()
    def score_ahead(self, *tensors: Tensor | Given) -> None:
        states, rows = self._apart(tensors)
        if rows is not None:
            energies = self.energy(*tensors).tolist()
            self._scored.update(zip(state_keys(states, rows), energies, strict=True))

    def _apart(self, tensors: Sequence[Tensor | Given]) -> tuple[list[Tensor], ToldRows | None]:
        """The states of a batch, decided ones one-hot, and what their rows were told."""
        tensors = self.hot(tensors)
        states = [x for k, x in enumerate(tensors) if k not in self._told and isinstance(x, Tensor)]
        self._check_sizes(states)
        if not self._told:
            return states, None
        with self._lock:
            return states, self._rows.rows([tensors[k] for k in self._told])

    def _check_sizes(self, states: Sequence[Tensor]) -> None:
        """Raises BadQuery for numbers that the type of the hosted term does not hold."""
        asked = [view for k, view in enumerate(self.scope) if k not in self._told]
        for view, x in zip(asked, states, strict=True):
            if x.isinf().any():
                problem = f"takes numbers that {str(self.dtype).split('.')[1]} does not hold"
                remedy = "give nearer bounds, and smaller numbers as evidence"
                raise BadQuery(Mistake(f"variables.{view.variable.name}", problem, remedy))

    def propose(
        self, particles: int, rng: Stream, known: Any, *domains: Domain
    ) -> tuple[Tensor, ...] | None:
        """What the host proposes; the random stream goes with the call, so it is what the term
        would propose in this process where nothing is known of a last answer."""
        del known
        if not self.home.module().proposes:
            return None
        return self.home.propose(self.bound(domains), particles, rng)

    def reader(self, *domains: Domain) -> HostedReader | None:
        """How its host reads it, in one call a site; asked once for the same domains."""
        if not self.home.module().reads:
            return None
        bound = self.bound(domains)
        if bound.digest not in self._readers:
            self._readers[bound.digest] = HostedReader.of(self.home, bound)
        return self._readers[bound.digest]

    def floor(self) -> float:
        return self._floor

    def factors(self, *domains: Domain) -> Factors | None:
        return self.structured(None if self.required_by_default else 1.0, *domains)

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """The host's explicit structure, as a constraint or at a price; None when it has none.
        Nothing is enumerated or priced here. Beside what is given it is asked once a row, of all
        rows in one call."""
        if all(isinstance(domain, Finite) for domain in domains):
            bound = self.bound(domains)
            key = bound.digest, weight
            if key not in self._structures:
                self._structures[key] = self.home.structure(bound, weight, self._name(bound))
            return self._structures[key]
        if not all(isinstance(d, Finite) or bool(d.decided.all()) for d in domains):
            return None
        return self._beside(weight, domains)

    def _name(self, bound: BoundBinding) -> bytes:
        """Under which the shape of a structure is kept from solve to solve."""
        return self._own.digest if self.fixed_structure else bound.digest

    def _beside(self, weight: float | None, domains: tuple[Domain, ...]) -> Factors | None:
        keys = row_keys(domains, self.fixed_structure)
        known = {key: self._by_row[key, weight] for key in keys if (key, weight) in self._by_row}
        fresh = {key: row for row, key in enumerate(keys) if key not in known}
        told = self._learn(domains)
        told = told if self._streams(domains) else None
        for rows in self._spans(list(fresh.values()), domains):
            said = self._costs(weight, domains, rows, told)
            known |= zip((keys[row] for row in rows), said, strict=True)
        self._by_row.update({(key, weight): known[key] for key in fresh})
        try:
            return together([known[key] for key in keys])
        except BadQuery as error:
            raise ModuleFault(self.home.name, f"its structure: {error}") from None

    def _learn(self, domains: Sequence[Domain]) -> ToldRows | None:
        """The rows whose costs are asked for are those that answers are checked beside; None where
        an input was not told row by row."""
        rows = max(domain.rows for domain in domains)
        told = [domain for domain in domains if isinstance(domain, Told)]
        if not told or any(domain.rows != rows for domain in told):
            return None
        with self._lock:
            return self._rows.learn(told, [self._handed(domain.given(rows)) for domain in told])

    def _handed(self, told: Given) -> Tensor | Given:
        """What rows were told as the energy is handed it."""
        values, present = told
        values = values.to(self.dtype) if values.is_floating_point() else values
        return Given(values, present) if self.partial else values

    def _costs(
        self,
        weight: float | None,
        domains: Sequence[Domain],
        rows: list[int],
        told: ToldRows | None,
    ) -> list[CostsOfRow | None]:
        """What the host says of some rows; of half of them at once where its answer is too
        large."""
        one_each = [*range(max(domain.rows for domain in domains))]
        whole = rows == one_each
        some = tuple(d if d.rows == 1 or whole else d.select(rows) for d in domains)
        try:
            if told is not None:
                own = told if whole else told.rows_at(rows)
                factors = self._streamed(weight, some, own)
            else:
                bound = self.bound(some)
                factors = self.home.structure(bound, weight, self._name(bound))
        except TooLarge:
            if len(rows) == 1:
                raise
            half = len(rows) // 2
            parts = (rows[:half], rows[half:])
            return [row for part in parts for row in self._costs(weight, domains, part, told)]
        return CostsOfRow.of(factors, len(rows))

    def _streams(self, domains: Sequence[Domain]) -> bool:
        """Whether structure is asked for on the stream, so that what rows were told travels once:
        where batches are handed just that. A term that decides is judged by calls of their own, and
        mostly needs no stream."""
        if self.decides or not (self.fixed_structure and self.home.module().streams_structure):
            return False
        told = [domain for domain in domains if isinstance(domain, Told)]
        floats = {d.tensor.dtype for d in told if d.tensor.is_floating_point()}
        return floats <= {self.dtype} and (self.partial or all(bool(d.present.all()) for d in told))

    def _streamed(
        self, weight: float | None, domains: Sequence[Domain], rows: ToldRows
    ) -> Factors | None:
        """The structure beside rows, asked for on the stream."""
        asked = [domain for domain in domains if not isinstance(domain, Told)]

        def ask(digest: str) -> tuple[pb.StructureResponse, Sequence[Content]]:
            message = StructureAsk(self.home.name, asked, rows, weight, digest)
            answer = self._exchanges.structure(message)
            return answer.head.structure, answer.raw

        return self.home.told_structure(ask, domains, (self._own.digest, weight))

    def _spans(self, rows: list[int], domains: Sequence[Domain]) -> Iterator[list[int]]:
        """Rows, as many at once as one message holds."""
        room = self.home.replicas.limits.message_bytes // 2
        sizes = sum((bytes_of(d) for d in domains if isinstance(d, Told)), np.zeros(1, np.int64))
        part: list[int] = []
        taken = 0
        for row in rows:
            size = int(sizes[row if len(sizes) > 1 else 0])
            if part and taken + size > room:
                yield part
                part, taken = [], 0
            part.append(row)
            taken += size
        if part:
            yield part

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """What the host says of the rows, in one call; what they were told stands in the
        domains."""
        if not self.home.module().accepts:
            return None
        rows = max(domain.rows for domain in domains)
        columns = [
            [None] * rows if isinstance(d, Told) else d.decode(_decided(d, x))
            for d, x in zip(domains, tensors, strict=True)
        ]
        asked = [pb.Arguments(values=map(to_value, row)) for row in zip(*columns, strict=True)]
        said = self.home.judge(self.bound(tuple(domains)), asked, accepts=True).verdicts
        if len(said) != len(asked):
            raise ModuleFault(self.home.name, f"judged {len(said)} of {len(asked)} candidates")
        if not all(verdict.HasField("accepted") for verdict in said):
            return None
        sites = sites_of(domains)
        inside = torch.ones(len(asked), sites, dtype=torch.bool)
        for own, verdict in zip(inside, said, strict=True):
            if any(site >= sites for site in verdict.outside):
                raise ModuleFault(self.home.name, f"stands not by a site of {sites} that is none")
            if not verdict.accepted:
                own[list(verdict.outside) or slice(None)] = False
        return inside

    def says(self, part: int) -> str:
        """What its host says of a part; asked once."""
        if part not in self._said:
            self._said[part] = self.home.says(self._own, [part])[0]
        return self._said[part]

    def explain(self, *values: Any) -> list[str]:
        return list(self.verdict(values).parts)

    def verdict(self, values: Sequence[Any]) -> pb.Verdict:
        """What the host says of plain values; asked once."""
        return self.judge([values])[0]

    def judge(self, candidates: Sequence[Sequence[Any]]) -> list[pb.Verdict]:
        """What the host says of several candidates, in one call unless what they were told is too
        large; each asked once. A term that cannot decide is not asked."""
        if not self.decides:
            return [pb.Verdict() for _ in candidates]
        raw: list[bytes] = []
        arguments = [self._arguments(values, raw) for values in candidates]
        keys = [_key(argument, raw) for argument in arguments]
        with self._lock:
            verdicts = {k: self._verdicts[k] for k in keys if k in self._verdicts}
        fresh = {k: a for k, a in zip(keys, arguments, strict=True) if k not in verdicts}
        for part in self._batches(fresh, raw):
            said = self.home.judge(self._own, [fresh[key] for key in part], raw=raw).verdicts
            if len(said) != len(part):
                raise ModuleFault(self.home.name, f"judged {len(said)} of {len(part)} candidates")
            verdicts |= zip(part, said, strict=True)
            with self._lock:
                self._verdicts.update(zip(part, said, strict=True))
        return [verdicts[key] for key in keys]

    def _batches(
        self, fresh: Mapping[bytes, pb.Arguments], raw: Sequence[bytes]
    ) -> Iterator[list[bytes]]:
        """The keys of candidates, as many at once as one message holds."""
        room = self.home.replicas.limits.message_bytes // 2
        part: list[bytes] = []
        size = 0
        for key, argument in fresh.items():
            own = sum(len(raw[spec.raw_index]) for spec in tensors_of(argument))
            if part and size + own > room:
                yield part
                part, size = [], 0
            part.append(key)
            size += own
        if part:
            yield part

    def _arguments(self, values: Sequence[Any], raw: list[bytes]) -> pb.Arguments:
        """One candidate; what it was told is appended to `raw`."""
        made = pb.Arguments(
            values=[to_value(None if k in self._told else v) for k, v in enumerate(values)]
        )
        for k in self._told:
            domain = self._own.binding.domains[k]
            assert isinstance(domain, Told)
            told, message = domain.narrow([values[k]]), made.inputs.add()
            put(told.tensor[0], message.values, raw)
            if self.partial:
                put(told.present[0], message.present, raw)
        return made

    def bound(self, domains: tuple[Domain, ...]) -> BoundBinding:
        """The term over these domains as it travels; made once for the same domains on end."""
        for bound in (self._own, self._last):
            if all(a is b for a, b in zip(bound.binding.domains, domains, strict=True)):
                return bound
        self._last = self._bind(domains)
        return self._last

    def _bind(self, domains: tuple[Domain, ...]) -> BoundBinding:
        names = tuple(view.variable.name for view in self.scope)
        return BoundBinding.of(Binding(self.home.name, self.params, domains, names))

    def stats(self) -> Stats:
        """What its exchanges with hosts have done, and do at the moment."""
        return self._exchanges.stats()

    def close(self) -> None:
        """End the stream; the next evaluation opens another."""
        self._rows.forget()
        self._exchanges.close()


class RemoteRule(Remote):
    """A hosted term that decides, for plain values, whether it holds."""

    decides = True

    def holds(self, *values: Any) -> bool | None:
        return self.verdicts([values])[0]

    def verdicts(self, candidates: Sequence[Sequence[Any]]) -> list[bool | None]:
        """`holds` of several candidates, in one call."""
        return [v.holds if v.HasField("holds") else None for v in self.judge(candidates)]


def _key(argument: pb.Arguments, raw: Sequence[bytes]) -> bytes:
    """What tells a candidate from others, wherever its bytes stand."""
    if not argument.inputs:
        return argument.SerializeToString(deterministic=True)
    made = hashlib.blake2b(digest_size=20)
    bare = pb.Arguments(values=argument.values)
    made.update(bare.SerializeToString(deterministic=True))
    for spec in tensors_of(argument):
        made.update(raw[spec.raw_index])
    return made.digest()


class _Exchange(torch.autograd.Function):
    """Energy and gradient of one exchange: the backward pass asks nobody."""

    @staticmethod
    def forward(ctx: Any, exchanges: Exchanges, pending: Pending, *tensors: Tensor) -> Tensor:
        energy, slopes = exchanges.wait(pending)
        pairs = zip(slopes, tensors, strict=True)
        ctx.save_for_backward(*(s.to(x.device, x.dtype) for s, x in pairs))
        return energy.to(tensors[0].device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        slopes = ctx.saved_tensors
        if not bool((upstream == 1).all()):  # as a rule it is 1: large slopes are left in place
            slopes = [s * upstream.to(s.dtype).view(-1, *[1] * (s.dim() - 1)) for s in slopes]
        return None, None, *slopes


def _decided(domain: Domain, x: Tensor) -> Tensor:
    """The places of one-hot answers; numbers as they are."""
    return x.argmax(-1) if isinstance(domain, Finite) else x

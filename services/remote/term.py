"""A term whose energy lives in another process, value and gradient, and the kinds that do so.

One bidirectional stream for each `Remote` carries batches of states out and energies back; the
structure is fetched once for each set of domains; judgement is the host's. `agreement` holds
structure and judgement of an answer against each other.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from cachetools import LRUCache
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.domain import Domain, Finite, Variable, View
from engine.errors import ModuleFault
from engine.factors import Factors
from engine.random import Stream
from services.remote.exchanges import Exchanges, Pending, Stats
from services.remote.lifecycle import HostedTerm
from services.v1 import module_pb2 as pb
from services.wire.binding import Binding, BoundBinding
from services.wire.tensors import dtype_of
from services.wire.values import to_value

if TYPE_CHECKING:
    from services.remote.kinds import RemoteKind

log = logging.getLogger(__name__)


VERDICTS = 20_000  # judgements one term remembers


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
        self._exchanges = Exchanges(home.replicas, self._own, module.shared_memory, checked)
        weakref.finalize(self, self._exchanges.close).atexit = False
        ready = self._exchanges.ready()
        self.affine = ready.affine  # type: ignore[misc]
        self.dtype = dtype_of(ready.dtype)  # type: ignore[misc]
        self.calibrated = module.kind.calibrated  # type: ignore[misc]
        self.required_by_default = module.kind.required_by_default  # type: ignore[misc]
        self._floor = ready.floor
        self._structures: dict[tuple[bytes, float | None], Factors | None] = {}
        self._verdicts: LRUCache[bytes, pb.Verdict] = LRUCache(VERDICTS)
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        return self.home.name

    def energy(self, *tensors: Tensor) -> Tensor:
        """One exchange with the host. (B, *event) each -> (B,) float64"""
        return self.begin(*tensors)()

    def cost(self, *tensors: Tensor) -> Tensor:
        """One exchange with the host, as one-hot states. (B, *shape) each -> (B,) float64"""
        return self.begin(*tensors)()

    def begin(self, *tensors: Tensor) -> Callable[[], Tensor]:
        """Sends the batch, decided entries one-hot; the call returned waits for its energies."""
        tensors = tuple(self.hot(tensors))
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            pending = self._exchanges.send(tensors, True)
            return lambda: _Exchange.apply(self._exchanges, pending, *tensors)
        pending = self._exchanges.send(tensors, False)
        return lambda: self._exchanges.wait(pending)[0].to(tensors[0].device)

    def propose(self, particles: int, rng: Stream, *domains: Domain) -> tuple[Tensor, ...] | None:
        """What the host proposes; the random stream goes with the call, so it is what the term
        would propose in this process."""
        if not self.home.module().proposes:
            return None
        return self.home.propose(self.bound(domains), particles, rng)

    def floor(self) -> float:
        return self._floor

    def factors(self, *domains: Domain) -> Factors | None:
        return self.structured(None if self.required_by_default else 1.0, *domains)

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """The host's explicit structure, as a constraint or at a price; None when it has none.
        Nothing is enumerated or priced here."""
        if not all(isinstance(d, Finite) or bool(d.decided.all()) for d in domains):
            return None
        bound = self.bound(domains)
        key = bound.digest, weight
        if key not in self._structures:
            self._structures[key] = self.home.structure(bound, weight)
        return self._structures[key]

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """What the host says of the rows, in one call."""
        if not self.home.module().accepts:
            return None
        decided = [x.argmax(-1) if isinstance(d, Finite) else x for d, x in zip(domains, tensors)]
        columns = [d.decode(x) for d, x in zip(domains, decided, strict=True)]
        asked = [pb.Arguments(values=map(to_value, row)) for row in zip(*columns, strict=True)]
        said = self.home.judge(self.bound(tuple(domains)), asked, accepts=True).verdicts
        if len(said) != len(asked):
            raise ModuleFault(self.home.name, f"judged {len(said)} of {len(asked)} candidates")
        if not all(verdict.HasField("accepted") for verdict in said):
            return None
        return torch.tensor([verdict.accepted for verdict in said])

    def explain(self, *values: Any) -> list[str]:
        return list(self.verdict(values).parts)

    def verdict(self, values: Sequence[Any]) -> pb.Verdict:
        """What the host says of plain values; asked once."""
        return self.judge([values])[0]

    def judge(self, candidates: Sequence[Sequence[Any]]) -> list[pb.Verdict]:
        """What the host says of several candidates, in one call; each asked once."""
        arguments = [pb.Arguments(values=[to_value(v) for v in values]) for values in candidates]
        keys = [a.SerializeToString(deterministic=True) for a in arguments]
        with self._lock:
            verdicts = {k: self._verdicts[k] for k in keys if k in self._verdicts}
        fresh = {k: a for k, a in zip(keys, arguments, strict=True) if k not in verdicts}
        if fresh:
            said = self.home.judge(self._own, list(fresh.values())).verdicts
            if len(said) != len(fresh):
                raise ModuleFault(self.home.name, f"judged {len(said)} of {len(fresh)} candidates")
            verdicts |= zip(fresh, said, strict=True)
            with self._lock:
                self._verdicts.update(zip(fresh, said, strict=True))
        return [verdicts[key] for key in keys]

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
        self._exchanges.close()


class RemoteRule(Remote):
    """A hosted term that decides, for plain values, whether it holds."""

    def holds(self, *values: Any) -> bool | None:
        return self.verdicts([values])[0]

    def verdicts(self, candidates: Sequence[Sequence[Any]]) -> list[bool | None]:
        """`holds` of several candidates, in one call."""
        return [v.holds if v.HasField("holds") else None for v in self.judge(candidates)]


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

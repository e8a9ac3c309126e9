"""A term whose energy lives in another process, value and gradient, and the kinds that do so.

One bidirectional stream for each `Remote` carries batches of states out and energies back; the
structure is fetched once for each set of domains; judgement is the host's. `agreement` holds
structure and judgement of an answer against each other.
"""

import hashlib
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.domain import Domain, Finite, Variable, View
from engine.errors import ModuleFault
from engine.factors import Factors
from engine.random import Stream
from services.remote.exchanges import Exchanges, Pending
from services.remote.lifecycle import HostedTerm
from services.v1 import module_pb2 as pb
from services.wire.binding import Binding, binding_to_proto
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
        self.binding = self._bound(tuple(v.of(v.variable.domain) for v in self.scope))
        ready = home.judge(self.binding, []).ready
        module = home.module()
        self.affine = ready.affine  # type: ignore[misc]
        self.dtype = dtype_of(ready.dtype)  # type: ignore[misc]
        self.calibrated = module.kind.calibrated  # type: ignore[misc]
        self.required_by_default = module.kind.required_by_default  # type: ignore[misc]
        self._floor = ready.floor
        self._structures: dict[bytes, Factors | None] = {}
        self._verdicts: dict[bytes, pb.Verdict] = {}
        self._exchanges = Exchanges(home.replicas, self.binding, module.shared_memory)
        weakref.finalize(self, self._exchanges.close).atexit = False

    @property
    def label(self) -> str:
        return self.home.name

    def energy(self, *tensors: Tensor) -> Tensor:
        """One exchange with the host. (B, *event) each -> (B,) float64"""
        return self.begin(*tensors)()

    def begin(self, *tensors: Tensor) -> Callable[[], Tensor]:
        """Sends the batch; the call returned waits for its energies."""
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
        binding = self._bound(domains)
        return self.home.propose(binding, particles, rng)

    def floor(self) -> float:
        return self._floor

    def factors(self, *domains: Domain) -> Factors | None:
        return self.structured(None if self.required_by_default else 1.0, *domains)

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """The host's explicit structure, as a constraint or at a price; None when it has none.
        Nothing is enumerated or priced here."""
        if not all(isinstance(domain, Finite) for domain in domains):
            return None
        binding = self._bound(domains)
        key = _key(binding, weight)
        if key not in self._structures:
            self._structures[key] = self.home.structure(binding, weight, key)
        return self._structures[key]

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """What the host says of the rows, in one call."""
        if not self.home.module().accepts:
            return None
        columns = [d.decode(x) for d, x in zip(domains, tensors, strict=True)]
        asked = [pb.Arguments(values=map(to_value, row)) for row in zip(*columns, strict=True)]
        binding = self._bound(tuple(domains))
        said = self.home.judge(binding, asked, accepts=True).verdicts
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
        if len(self._verdicts) > VERDICTS:
            self._verdicts.clear()
        fresh = {k: a for k, a in zip(keys, arguments, strict=True) if k not in self._verdicts}
        if fresh:
            said = self.home.judge(self.binding, list(fresh.values())).verdicts
            if len(said) != len(fresh):
                raise ModuleFault(self.home.name, f"judged {len(said)} of {len(fresh)} candidates")
            self._verdicts |= dict(zip(fresh, said, strict=True))
        return [self._verdicts[key] for key in keys]

    def _bound(self, domains: tuple[Domain, ...]) -> Binding:
        names = tuple(view.variable.name for view in self.scope)
        return Binding(self.home.name, self.params, domains, names)

    @property
    def exchanges(self) -> int:
        """Messages with states that went to the host so far."""
        return self._exchanges.count

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


def _key(binding: Binding, weight: float | None) -> bytes:
    """What tells bindings and weights apart."""
    raw: list[bytes] = []
    message = binding_to_proto(binding, raw)
    made = hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=20)
    for content in raw:
        made.update(b"|%d|" % len(content))
        made.update(content)
    made.update(repr(weight).encode())
    return made.digest()

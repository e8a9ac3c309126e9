"""A term whose energy lives in another process, value and gradient, and the kinds that do so.

One bidirectional stream for each `Remote` carries batches of states out and energies back; the
structure is fetched once for each set of domains; judgement is the host's. Where structure and
judgement of an answer disagree, `agreement.check_answers` raises `ModuleFault`.
"""

import hashlib
import json
import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.domain import Domain, Finite, Variable, View
from engine.energy import Term
from engine.errors import (
    BadQuery,
    BasinError,
    Mistake,
    ModuleFault,
    ModuleUnavailable,
    UnknownKind,
    known,
)
from engine.factors import Factors
from modules.catalogue import Catalogue, Kind
from services.bindings import Binding, binding_to_proto
from services.dial import PATIENT, Dialing, Line, Lost, Replicas, Stream
from services.hosted import spelled
from services.limits import Limits
from services.structure import check_fit, factors_from_proto
from services.tensors import put, take, take_list
from services.v1 import module_pb2 as pb
from services.values import to_value

log = logging.getLogger(__name__)

WINDOW = 4  # chunks under way at once
KEPT = 256  # structures of one kind kept between solves
VERDICTS = 20_000  # judgements one term remembers
WIRE = (torch.float32, torch.float64)  # state types that travel; others go as float32


class Remote(Term):
    """A hosted term over local variables; final but for `RemoteRule`, which decides too."""

    reusable = False  # its stream belongs to one solve

    def __init__(self, home: "RemoteKind", scope: Sequence[Variable | View], params: Mapping):
        super().__init__(*scope)
        self.home, self.params = home, dict(params)
        self.binding = Binding(
            home.name, self.params, tuple(v.of(v.variable.domain) for v in self.scope)
        )
        ready = home.judge(self.binding, []).ready
        described = home.described()
        self.affine = ready.affine  # type: ignore[misc]
        self.calibrated = described.calibrated  # type: ignore[misc]
        self.required_by_default = described.required_by_default  # type: ignore[misc]
        self._floor = ready.floor
        self._max_batch = described.max_batch
        self._structures: dict[bytes, Factors | None] = {}
        self._verdicts: dict[bytes, pb.Verdict] = {}
        self._streams = _Streams(home.replicas, self.binding)
        weakref.finalize(self, self._streams.close).atexit = False

    @property
    def label(self) -> str:
        return self.home.name

    def energy(self, *tensors: Tensor) -> Tensor:
        """One exchange with the host. (B, *event) each -> (B,) float64"""
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            return _Exchange.apply(self, *tensors)
        return self.exchange(tensors, False)[0]

    def floor(self) -> float:
        return self._floor

    def factors(self, *domains: Domain) -> Factors | None:
        """The host's explicit structure; None when it has none. Nothing is enumerated here."""
        if not all(isinstance(domain, Finite) for domain in domains):
            return None
        binding = Binding(self.home.name, self.params, domains)
        key = _key(binding)
        if key not in self._structures:
            self._structures[key] = self.home.structure(binding, key)
        return self._structures[key]

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

    def exchange(
        self, tensors: Sequence[Tensor], want_gradient: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Energies (B,) and, when wanted, the gradient in every tensor, from the host."""
        batches = list(self._batches(tensors, want_gradient))
        replies = self._streams.exchange([request for request, _ in batches])
        parts = [
            _read(self.home, reply, states, want_gradient)
            for reply, (_, states) in zip(replies, batches, strict=True)
        ]
        device = tensors[0].device
        energy = torch.cat([energy for energy, _ in parts]).to(device)
        if not want_gradient:
            return energy, ()
        slopes = zip(*(gradients for _, gradients in parts), strict=True)
        return energy, tuple(
            torch.cat(s).to(device, x.dtype) for s, x in zip(slopes, tensors, strict=True)
        )

    def close(self) -> None:
        """End the stream; the next evaluation opens another."""
        self._streams.close()

    def _batches(
        self, tensors: Sequence[Tensor], want_gradient: bool
    ) -> Iterator[tuple[pb.EvaluateRequest, list[Tensor]]]:
        """The batch in chunks of a bounded size, the larger of states out and slopes back."""
        states = [x.detach() if x.dtype in WIRE else x.detach().float() for x in tensors]
        total = states[0].shape[0]
        row = sum(x[:1].numel() * x.element_size() for x in states) + 8
        limits = self.home.replicas.dialing.limits
        step = max(1, limits.chunk_bytes // row)
        if self._max_batch:
            step = min(step, self._max_batch)
        for sequence, at in enumerate(range(0, max(total, 1), step)):
            chunk = [x[at : at + step] for x in states]
            request = pb.EvaluateRequest()
            request.batch.sequence = sequence
            request.batch.want_gradient = want_gradient
            raw: list[bytes] = []
            for state in chunk:
                put(state, request.batch.states.add(), raw)
            request.raw_contents.extend(raw)
            yield request, chunk


class RemoteRule(Remote):
    """A hosted term that decides, for plain values, whether it holds."""

    def holds(self, *values: Any) -> bool | None:
        verdict = self.verdict(values)
        return verdict.holds if verdict.HasField("holds") else None


class _Exchange(torch.autograd.Function):
    """Energy and gradient in one exchange: the backward pass asks nobody."""

    @staticmethod
    def forward(ctx: Any, term: Remote, *tensors: Tensor) -> Tensor:
        energy, slopes = term.exchange(tensors, True)
        ctx.save_for_backward(*slopes)
        return energy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(
            slope * upstream.to(slope.dtype).view(-1, *[1] * (slope.dim() - 1))
            for slope in ctx.saved_tensors
        )


class _Streams:
    """The one stream a term keeps open, and its way from a lost replica to the next."""

    def __init__(self, replicas: Replicas, binding: Binding):
        self.replicas, self.binding = replicas, binding
        self._open: Stream | None = None

    def exchange(self, requests: Sequence[pb.EvaluateRequest]) -> list[pb.EvaluateResponse]:
        """One answer for each request; what a lost replica left unanswered goes to another."""
        answers: list[pb.EvaluateResponse] = []
        lost_lines: set[Line] = set()
        while True:
            stream = self._stream(frozenset(lost_lines))
            try:
                for answer in _pipelined(stream, requests[len(answers) :]):
                    answers.append(answer)
                return answers
            except Lost as lost:
                self.close()
                # an old stream may have ended with a restart of its host: that one may be back
                if lost.hung or stream.exchanges == 0 or len(answers):
                    lost_lines.add(stream.line)
                if len(lost_lines) == len(self.replicas.lines):
                    raise lost.error from None
            except BadQuery as error:
                self.close()
                raise ModuleFault(self.binding.kind, f"refused a batch: {error}") from None
            except BasinError:
                self.close()
                raise

    def close(self) -> None:
        """End the open stream, if there is one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _stream(self, avoid: frozenset[Line]) -> Stream:
        if self._open is None:
            request = pb.EvaluateRequest()
            raw: list[bytes] = []
            request.binding.CopyFrom(binding_to_proto(self.binding, raw))
            request.raw_contents.extend(raw)
            self._open = self.replicas.first(lambda line: Stream(line, request), avoid)
        return self._open


def _pipelined(
    stream: Stream, requests: Sequence[pb.EvaluateRequest]
) -> Iterator[pb.EvaluateResponse]:
    """Answers in order, a few requests under way ahead of them."""
    for request in requests[:WINDOW]:
        stream.send(request)
    for place in range(len(requests)):
        answer = stream.receive()
        if place + WINDOW < len(requests):
            stream.send(requests[place + WINDOW])
        stream.exchanges += 1
        yield answer


class RemoteKind:
    """A kind that other processes host: its replicas, what they tell of it, kept structures."""

    def __init__(self, name: str, addresses: Sequence[str], dialing: Dialing = PATIENT):
        self.name = name
        self.replicas = Replicas(name, addresses, dialing)
        self._described: pb.Module | None = None
        self._kept: OrderedDict[bytes, tuple[str, Factors]] = OrderedDict()

    def described(self) -> pb.Module:
        """What its host tells of it; asked once."""
        if self._described is None:
            response = self.replicas.ask("Describe", pb.DescribeRequest(kind=self.name))
            found = [module for module in response.modules if module.kind == self.name]
            if len(found) != 1:
                raise ModuleFault(self.name, "its host does not describe it")
            self._described = found[0]
        return self._described

    @property
    def about(self) -> str:
        """In one line, what it is."""
        return self.described().about

    @property
    def required_by_default(self) -> bool:
        """Whether a term of this kind is a constraint unless the query says otherwise."""
        return self.described().required_by_default

    @property
    def calibrated(self) -> bool:
        """Whether its energy is in nats."""
        return self.described().calibrated

    @property
    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema."""
        return json.loads(self.described().parameters or "{}")

    def build(self, scope: Sequence[Variable | View], params: Mapping[str, Any]) -> "Remote":
        """The term over a scope. Raises BadQuery as the host does, or ModuleUnavailable."""
        made = RemoteRule if self.described().decides else Remote
        return made(self, scope, params)

    def judge(self, binding: Binding, arguments: Iterable[pb.Arguments]) -> pb.JudgeResponse:
        """One Judge call."""
        request = pb.JudgeRequest(candidates=arguments)
        raw: list[bytes] = []
        request.binding.CopyFrom(binding_to_proto(binding, raw))
        request.raw_contents.extend(raw)
        return self.replicas.ask("Judge", request)

    def structure(self, binding: Binding, key: bytes) -> Factors | None:
        """The structure under the binding's domains, sent anew only when it changed."""
        digest, factors = self._kept.get(key, ("", None))
        request = pb.StructureRequest(known_digest=digest)
        raw: list[bytes] = []
        request.binding.CopyFrom(binding_to_proto(binding, raw))
        request.raw_contents.extend(raw)
        response = self.replicas.ask("Structure", request)
        if not response.digest:
            return None
        if response.digest != digest:
            factors = _factors(self, response, binding.domains)
            self._kept[key] = (response.digest, factors)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return factors


class RemoteKinds:
    """A catalogue in which some kinds live in other processes; those are looked up first."""

    def __init__(
        self,
        catalogue: Catalogue,
        remotes: Mapping[str, Sequence[str]],
        dialing: Dialing = PATIENT,
    ):
        self.catalogue = catalogue
        self.remotes = {
            spelled(kind): RemoteKind(spelled(kind), addresses, dialing)
            for kind, addresses in remotes.items()
        }

    def kind(self, name: str) -> Kind | RemoteKind:
        """The kind of this name. Raises UnknownKind with a near miss."""
        if remote := self.remotes.get(spelled(name)):
            return remote
        try:
            return self.catalogue.kind(name)
        except UnknownKind as error:
            raise UnknownKind(
                *(Mistake(m.path, m.problem, known(name, self.names())) for m in error.mistakes)
            ) from None

    def kinds(self) -> list[Kind | RemoteKind]:
        """Every kind, by name, that can be asked now."""
        every: list[Kind | RemoteKind] = [
            kind for kind in self.catalogue.kinds() if kind.name not in self.remotes
        ]
        for remote in self.remotes.values():
            try:
                remote.described()
                every.append(remote)
            except ModuleUnavailable as error:
                log.warning("left out of the list: %s", error)
        return sorted(every, key=lambda kind: kind.name)

    def names(self) -> list[str]:
        """The names of all kinds."""
        return sorted({*self.catalogue.names(), *self.remotes})

    def __iter__(self) -> Iterator[Kind | RemoteKind]:
        return iter(self.kinds())

    def close(self) -> None:
        """Close every channel."""
        for remote in self.remotes.values():
            remote.replicas.close()


def _factors(
    home: RemoteKind, response: pb.StructureResponse, domains: Sequence[Domain]
) -> Factors:
    limits = home.replicas.dialing.limits
    try:
        factors = factors_from_proto(response.factors, response.raw_contents, limits)
        check_fit(factors, domains)
    except BadQuery as error:
        raise ModuleFault(home.name, f"its structure: {error}") from None
    return factors


def _read(
    home: RemoteKind, reply: pb.EvaluateResponse, states: Sequence[Tensor], want_gradient: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Energies and gradients of a reply, checked against what was sent."""
    limits: Limits = home.replicas.dialing.limits
    batch = states[0].shape[0]
    try:
        energy = take(reply.energies.energy, reply.raw_contents, limits)
        slopes = take_list(reply.energies.gradients, reply.raw_contents, limits)
    except BadQuery as error:
        raise ModuleFault(home.name, f"its reply: {error}") from None
    if tuple(energy.shape) != (batch,) or energy.dtype != torch.float64 or energy.isnan().any():
        raise ModuleFault(home.name, f"{energy.dtype} energies of shape {[*energy.shape]}, or nan")
    wanted = [x.shape for x in states] if want_gradient else []
    if [x.shape for x in slopes] != wanted:
        raise ModuleFault(home.name, f"gradients of shapes {[[*x.shape] for x in slopes]}")
    return energy, tuple(slopes)


def _key(binding: Binding) -> bytes:
    """What tells bindings apart."""
    raw: list[bytes] = []
    message = binding_to_proto(binding, raw)
    made = hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=20)
    for content in raw:
        made.update(b"|%d|" % len(content))
        made.update(content)
    return made.digest()

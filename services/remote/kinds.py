"""Kinds that other processes host."""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor

from engine.domain import Domain, Told, Variable, View
from engine.errors import (
    BadQuery,
    BasinError,
    Mistake,
    ModuleFault,
    UnknownKind,
    known,
)
from engine.factors import Factors
from engine.random import Stream
from modules.catalogue import AnyKind, Kinds, kind_name
from services.query.kind import KindDescription
from services.remote.channel import Channel, open_channels
from services.remote.replicas import Replicas
from services.remote.term import Remote, RemoteRule, log
from services.settings import DEFAULT, PATIENT, Limits, RemotePolicy
from services.v1 import module_pb2 as pb
from services.wire.arrays import Content
from services.wire.binding import Binding, BoundBinding, tensors_of
from services.wire.kinds import kind_from_proto
from services.wire.structure import check_factors, check_fit, factors_from_proto, with_costs
from services.wire.tensors import put, take, take_list

KEPT = 256  # structures of one kind kept between solves
ASKED = 32  # hosts asked at once what they offer


class RemoteKind:
    """A kind that other processes host: its replicas, what they tell of it, kept structures."""

    def __init__(
        self,
        name: str,
        channels: Sequence[Channel],
        policy: RemotePolicy = PATIENT,
        limits: Limits = DEFAULT,
    ):
        self.name = name
        self.replicas = Replicas(name, channels, policy, limits)
        self._module: pb.Module | None = None
        self._kept: LRUCache[tuple[bytes, float | None], tuple[str, Factors]] = LRUCache(KEPT)
        self._lock = threading.Lock()

    def module(self) -> pb.Module:
        """What its host offers; asked once. Raises ModuleFault where it offers something else."""
        if self._module is None:
            response = self.replicas.ask("Describe", pb.DescribeRequest(kind=self.name))
            found = [module for module in response.modules if module.kind.kind == self.name]
            if len(found) != 1:
                raise ModuleFault(self.name, "its host does not describe it")
            self._module = found[0]
        return self._module

    def description(self) -> KindDescription:
        """What its host tells of it. Raises ModuleFault where that cannot be read."""
        try:
            return kind_from_proto(self.module().kind)
        except ValueError as error:
            raise ModuleFault(self.name, f"its parameters are no JSON: {error}") from None

    def files(self, params: Mapping[str, Any]) -> tuple[Path, ...]:
        """None of this process: its host reads what they name."""
        del params
        return ()

    @property
    def about(self) -> str:
        """In one line, what it is."""
        return self.module().kind.about

    @property
    def required_by_default(self) -> bool:
        """Whether a term of this kind is a constraint unless the query says otherwise."""
        return self.module().kind.required_by_default

    @property
    def calibrated(self) -> bool:
        """Whether its energy is in nats."""
        return self.module().kind.calibrated

    @property
    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema."""
        return self.description().parameters

    def build(self, scope: Sequence[Variable | View], params: Mapping[str, Any]) -> "Remote":
        """The term over a scope. Raises BadQuery as the host does, or ModuleUnavailable."""
        made = RemoteRule if self.module().decides else Remote
        return made(self, scope, params)

    def check(self, params: Mapping[str, Any]) -> None:
        """Whether parameters make sense, as the host says. Raises BadQuery under `params`."""
        self.judge(BoundBinding.of(Binding(self.name, params, ())), [])

    def judge(
        self,
        bound: BoundBinding,
        arguments: Iterable[pb.Arguments],
        raw: Sequence[bytes] = (),
        accepts: bool = False,
    ) -> pb.JudgeResponse:
        """One Judge call. raw: what the arguments name; `accepts`: whether candidates lie in the
        acceptance band, too."""
        request = pb.JudgeRequest(candidates=arguments, accepts=accepts)
        places: dict[bytes, int] = {}  # bytes that several candidates share travel once
        for candidate in request.candidates:
            for spec in tensors_of(candidate):
                content = raw[spec.raw_index]
                spec.raw_index = places.setdefault(content, len(bound.raw) + len(places))
        return self._ask("Judge", request, bound, list(places))

    def propose(
        self, bound: BoundBinding, particles: int, rng: Stream
    ) -> tuple[Tensor, ...] | None:
        """One Propose call. For an input stands what was told."""
        mixed = Stream.join([rng])  # the seed is then part of the keys
        request = pb.ProposeRequest(particles=particles, lane=mixed.lane)
        raw = [*bound.raw]
        put(mixed.keys, request.keys, raw)
        put(mixed.steps, request.steps, raw)
        response = self._ask("Propose", request, bound, raw[len(bound.raw) :])
        if not response.states:
            return None
        try:
            states = take_list(response.states, response.raw_contents, self.replicas.limits)
        except BadQuery as error:
            raise ModuleFault(self.name, f"its proposals: {error}") from None
        domains = bound.binding.domains
        asked = [domain for domain in domains if not isinstance(domain, Told)]
        wanted = [(len(rng.keys) * particles, *domain.event) for domain in asked]
        if [tuple(x.shape) for x in states] != wanted:
            raise ModuleFault(self.name, f"proposed shapes {[[*x.shape] for x in states]}")
        proposed = iter(states)
        return tuple(d.tensor if isinstance(d, Told) else next(proposed) for d in domains)

    def read(
        self, bound: BoundBinding, row: int = 0, beginnings: Tensor | None = None, width: int = 0
    ) -> dict[str, Tensor] | None:
        """One Read call: what is told, by name, `least` a number without axes; None where this
        binding is not read."""
        request = pb.ReadRequest(row=row, width=width)
        raw = [*bound.raw]
        if beginnings is not None:
            put(beginnings.int(), request.beginnings, raw)
        response = self._ask("Read", request, bound, raw[len(bound.raw) :])
        told = ("sites", "costs", "windows", "guesses")
        try:
            out = {
                name: take(getattr(response, name), response.raw_contents, self.replicas.limits)
                for name in told
                if response.HasField(name)
            }
        except BadQuery as error:
            raise ModuleFault(self.name, f"its reader: {error}") from None
        if response.HasField("least"):
            out["least"] = torch.tensor(response.least, dtype=torch.float64)
        return out if "sites" in out else None

    def structure(
        self, bound: BoundBinding, weight: float | None, kept: bytes | None = None
    ) -> Factors | None:
        """The structure under the binding's domains, sent anew only when it changed; costs by row
        beside what rows were told come each time. kept: under which name it is kept."""

        def asked(digest: str) -> tuple[pb.StructureResponse, Sequence[Content]]:
            request = pb.StructureRequest(known_digest=digest, weight=weight)
            response = self._ask("Structure", request, bound, [])
            return response, response.raw_contents

        return self.told_structure(asked, bound.binding.domains, (kept or bound.digest, weight))

    def told_structure(
        self,
        ask: Callable[[str], tuple[pb.StructureResponse, Sequence[Content]]],
        domains: Sequence[Domain],
        key: tuple[bytes, float | None],
    ) -> Factors | None:
        """The structure that a host tells where it is asked with the digest of the one that is kept
        under a key. Raises ModuleFault where it makes no sense."""
        with self._lock:
            digest, factors = self._kept.get(key, ("", None))
        response, raw = ask(digest)
        if not response.digest:
            return None
        try:
            if response.digest != digest or factors is None:
                factors = factors_from_proto(response.factors, raw, self.replicas.limits)
                with self._lock:
                    self._kept[key] = (response.digest, factors)
            if any(isinstance(domain, Told) for domain in domains):
                factors = self._with_costs(factors, response, raw)
            check_fit(factors, domains)
        except BadQuery as error:
            raise ModuleFault(self.name, f"its structure: {error}") from None
        return factors

    def says(self, bound: BoundBinding, parts: Sequence[int]) -> list[str]:
        """What each of some parts asks for, in words; of a host that knows no words, numbers."""
        request = pb.StructureRequest(parts=parts)
        words = self._ask("Structure", request, bound, []).words
        return list(words) if len(words) == len(parts) else [f"part {part}" for part in parts]

    def _with_costs(
        self, skeleton: Factors, response: pb.StructureResponse, raw: Sequence[Content]
    ) -> Factors:
        """The structure of a skeleton with the costs of a response. Raises BadQuery."""
        if not response.HasField("costs"):
            return with_costs(skeleton, np.zeros((1, 0)))
        limits = self.replicas.limits
        costs = take(response.costs, raw, limits).numpy()
        factors = with_costs(skeleton, costs)
        check_factors(factors, limits)
        return factors

    def _ask(self, method: str, request: Any, bound: BoundBinding, raw: Sequence[bytes]) -> Any:
        """One call about a binding; `raw`: further contents, which follow those of the binding."""
        request.binding.CopyFrom(bound.message)
        request.raw_contents.extend([*bound.raw, *raw])
        return self.replicas.ask(method, request)


class RemoteKinds:
    """A catalogue in which some kinds live in other processes; those are looked up first."""

    def __init__(
        self,
        catalogue: Kinds,
        remotes: Mapping[str, Sequence[str]],
        policy: RemotePolicy = PATIENT,
        limits: Limits = DEFAULT,
    ):
        self.catalogue = catalogue
        self._channels = open_channels(itertools.chain(*remotes.values()), policy, limits)
        self.remotes = {
            kind_name(kind): RemoteKind(
                kind_name(kind), [self._channels[address] for address in addresses], policy, limits
            )
            for kind, addresses in remotes.items()
        }

    def kind(self, name: str) -> AnyKind:
        """The kind of this name. Raises UnknownKind with a near miss."""
        if remote := self.remotes.get(kind_name(name)):
            return remote
        try:
            return self.catalogue.kind(name)
        except UnknownKind as error:
            raise UnknownKind(
                *(Mistake(m.path, m.problem, known(name, self.names())) for m in error.mistakes)
            ) from None

    def kinds(self) -> list[AnyKind]:
        """Every kind, by name, that can be asked now; hosts are asked side by side, and one that
        is away, or does not describe its kind, is left out with a warning."""
        every: list[AnyKind] = [
            kind for kind in self.catalogue.kinds() if kind.name not in self.remotes
        ]

        def there(remote: RemoteKind) -> bool:
            try:
                remote.module()
            except BasinError as error:  # away, or no host of this kind: the others can be asked
                log.warning("left out of the list: %s", error)
                return False
            return True

        if remotes := list(self.remotes.values()):
            with ThreadPoolExecutor(min(len(remotes), ASKED)) as pool:
                answered = list(pool.map(there, remotes))
            every += itertools.compress(remotes, answered)
        return sorted(every, key=lambda kind: kind.name)

    def names(self) -> list[str]:
        """The names of all kinds."""
        return sorted({*self.catalogue.names(), *self.remotes})

    def __iter__(self) -> Iterator[AnyKind]:
        return iter(self.kinds())

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()

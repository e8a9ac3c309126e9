"""The three energies of a node, from the outputs of any network: of itself, its place, its region.

    E_independent(v) = -ln sum_y exp(e_vy)            what the node's own features speak for
    E_local(v)       = -ln sum_y exp(Diff(e)_vy)      classes flow: neighbours of other classes
    E_group(v)       = Diff(E_independent)_v          energies flow: a region that is not known
    U(v)             = w_1 E_independent + w_2 E_local + w_3 E_group      high: not known

e is the log-evidence of `modules.shared.band`, fitted on outputs with messages and asked of outputs
without: what a node's neighbours say would hide a broken node. Source: GEBM, as named there.

    fitted = GraphEnergy().fit(h, logits, labels, labelled, free=(h0, logits0), graph=graph)
    fitted.score(h0, logits0, graph).total         # (N,)
    fitted.predict(h0, logits0, graph)             # (N, C), diffused evidence as a Dirichlet's mean
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.diffusion import Graph, diffuse, diffuse_logs
from modules.shared.band import ORDINARY, Evidence, evidence_of, fit_evidence, limit_of, middle

ENERGIES = ("independent", "local", "group")


class Energies(NamedTuple):
    """Of each node, (N,) float64."""

    independent: Tensor
    local: Tensor
    group: Tensor
    total: Tensor

    @property
    def parts(self) -> Tensor:
        """The three side by side. -> (N, 3)"""
        return torch.stack(self[:3], 1)


@dataclass(frozen=True)
class GraphEnergy:
    """gamma: the weight of distance. steps, alpha: of the diffusion. weights: of the three energies
    in their sum. ordinary: the share of nodes it knows that it stands by."""

    gamma: float = 1.0
    steps: int = 10
    alpha: float = 0.5
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ordinary: float = ORDINARY

    def __post_init__(self):
        wrong = []
        if self.steps < 0:
            wrong.append(Mistake("steps", f"{self.steps!r}", "give a number >= 0"))
        if not 0 <= self.alpha <= 1:
            wrong.append(Mistake("alpha", f"{self.alpha!r}", "give 0 <= alpha <= 1"))
        if len(self.weights) != 3 or not min(self.weights) >= 0:
            wrong.append(Mistake("weights", f"{self.weights!r}", "give three numbers >= 0"))
        if not 0 < self.ordinary <= 1:
            wrong.append(Mistake("ordinary", f"{self.ordinary!r}", "give 0 < ordinary <= 1"))
        if wrong:
            raise BadQuery(*wrong)

    def fit(
        self,
        h: Tensor,
        logits: Tensor,
        labels: Tensor,
        labelled: Tensor | None = None,
        *,
        free: tuple[Tensor, Tensor] | None = None,
        graph: Graph | None = None,
    ) -> "FittedEnergy":
        """Gaussians of the labelled nodes, intervals of all, and limits of the energies.

        h (N, d), logits (N, C): outputs with messages. free: both without messages; None: the same,
        as of a classifier without a graph. Limits are told by nodes that are not labelled, where
        there are some, else by all.
        """
        evidence = fit_evidence(h, logits, labels, labelled, self.gamma)
        bare = FittedEnergy(self, evidence)
        found = bare.score(*(free or (h, logits)), graph)
        held = ~labelled if labelled is not None and not bool(labelled.all()) else slice(None)
        limits = [limit_of(energy[held], self.ordinary) for energy in found]
        usual = middle(found.independent[held, None])[:, 0]
        return FittedEnergy(self, evidence, torch.tensor(limits, dtype=torch.float64), usual)


@dataclass(frozen=True, eq=False)
class FittedEnergy:
    """The energies of nodes. limits: (4,), of the three and of their sum. usual: (2,), the edges of
    the middle 95 % of the independent one."""

    settings: GraphEnergy
    evidence: Evidence
    limits: Tensor = field(default_factory=lambda: torch.full((4,), torch.inf).double())
    usual: Tensor = field(default_factory=lambda: torch.tensor([-torch.inf, torch.inf]).double())

    def log_evidence(self, h: Tensor, logits: Tensor) -> Tensor:
        """e of nodes, by their outputs without messages. (N, d), (N, C) -> (N, C)"""
        return self.evidence.log_evidence(h, logits)

    def score(self, h: Tensor, logits: Tensor, graph: Graph | None = None) -> Energies:
        """The energies; without a graph all three are the same."""
        return self.of_evidence(self.log_evidence(h, logits), graph)

    def of_evidence(self, e: Tensor, graph: Graph | None = None) -> Energies:
        """The energies of a log-evidence. (N, C)"""
        _check_nodes(e, graph)
        own = -e.logsumexp(1)
        flows = diffuse(torch.cat([e, own[:, None]], 1), graph, *self._flow)
        parts = (own, -flows[:, :-1].logsumexp(1), flows[:, -1])
        every = zip(self.settings.weights, parts, strict=True)
        return Energies(*parts, torch.stack([w * part for w, part in every]).sum(0))

    def inside(self, found: Energies) -> Tensor:
        """Which nodes are stood by: by their sum, where their own energy is not far too low.
        -> (N,) bool"""
        return (found.total <= self.limits[3]) & (found.independent >= self.lowest)

    def parts_inside(self, found: Energies) -> Tensor:
        """The same by each of the three energies. -> (N, 3) bool"""
        low = torch.stack([self.lowest, *[torch.full_like(self.lowest, -torch.inf)] * 2])
        return (found.parts <= self.limits[:3]) & (found.parts >= low)

    @property
    def lowest(self) -> Tensor:
        """A width of the middle below it. Where features lie so far off that logits outgrow the
        distance of some class, energies are lower than those of any node that is known. -> ()"""
        low, high = self.usual
        return low - (high - low)

    def predict(
        self, h: Tensor, logits: Tensor, graph: Graph | None = None, *, gated: bool = False
    ) -> Tensor:
        """p_vy = (1 + beta_vy) / (C + sum_y beta_vy), beta = Diff(exp e): evidence of neighbours
        outvotes a node that has none. gated: a node whose own energy is not a usual one gives no
        evidence, be it too high, or too low: so may it be far off where logits happen to outgrow
        the distance. -> (N, C)"""
        return self.log_chances(h, logits, graph, gated=gated).exp()

    def log_chances(
        self, h: Tensor, logits: Tensor, graph: Graph | None = None, *, gated: bool = False
    ) -> Tensor:
        """ln p of `predict`, finite however small. -> (N, C)"""
        e = self.log_evidence(h, logits)
        _check_nodes(e, graph)
        if gated:
            own = -e.logsumexp(1, keepdim=True)
            kept = (own >= self.usual[0]) & (own <= self.usual[1])
            e = torch.where(kept, e, -torch.inf)
        return dirichlet_logs(diffuse_logs(e, graph, *self._flow))

    @property
    def _flow(self) -> tuple[int, float]:
        return self.settings.steps, self.settings.alpha

    def tensors(self) -> dict[str, Tensor]:
        """As a file of weights keeps it; `fitted_of` reads it."""
        s = self.settings
        numbers = [float(s.steps), s.alpha, *s.weights, s.ordinary]
        told = {"settings": torch.tensor(numbers, dtype=torch.float64)}
        told |= {"limits": self.limits, "usual": self.usual}
        return {**self.evidence.tensors(), **told}


def fitted_of(tensors: Mapping[str, Tensor]) -> FittedEnergy:
    """What `FittedEnergy.tensors` kept. KeyError where something is missing."""
    evidence = evidence_of(tensors)
    steps, alpha, a, b, c, ordinary = tensors["settings"].tolist()
    settings = GraphEnergy(evidence.gamma, int(steps), alpha, (a, b, c), ordinary)
    return FittedEnergy(settings, evidence, tensors["limits"], tensors["usual"])


def dirichlet_logs(logs: Tensor) -> Tensor:
    """ln of the mean of a Dirichlet whose evidence is exp(logs): even where there is none.
    (N, C) -> (N, C)"""
    return torch.logaddexp(logs, torch.zeros_like(logs)).log_softmax(1)


def _check_nodes(e: Tensor, graph: Graph | None) -> None:
    if graph is not None and graph.nodes != len(e):
        problem = f"{len(e)} nodes, and the graph has {graph.nodes}"
        raise BadQuery(Mistake("embeddings", problem, "give one row for each node"))

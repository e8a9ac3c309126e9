"""Labels of the nodes of a graph, by a graph network that knows which nodes it does not know."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Given, Input, Real, Told, Variable, View
from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake, known, shown
from engine.factors import Factors
from modules.graph.epistemic.diffusion import Graph
from modules.graph.epistemic.model import load_model
from modules.graph.epistemic.told import FORM, check_inputs, domains_given, of_each
from modules.parameters import Strict
from modules.shared.files import File


class Parameters(Strict):
    """Where the weights lie."""

    weights: File = Field(
        description="A file of `basin train graph.epistemic`; a bare name is also looked for "
        "beside the kinds that ship with Basin."
    )


class Epistemic(Term):
    """The labels of nodes, told their features and edges: E = - sum over nodes of ln p_v(label).

    Scope [features (n, f), edges (m, 2), labels (n)], or without edges: any classifier. p_v is the
    softmax of a graph network where the energy of what is not known (`energies.py` beside this
    file: of the node, its place, its region) lies within the band of 95 % of nodes it knows;
    beyond, the mean of the evidence that flows to it. Such nodes are flagged ABSTAIN, and
    `graph.doubt` tells by which energy. In nats; explicit, a cost of each label. Edges count both
    ways, once; absent nodes take their edges along. `blocks.safetensors` ships with Basin:
    `python -m examples.generators` makes its data, and it names the command. Source: Fuchsgruber
    et al., NeurIPS 2024. BadQuery: weights that are none, another shape, an unknown class.
    """

    calibrated = True
    partial = True
    fixed_structure = True

    def __init__(self, *scope: Input | Variable | View, weights: str):
        super().__init__(*scope)
        self.model = load_model(weights)
        *inputs, labels = self.scope
        check_inputs(inputs, self.model.width)
        domain, classes = labels.variable.domain, list(self.model.classes)
        if not isinstance(domain, Finite):
            raise BadQuery(Mistake(f"scope[{len(inputs)}]", "has no labels to choose from", FORM))
        if labels.shape != inputs[0].shape[:1]:
            problem = f"{[*labels.shape]} labels for {inputs[0].shape[0]} nodes"
            raise BadQuery(Mistake(f"scope[{len(inputs)}]", problem, "give one a node"))
        strange = [value for value in domain.values if value not in classes]
        if strange:
            problem = f"{shown(strange[0])} is no class of the weights"
            raise BadQuery(
                Mistake(
                    f"scope[{len(inputs)}]", problem, known(str(strange[0]), [*map(str, classes)])
                )
            )
        self.order = torch.tensor([classes.index(value) for value in domain.values])

    def costs(self, inputs: Sequence[Given]) -> tuple[Tensor, Tensor]:
        """-ln p of each label, and which nodes are there. -> (B, n, k) float64, (B, n) bool"""
        return of_each(inputs, self._costs)

    def _costs(self, features: Tensor, graph: Graph | None) -> Tensor:
        return -self.model.judge(features, graph).logs[:, self.order]

    def energy(self, *tensors: Any) -> Tensor:  # ..., (B, n, k) -> (B,)
        *inputs, labels = tensors
        costs, _ = self.costs(inputs)
        return (costs.to(labels) * labels).sum((1, 2))

    def cost(self, *tensors: Any) -> Tensor:  # ..., (B, n) places -> (B,)
        *inputs, labels = tensors
        costs, _ = self.costs(inputs)
        return costs.to(labels.device).gather(2, labels[..., None]).sum((1, 2))

    def factors(self, *domains: Domain) -> Factors:
        costs, _ = self.costs(domains_given(domains, self.dtype))
        return Factors.unary(costs.numpy())

    def floor(self) -> float:
        return 0.0

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Any]) -> Tensor:
        """By node: the sum of its energies lies within the band; an absent node says nothing."""
        outside, there = of_each(tensors[:-1], self._outside)
        return ~(outside.bool() & there)

    def _outside(self, features: Tensor, graph: Graph | None) -> Tensor:
        found = self.model.energies(features, graph)
        return (~self.model.fitted.inside(found)).double()

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.graph.epistemic.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "Epistemic":
        return cls(*small_graph(), Variable("labels", Finite((0, 1, 2), (4,))), weights=SHIPPED)


SHIPPED = "blocks.safetensors"


def small_graph() -> tuple[Input, Input]:
    """Four nodes with the features of the weights that ship with Basin, and three edges."""
    width = load_model(SHIPPED).width
    edges = Told((3, 2), low=0, high=3, integer=True)
    return Input("features", Real((4, width))), Input("edges", edges)

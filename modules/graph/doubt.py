"""The three energies of each node of a graph: which nodes should I not trust, and why not?"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Input, Real, Variable, View
from engine.energy import Definition
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from modules.graph.epistemic.diffusion import Graph
from modules.graph.epistemic.model import FOLDER, load_model
from modules.graph.epistemic.term import SHIPPED, small_graph
from modules.graph.epistemic.told import check_inputs, of_each
from modules.parameters import Strict
from modules.shared.files import File


class Parameters(Strict):
    """Where the weights lie."""

    weights: File = Field(description="A file of `basin train graph.epistemic`.")


class Doubt(Definition):
    """doubt[v] = the energies of node v, told features and edges: independent, local, group.

    Scope [features (n, f), edges (m, 2), doubt (n, 3)], or without edges; `doubt` is a variable of
    real numbers that this term computes: high where the network of the weights does not know the
    node by its own features, beside its neighbours, or as part of a region. Numbers that lie
    outside the band of 95 % of ordinary nodes are named under ABSTAIN, as [node, energy].
    No unit but that of the
    network's logits. Source and formulas: `graph.epistemic`. BadQuery: as there."""

    partial = True
    dtype = torch.float64
    shipped = FOLDER

    def __init__(self, *scope: Input | Variable | View, weights: str):
        super().__init__(*scope)
        self.model = load_model(weights)
        *inputs, doubt = self.scope
        check_inputs(inputs, self.model.width)
        wanted = (inputs[0].shape[0], 3)
        if isinstance(doubt.variable.domain, Finite) or doubt.told or doubt.shape != wanted:
            remedy = f"a real variable of the shape {[*wanted]}: independent, local, group"
            problem = f"has the shape {[*doubt.shape]}" if doubt.shape != wanted else "is not real"
            raise BadQuery(Mistake(f"scope[{len(inputs)}]", problem, remedy))

    def define(self, *inputs: Any) -> Tensor:  # ... -> (B, n, 3); 0 for absent nodes
        made, _ = of_each(inputs, self._energies)
        return made.to(inputs[0].values.device)

    def _energies(self, features: Tensor, graph: Graph | None) -> Tensor:
        return self.model.energies(features, graph).parts

    def factors(self, *domains: Domain) -> Factors | None:
        """None: these are numbers."""
        return None

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Any]) -> Tensor:
        """By node and energy, whether it lies within its band; an absent node says nothing."""
        outside, there = of_each(tensors[:-1], self._outside)
        return ~(outside.bool() & there[..., None]).flatten(1)

    def _outside(self, features: Tensor, graph: Graph | None) -> Tensor:
        found = self.model.energies(features, graph)
        return (~self.model.fitted.parts_inside(found)).double()

    @classmethod
    def example(cls) -> "Doubt":
        return cls(*small_graph(), Variable("doubt", Real((4, 3))), weights=SHIPPED)

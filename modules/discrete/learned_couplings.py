"""Couplings between pairs of sites that were learned from solved examples, as a preference."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table
from modules.discrete.learned_rules.rules_file import FOLDER, fit, load_learned
from modules.discrete.learned_rules.rules_file import Parameters as Parameters
from modules.shared.sites import OverSites

SMALLEST = 0.01  # nats; couplings within it of 0 are taken as 0


class LearnedCouplings(OverSites):
    """What examples prefer, in nats: the trained couplings themselves, no rule among them.

    E = sum over relations c and pairs {i, j} of c of x_i' W_c x_j, W_c trained by Emmental
    pseudo-likelihood (engine.learning.objectives.pseudo_likelihood); entries below 0.01 count as 0.
    Affine in each site; in nats. Sites, values and relations as for discrete.learned_rules, from
    the same file. A pair of values has a cost here, not a verdict: use it beside rules, or to
    sample. BadQuery: as there; the file holds no couplings.
    """

    calibrated = True
    shipped = FOLDER

    def __init__(
        self,
        *scope: Variable | View,
        weights: str,
        relations: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ):
        super().__init__(*scope)
        learned = load_learned(weights)
        if learned.couplings is None:
            raise BadQuery(
                Mistake("weights", f"{weights} holds rules alone", "train it for longer")
            )
        fitted = fit(learned, self.layout, self.scope, dict(relations) if relations else None)
        k = len(self.layout.domains[0].values)
        there = np.flatnonzero(fitted.places >= 0)
        place = fitted.places[there]
        self.costs: list[tuple[Ints, np.ndarray]] = []  # pairs of sites (M, 2), table (k, k)
        for pairs, table in zip(fitted.pairs(), learned.tables(), strict=True):
            kept = np.where(np.abs(table) >= SMALLEST, table, 0.0)
            own = np.eye(k) * kept[0, 0] if learned.rules.alike else np.zeros((k, k))
            own[np.ix_(place, place)] = kept[np.ix_(there, there)]
            if own.any() and len(pairs):
                self.costs.append((pairs, own))
        sites = [pairs for pairs, _ in self.costs]
        owner = np.repeat(np.arange(len(sites)), [len(pairs) for pairs in sites])
        ends = np.concatenate(sites) if sites else np.zeros((0, 2), dtype=np.int64)
        self.one, self.other = torch.from_numpy(np.ascontiguousarray(ends.T))
        tables = [table for _, table in self.costs]
        self.tables = torch.from_numpy(np.stack(tables) if tables else np.zeros((0, k, k)))
        self.owner = torch.from_numpy(owner)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(tensors).double()
        device = x.device
        left, right = x[:, self.one.to(device)], x[:, self.other.to(device)]  # (B, M, k)
        table = self.tables.to(x)[self.owner.to(device)]  # (M, k, k)
        return torch.einsum("bmi,mij,bmj->b", left, table, right)

    def factors(self, *domains: Domain) -> Factors:
        k = self.tables.shape[-1]
        places = np.indices((k, k)).reshape(2, -1).T
        tables, offset = [], 0
        for pairs, table in self.costs:
            some = table.ravel() != 0
            part = np.arange(offset, offset + len(pairs))
            own = np.zeros(len(pairs), dtype=np.int64)
            tables.append(Table(pairs, places[some], table.ravel()[some], 0.0, own, part))
            offset += len(pairs)
        return self.made(domains, tables=tuple(tables))

    def floor(self) -> float:
        return float(sum(len(pairs) * table.min() for pairs, table in self.costs))

    @classmethod
    def example(cls) -> "LearnedCouplings":
        x = Variable("grid", Finite(tuple(range(1, 10)), (9, 9)))
        return cls(x, weights="learned_sudoku.safetensors")

"""How far any classifier may be believed: its evidence less distance, and the band of that.

    r_vy = (d2_vy - m_lo_y) / (m_hi_y - m_lo_y) * (l_hi_y - l_lo_y) + l_lo_y    distance, as a logit
    e_vy = l_vy - gamma * r_vy              log-evidence of class y;  E_v = -ln sum_y exp(e_vy)
    d2_vy = sum_j (h_vj - mu_yj)^2 / var_yj  by one diagonal Gaussian a class, of embeddings h

The logits l of a network with kinks grow along a ray or stay flat, so that by them alone what lies
far off looks certain; d2 grows with the square. [m_lo, m_hi] and [l_lo, l_hi] hold the middle 95 %
of d2 and l, class by class. An answer is stood by where E_v lies below a quantile of ordinary ones.

    band = fit_band(embeddings, logits, labels)
    band.inside(embeddings, logits)                # (N,) bool, for `Term.accepts`

Source: Fuchsgruber, Wollschläger, Günnemann, "Energy-based epistemic uncertainty for graph neural
networks", NeurIPS 2024. All of it in float64.

    away_v = min_y (h_v - mu_y)' S^-1 (h_v - mu_y)    `Nearest`: one spread S of all, no logits

is what pictures are judged by (Lee, Lee, Lee, Shin, NeurIPS 2018). There the evidence above was
worse: at the quantile of 99.9 % it passes blank paper; 17 % of 8 x 8 noise is outside where
`Nearest` has 27 %, and 78 % of binary noise of 28 x 28 where that has all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake

LEAST = 1e-6  # no variance lies below
MIDDLE = 0.95  # share of an interval
ORDINARY = 0.95  # share of what a classifier knows that is stood by


@dataclass(frozen=True, eq=False)
class Gaussians:
    """One diagonal Gaussian a class. mean, variance: (C, d) float64."""

    mean: Tensor
    variance: Tensor

    def distance(self, h: Tensor) -> Tensor:
        """The square of the Mahalanobis distance to each class. (N, d) -> (N, C)"""
        h, scale = h.double(), self.variance.rsqrt()
        each = [((h - mean) * s).square().sum(1) for mean, s in zip(self.mean, scale, strict=True)]
        return torch.stack(each, 1)


def fit_gaussians(h: Tensor, labels: Tensor, classes: int) -> Gaussians:
    """Mean and biased variance of each class. (N, d), (N,) -> C of them

    A class without an example has the mean and variance of all. Where a variance is hardly above 0,
    1e-8, then 1e-7 and so on is added to all of its class until none lies at or below `LEAST`.
    """
    h = h.double()
    mean, variance = [], []
    for y in range(classes):
        own = h[labels == y]
        own = own if len(own) else h
        mean.append(own.mean(0))
        variance.append(_lifted(own.var(0, unbiased=False)))
    return Gaussians(torch.stack(mean), torch.stack(variance))


def _lifted(variance: Tensor) -> Tensor:
    more = 1e-8
    while float(variance.min()) <= LEAST:
        variance, more = variance + more, 10 * more
    return variance


@dataclass(frozen=True, eq=False)
class Nearest:
    """Classes of one spread. means (C, d); whitening (d, d): makes their common spread white."""

    means: Tensor
    whitening: Tensor

    def away(self, h: Tensor) -> Tensor:
        """The square of the Mahalanobis distance to the nearest class. (N, d) -> (N,) float64"""
        white = torch.cdist(h @ self.whitening, self.means @ self.whitening)
        return white.square().amin(1).double()


def fit_nearest(h: Tensor, labels: Tensor, classes: int) -> Nearest:
    """The mean of each class and the spread round it that is common to all. (N, d), (N,)"""
    means = torch.stack([h[labels == k].mean(0) for k in range(classes)]).double()
    rest = h.double() - means[labels]
    values, vectors = torch.linalg.eigh(rest.T @ rest / len(rest))
    floor = 1e-3 * float(values.mean())
    return Nearest(means.float(), (vectors / (values + floor).sqrt()).float())


def middle(x: Tensor) -> Tensor:
    """The edges of the middle 95 % of each column. (N, C) -> (2, C)"""
    ordered, n, cut = x.sort(0).values, len(x), (1 - MIDDLE) / 2
    low = min(int(cut * n), n - 1)
    high = max(int((1 - cut) * n) - 1, low)
    return torch.stack([ordered[low], ordered[high]])


@dataclass(frozen=True, eq=False)
class Evidence:
    """The log-evidence of a classifier's classes. distances, logits: (2, C), edges of the middle of
    each as it was fitted. gamma: the weight of distance."""

    gaussians: Gaussians
    distances: Tensor
    logits: Tensor
    gamma: float = 1.0

    def log_evidence(self, h: Tensor, logits: Tensor) -> Tensor:
        """(N, d), (N, C) -> (N, C) float64"""
        if h.shape[1] != self.gaussians.mean.shape[1] or logits.shape[1] != self.logits.shape[1]:
            fits = [*self.gaussians.mean.shape]
            raise BadQuery(
                Mistake(
                    "embeddings",
                    f"{h.shape[1]} numbers and {logits.shape[1]} classes",
                    f"fitted to {fits[1]} and {fits[0]}",
                )
            )
        (near, far), (low, high) = self.distances, self.logits
        width = far - near
        share = (self.gaussians.distance(h) - near) / torch.where(width > 0, width, 1.0)
        return logits.double() - self.gamma * (share * (high - low) + low)

    def energy(self, h: Tensor, logits: Tensor) -> Tensor:
        """-ln of the sum of the evidence: low where much speaks for some class. -> (N,)"""
        return -self.log_evidence(h, logits).logsumexp(1)

    def tensors(self) -> dict[str, Tensor]:
        """As a file of weights keeps it; `evidence_of` reads it."""
        return {
            "mean": self.gaussians.mean,
            "variance": self.gaussians.variance,
            "distances": self.distances,
            "logits": self.logits,
            "gamma": torch.tensor(self.gamma, dtype=torch.float64),
        }


def evidence_of(tensors: Mapping[str, Tensor]) -> Evidence:
    """What `Evidence.tensors` kept. KeyError where something is missing."""
    gaussians = Gaussians(tensors["mean"], tensors["variance"])
    return Evidence(gaussians, tensors["distances"], tensors["logits"], float(tensors["gamma"]))


def fit_evidence(
    h: Tensor,
    logits: Tensor,
    labels: Tensor,
    labelled: Tensor | None = None,
    gamma: float = 1.0,
) -> Evidence:
    """Gaussians of what is labelled, intervals of all. (N, d), (N, C), (N,), (N,) bool

    Raises BadQuery where shapes do not fit, numbers are none, or nothing is labelled.
    """
    _check(h, logits, labels, labelled, gamma)
    own = torch.ones_like(labels, dtype=torch.bool) if labelled is None else labelled
    gaussians = fit_gaussians(h[own], labels[own], logits.shape[1])
    return Evidence(gaussians, middle(gaussians.distance(h)), middle(logits.double()), gamma)


def _check(
    h: Tensor, logits: Tensor, labels: Tensor, labelled: Tensor | None, gamma: float
) -> None:
    wrong = []
    n = len(labels)
    for name, x in (("embeddings", h), ("logits", logits)):
        if x.dim() != 2 or len(x) != n:
            wrong.append(Mistake(name, f"has the shape {[*x.shape]}", f"give {n} rows of numbers"))
        elif not bool(x.isfinite().all()):
            wrong.append(Mistake(name, "has nan or inf", "leave these rows out"))
    if labelled is not None and labelled.shape != labels.shape:
        wrong.append(Mistake("labelled", f"{len(labelled)} entries", f"give {n}"))
    elif not (labels if labelled is None else labels[labelled]).numel():
        wrong.append(Mistake("labelled", "is nowhere true", "name labelled rows"))
    if not wrong:
        known = labels if labelled is None else labels[labelled]
        if int(known.min()) < 0 or int(known.max()) >= logits.shape[1]:
            wrong.append(
                Mistake("labels", f"{int(known.min())} to {int(known.max())}", "give 0 to C - 1")
            )
    if not 0 <= gamma < float("inf"):
        wrong.append(Mistake("gamma", f"{gamma!r}", "give a number >= 0"))
    if wrong:
        raise BadQuery(*wrong)


@dataclass(frozen=True, eq=False)
class Band:
    """What is stood by: an energy of at most `limit`."""

    evidence: Evidence
    limit: float

    def inside(self, h: Tensor, logits: Tensor) -> Tensor:
        """(N, d), (N, C) -> (N,) bool"""
        return self.evidence.energy(h, logits) <= self.limit

    def tensors(self) -> dict[str, Tensor]:
        """As a file of weights keeps it; `band_of` reads it."""
        return {**self.evidence.tensors(), "limit": torch.tensor(self.limit, dtype=torch.float64)}


def band_of(tensors: Mapping[str, Tensor]) -> Band:
    """What `Band.tensors` kept. KeyError where something is missing."""
    return Band(evidence_of(tensors), float(tensors["limit"]))


def fit_band(
    h: Tensor,
    logits: Tensor,
    labels: Tensor,
    held: tuple[Tensor, Tensor] | None = None,
    gamma: float = 1.0,
    ordinary: float = ORDINARY,
) -> Band:
    """The band of a classifier without a graph. held: embeddings and logits of examples that it did
    not learn from, by which the limit is set; None: the same examples again, which is narrower."""
    evidence = fit_evidence(h, logits, labels, gamma=gamma)
    return Band(evidence, limit_of(evidence.energy(*(held or (h, logits))), ordinary))


def limit_of(energies: Tensor, ordinary: float = ORDINARY) -> float:
    """The quantile that this share of energies lies at or below. (N,)"""
    ordered = energies.double().sort().values
    return float(ordered[min(len(ordered) - 1, max(0, -int(-ordinary * len(ordered) // 1) - 1))])


def quantile_at(
    shares: Sequence[float], values: Sequence[float], share: float, lowest: float = 0.0
) -> float:
    """What `share` of all lie below, on lines between the shares whose values were kept; `lowest`
    at share 0."""
    last = 0.0, lowest
    for at, value in zip(shares, values, strict=True):
        if share <= at:
            return last[1] + (share - last[0]) / (at - last[0]) * (value - last[1])
        last = at, value
    return math.inf

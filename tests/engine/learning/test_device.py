"""Training on another device: one step of every objective is that of the host, without a GPU."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from inspect import isabstract
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.domain import Finite, Real, State, Variable
from engine.energy import Term
from engine.learning import objectives
from engine.learning.corruptions import (
    Cyclic,
    Gaussian,
    Grid,
    Neighbour,
    Ordinal,
    Product,
    Uniform,
    bernoulli,
)
from engine.learning.examples import Stored
from engine.learning.objective import Objective, pack, unpack
from engine.learning.objectives.alternating import Alternating
from engine.learning.objectives.autoencoding import Autoencoding
from engine.learning.objectives.contrastive_divergence import ContrastiveDivergence
from engine.learning.objectives.cross_entropy import CrossEntropy
from engine.learning.objectives.denoising_diffusion import (
    DenoisingDiffusion,
    cosine,
    diffusing,
)
from engine.learning.objectives.distill_to_arm import DistillToARM
from engine.learning.objectives.dual_mcmc import DualMcmc
from engine.learning.objectives.energy_discrepancy import EnergyDiscrepancy
from engine.learning.objectives.erasure import Erasure
from engine.learning.objectives.hat import HatRefinement, HatSynthesis
from engine.learning.objectives.max_entropy_irl import SeparateValue, SharedValue
from engine.learning.objectives.multiscale import MultiscaleScoreMatching
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood
from engine.learning.objectives.pseudo_spherical import PseudoSpherical
from engine.learning.objectives.score_matching import DenoisingScoreMatching
from engine.learning.objectives.sparse import Sparse
from engine.learning.objectives.teacher_forcing import TeacherForcing
from engine.learning.recipe import Recipe
from engine.learning.refiner import Refiner, Timed
from engine.minimizers.gibbs import Gibbs
from engine.moves.heat_bath import HeatBath
from engine.moves.langevin import Langevin
from engine.testing import elsewhere
from tests.support.learners import Spins, blank, every_state, exact_samples, spins, stream


class Squared(Spins):
    """Not affine in its sites."""

    affine = False

    def energy(self, x: Tensor) -> Tensor:
        own = super().energy(x)
        return own + 0.1 * own.square()


class Bump(Term):
    """E = |w z|^2 / 2 + <c, z> of real sites."""

    def __init__(self, z: Variable):
        super().__init__(z)
        self.w, self.c = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))

    def energy(self, z: Tensor) -> Tensor:
        return (self.w * z).square().sum(1) / 2 + z @ self.c


def spin_term() -> Spins:
    return blank(spins(4, 1))


def squared_term() -> Squared:
    x, like = Variable("x", Finite((0, 1), (4,))), spins(4, 1)
    return Squared(x, like.couplings.detach(), like.field.detach())


def spin_data() -> State:
    return {"x": exact_samples(spins(4, 1), 4, 12, 2)}


def bump() -> Bump:
    return Bump(Variable("z", Real((2,), -3.0, 3.0)))


def bump_data() -> State:
    return {"z": torch.randn(12, 2, generator=torch.Generator().manual_seed(0)).double()}


def single_data() -> State:
    return {"z": bump_data()["z"].float()}


def paired() -> nn.Module:
    """An energy of numbers, a generator of them, and an encoder: means and ln variances."""
    torch.manual_seed(0)
    nets = {"generator": nn.Linear(2, 2), "encoder": nn.Linear(2, 4)}
    return nn.ModuleDict({"energy": bump(), **nets})


def refined() -> nn.Module:
    """An energy, the value of states on the way, and a sampler of three steps."""
    torch.manual_seed(0)
    refiner = Refiner(Timed((2,), (2,), 3, 8), (2,), 3)
    return nn.ModuleDict({"energy": bump(), "value": Timed((2,), (), 3, 8), "refiner": refiner})


def denoiser() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"refiner": diffusing(Timed((2,), (2,), 3, 8), (2,), cosine(3))})


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def labelled() -> State:
    x = torch.linspace(-1, 1, 18).reshape(6, 3)
    return {"x": x, "label": torch.tensor([0, 1, 0, 1, 1, 0])}


class Letters(nn.Module):
    """Logits of a token by the one before it, and by what was carried along."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(3, 3))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]

    def blank(self, rows: int) -> tuple[Tensor, ...]:
        return (self.table.detach().new_zeros(rows, 3),)

    def learned(self, before: Tensor, carried: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        seen = self.table[before].cumsum(1) + carried[0][:, None]
        return seen, (seen[:, -1],)


def tokens() -> State:
    read = torch.tensor([[0, 1, 2], [2, 1, 0]])
    return {
        "tokens": read,
        "teacher": torch.linspace(-1, 1, 18).reshape(2, 3, 3),
        "chance": torch.full((2, 3), 0.5),
        "before": read,
        "text": read.flip(1),
        "fresh": torch.tensor([1, 0]),
    }


NETS = ("energy", "network", "student", "model")  # what objectives call the one they train
Case = tuple[Objective[Any], Callable[[], nn.Module], Callable[[], State]]
CHANNELS = {
    "uniform": Uniform(("x",), 0.5),
    "bits": bernoulli(("x",), 0.2),
    "cyclic": Cyclic(("x",), 0.05),
    "ordinal": Ordinal(("x",), 0.05),
    "grid": Grid(("x",)),
    "neighbour": Neighbour(("x",)),
    "product": Product((Uniform(("x",), 0.5),)),
}
CASES: dict[str, Case] = {
    "pseudo-likelihood": (PseudoLikelihood(holes=1, sites=2), spin_term, spin_data),
    "pseudo-likelihood, evaluated": (PseudoLikelihood(sites=2), squared_term, spin_data),
    "erasure": (Erasure(), spin_term, spin_data),
    "contrastive divergence": (
        ContrastiveDivergence(HeatBath(), steps=2, buffer=20, fresh=0.25, gamma=0.5, penalty=0.1),
        spin_term,
        spin_data,
    ),
    "from the data": (ContrastiveDivergence(Gibbs(), steps=2, buffer=0), squared_term, spin_data),
    "by langevin": (ContrastiveDivergence(Langevin(0.01), steps=2, buffer=20), bump, bump_data),
    "over all states": (
        PseudoSpherical(lambda: {"x": every_state(4)}, 0.5),
        spin_term,
        spin_data,
    ),
    "cross-entropy": (CrossEntropy(smoothing=0.1), classifier, labelled),
    "distillation": (DistillToARM(3), Letters, tokens),
    "teacher forcing": (TeacherForcing(2), Letters, tokens),
    "score matching": (DenoisingScoreMatching(0.3), bump, bump_data),
    "score matching at many widths": (MultiscaleScoreMatching(0.1, 0.5, 1.0), bump, bump_data),
    "in turn": (
        Alternating((DenoisingScoreMatching(0.3), DenoisingScoreMatching(0.5))),
        bump,
        bump_data,
    ),
    "autoencoding": (Autoencoding(2, "z"), paired, single_data),
    "hat": (HatRefinement(2, Langevin(0.01, adjusted=False), steps=2), paired, single_data),
    "hat and generator": (
        HatSynthesis(2, Langevin(0.01, adjusted=False), steps=2, bank=12),
        paired,
        single_data,
    ),
    "dual MCMC": (
        DualMcmc(
            2,
            Langevin(0.01, adjusted=False),
            Langevin(0.01, adjusted=False),
            beta=1.0,
            spread=0.5,
            picture_steps=2,
            latent_steps=2,
        ),
        paired,
        single_data,
    ),
    "maximum entropy, a value": (SeparateValue(), refined, bump_data),
    "maximum entropy, the energy": (SharedValue(), refined, bump_data),
    "denoising diffusion": (DenoisingDiffusion(), denoiser, bump_data),
    "sparse": (Sparse(PseudoLikelihood(), 0.1), spin_term, spin_data),
    "gaussian": (EnergyDiscrepancy(Gaussian(("z",), 0.3), negatives=4), bump, bump_data),
    **{
        name: (EnergyDiscrepancy(channel, negatives=4), spin_term, spin_data)
        for name, channel in CHANNELS.items()
    },
}


def below(abstract: type) -> Iterator[type]:
    """The final classes of an abstract one."""
    for own in abstract.__subclasses__():
        yield from below(own) if isabstract(own) or own.__subclasses__() else (own,)


def test_every_objective_has_a_case() -> None:
    held = {type(objective) for objective, _, _ in CASES.values()}
    for module in pkgutil.iter_modules(objectives.__path__):
        importlib.import_module(f"{objectives.__name__}.{module.name}")
    ours = {own for own in below(Objective) if own.__module__.startswith("engine.")}
    assert ours <= held, "give the new one a case above"


def one_step(case: Case, device: torch.device | str) -> tuple[list[Tensor], list[Tensor], Any]:
    """Losses, the parameters after a step along their gradients, and the state, of the second of
    two steps."""
    objective, term, data = case
    net, rng = term().to(device), stream(3).to(device)
    many = isinstance(net, nn.ModuleDict)
    nets = dict(net.items()) if many else dict.fromkeys(NETS, net)
    batch = {n: x.to(device) for n, x in data().items()}
    s, losses = objective.start(nets, rng.at(0)), []
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for step in (1, 2):
        updates = objective.updates(nets, batch, s, rng.at(step))
        while True:
            try:
                update = next(updates)
            except StopIteration as end:
                s = end.value
                break
            optimizer.zero_grad()
            update.loss.backward()
            if update.clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), update.clip)
            optimizer.step()
            losses.append(update.loss.detach())
    weights = [p.detach() for p in net.parameters()]
    held = pack(s)
    for x in (*losses, *weights, *tensors_of(held)):
        assert x.device == torch.device(device)
    restored = unpack(s, pack(s))
    assert type(restored) is type(s)
    return losses, weights, held


def tensors_of(held: Any) -> list[Tensor]:
    if isinstance(held, Tensor):
        return [held]
    if isinstance(held, int):  # a count of steps lies on no device
        return []
    every = held.values() if isinstance(held, dict) else held
    return [x for one in every for x in tensors_of(one)]


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_the_host(case: str) -> None:
    here = one_step(CASES[case], "cpu")
    with elsewhere() as device:
        there = [[x.cpu() for x in tensors_of(one)] for one in one_step(CASES[case], device)]
    for one, other in zip(here, there, strict=True):
        for x, y in zip(tensors_of(one), other, strict=True):
            assert torch.allclose(x, y, atol=1e-6)


def test_examples_stay_where_they_are_stored() -> None:
    """Their order is drawn on the host, whichever device the draws come from."""
    x = torch.arange(10.0)
    here = [Stored({"x": x}).batch(4, step, stream())["x"].tolist() for step in range(3)]
    with elsewhere() as device:
        for data in (Stored({"x": x}), Stored({"x": x.to(device)})):
            for rng in (stream(), stream().to(device)):
                got = [data.batch(4, step, rng)["x"] for step in range(3)]
                assert [t.tolist() for t in got] == here
                assert all(t.device == data.x["x"].device for t in got)


def test_a_state_is_restored_where_the_first_one_lies() -> None:
    objective = ContrastiveDivergence(HeatBath(), buffer=5)
    with elsewhere() as device:
        first = objective.start({"energy": spin_term().to(device)}, stream().to(device))
        saved = {n: x.cpu() for n, x in first.x.items()}
        assert unpack(first, [saved]).x["x"].device == device


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_steps_as_the_host(case: str) -> None:
    here, there = one_step(CASES[case], "cpu"), one_step(CASES[case], "cuda:0")
    for one, other in zip(here, there, strict=True):
        for x, y in zip(tensors_of(one), tensors_of(other), strict=True):
            assert torch.allclose(x, y.cpu(), atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_trains_as_the_host(tmp_path) -> None:
    """Killed and resumed; the networks come back where they were."""
    from engine.learning.train import train  # needs the extra `train`

    def trained(device: str, **budget: Any) -> Spins:
        term = spin_term().to(device)
        recipe = Recipe(steps=40, batch=8, rate=0.02, every=10, seed=3, **budget)
        objective = ContrastiveDivergence(HeatBath(), steps=1, buffer=20)
        train(objective, {"energy": term}, Stored(spin_data()), recipe, work=tmp_path / device[:4])
        return term

    trained("cuda:0", seconds=1e-9)
    here, there = trained("cpu"), trained("cuda:0")
    assert there.couplings.device == torch.device("cuda:0")
    assert torch.allclose(here.couplings, there.couplings.cpu(), atol=1e-4)

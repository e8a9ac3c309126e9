"""Training of several networks: whose gradients an update fills, who steps how, what is averaged,
and that torch's own generator is left alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from engine.errors import BadQuery
from engine.learning import averages
from engine.learning.examples import Drawn, Stored
from engine.learning.objective import Nets, Objective, Update
from engine.learning.optimizers import Adam, AdamW, Optimizer
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.random import Stream

X = Stored({"x": torch.randn(20, 2, generator=torch.Generator().manual_seed(0))})


def linear(seed: int) -> nn.Linear:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(seed + k)))
    return net


def three() -> dict[str, nn.Module]:
    return {"a": linear(1), "b": linear(2), "c": linear(3)}


@dataclass(frozen=True)
class Chained(Objective[tuple[()]]):
    """The loss |c(b(a(x)))|^2, taken by the networks it is told."""

    trains: str | tuple[str, ...]
    clip: float | None = None
    after: Callable[[Nets], None] = field(default=lambda nets: None, compare=False)

    def start(self, nets, rng):
        return ()

    def updates(self, nets, batch, s, rng):
        out = nets["c"](nets["b"](nets["a"](batch["x"])))
        yield Update(self.trains, out.square().mean(), self.clip)
        self.after(nets)
        return s


def stepped(objective: Objective, nets: dict[str, nn.Module], steps: int = 1, **more) -> Nets:
    train(objective, nets, X, Recipe(steps, 8, 0.1, average=None, decay=False, **more))
    return nets


def norm(nets: Nets, *names: str) -> float:
    grads = [p.grad for name in names for p in nets[name].parameters()]
    return float(torch.cat([g.reshape(-1) for g in grads if g is not None]).norm())


@pytest.mark.parametrize("trains", ["b", ("b",), ("a", "c"), ("a", "b", "c")])
def test_gradients_go_to_the_networks_that_are_named_alone(trains):
    seen = []

    def look(nets: Nets) -> None:
        seen.append({n: [p.grad for p in net.parameters()] for n, net in nets.items()})
        moved = {n for n, net in nets.items() if not torch.equal(net.weight, before[n])}
        assert moved == set(trains)  # code after a yield sees the step taken

    before = {n: net.weight.detach().clone() for n, net in three().items()}
    stepped(Chained(trains, after=look), three())
    for name, grads in seen[0].items():
        assert all((g is not None) == (name in trains) for g in grads)


def test_gradients_of_others_stay_as_they_were():
    mark, seen = torch.full((2, 2), 7.0), []

    def look(nets: Nets) -> None:
        seen.append(nets["c"].weight.grad)
        nets["c"].weight.grad = mark

    stepped(Chained("a", after=look), three(), 3)
    assert seen[0] is None and seen[1] is mark and seen[2] is mark and (mark == 7).all()


def test_a_step_of_several_networks_is_that_of_their_joint_gradient():
    nets, plain = stepped(Chained(("a", "b")), three(), 3), three()
    every = [p for n in "ab" for p in plain[n].parameters()]
    optimizer = torch.optim.AdamW(every, 0.1, weight_decay=0.0)
    rng = Stream(0, torch.zeros(1, dtype=torch.int64)).fork(501)
    for step in range(3):
        optimizer.zero_grad()
        out = plain["c"](plain["b"](plain["a"](X.batch(8, step, rng)["x"])))
        out.square().mean().backward()
        optimizer.step()
    for name in "abc":
        assert torch.equal(nets[name].weight, plain[name].weight)


def test_the_clip_is_of_all_networks_that_move_together():
    norms = []
    objective = Chained(("a", "b"), 0.5, lambda nets: norms.append(norm(nets, "a", "b")))
    stepped(objective, three())
    assert norms == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("trains", "said"),
    [
        ("d", "'d' is no network; known: a, b, c"),
        (("a", "a"), "share parameters"),
        ((), "does not depend"),
    ],
)
def test_updates_of_no_network_are_told(trains, said):
    with pytest.raises(BadQuery, match=said):
        stepped(Chained(trains), three())


@dataclass(frozen=True)
class Beside(Chained):
    """The network that is trained stands beside its loss."""

    detached: bool = False

    def updates(self, nets, batch, s, rng):
        out = nets["c"](batch["x"])
        yield Update(self.trains, (out.detach() if self.detached else out).mean())
        return s


@pytest.mark.parametrize("detached", [False, True])
def test_a_loss_that_its_network_does_not_change_is_told(detached):
    with pytest.raises(BadQuery, match="does not depend on a parameter of a"):
        stepped(Beside("a", detached=detached), three())


def test_a_frozen_parameter_stays():
    nets = three()
    nets["a"].bias.requires_grad_(False)
    bias, weight = nets["a"].bias.clone(), nets["a"].weight.detach().clone()
    stepped(Chained("a"), nets)
    assert torch.equal(nets["a"].bias, bias) and not torch.equal(nets["a"].weight, weight)


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize(
    ("optimizer", "plain"),
    [
        (Adam(0.03, (0.0, 0.9), 0.1), lambda p: torch.optim.Adam(p, 0.03, (0.0, 0.9), 1e-8, 0.1)),
        (AdamW(0.03, (0.5, 0.9), 0.2), lambda p: torch.optim.AdamW(p, 0.03, (0.5, 0.9), 1e-8, 0.2)),
    ],
    ids=["Adam", "AdamW"],
)
def test_each_network_steps_by_its_own_optimizer(optimizer: Optimizer, plain):
    nets = stepped(Chained(("a", "b", "c")), three(), 4, optimizers={"b": optimizer})
    other = three()
    rest = [p for n in "ac" for p in other[n].parameters()]
    both = [plain(other["b"].parameters()), torch.optim.AdamW(rest, 0.1, weight_decay=0.0)]
    rng = Stream(0, torch.zeros(1, dtype=torch.int64)).fork(501)
    for step in range(4):
        out = other["c"](other["b"](other["a"](X.batch(8, step, rng)["x"])))
        for one in both:
            one.zero_grad()
        out.square().mean().backward()
        for one in both:
            one.step()
    for name in "abc":
        assert torch.equal(nets[name].weight, other[name].weight)


def test_the_rate_falls_from_pass_to_pass():
    """20 examples, 8 a batch: steps 0 to 2 begin in the first pass, 3 and 4 in the second."""
    assert [X.epoch(8, step) for step in range(6)] == [0, 0, 0, 1, 1, 2]
    assert [Adam(2.0, fall=0.5).rate_at(epoch) for epoch in (0, 1, 3)] == [2.0, 1.0, 0.25]
    whole, fallen = (
        stepped(Chained("a"), three(), 4, optimizers={"a": AdamW(0.1, fall=fall)})["a"].weight
        for fall in (1.0, 0.5)
    )
    first, half = (
        stepped(Chained("a"), three(), 3, optimizers={"a": AdamW(0.1, fall=fall)})["a"].weight
        for fall in (1.0, 0.5)
    )
    assert torch.equal(first, half)
    assert torch.allclose(fallen - half, (whole - first) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"rate": float("nan")}, {"betas": (0.9, 1.0)}, {"betas": (0.9,)},
     {"weight_decay": -1.0}, {"fall": 0.0}, {"fall": 1.1}],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_wrong_settings_of_an_optimizer_are_told(kind, wrong):
    with pytest.raises(BadQuery, match=next(iter(wrong))):
        kind(**{"rate": 0.1, **wrong})


def test_optimizers_that_fit_no_network_are_told():
    with pytest.raises(BadQuery, match=r"optimizers\.d: no such network"):
        stepped(Chained("a"), three(), optimizers={"d": Adam(0.1)})
    with pytest.raises(BadQuery, match=r"nets\.c: has no parameters"):
        stepped(Chained("a"), {**three(), "c": nn.Identity()})
    endless = Drawn(lambda size, rng: {"x": torch.ones(size, 2)}, "ones")
    with pytest.raises(BadQuery, match=r"optimizers\.a\.fall: 0\.5"):
        recipe = Recipe(2, optimizers={"a": Adam(0.1, fall=0.5)})
        train(Chained("a"), three(), endless, recipe)


# ---------------------------------------------------------------- averages, modes, randomness


class Counted(nn.Module):
    """Batch normalization, a count, a mask and a buffer that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(2), linear(4)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("even", torch.tensor(True))
        self.register_buffer("last", torch.zeros(2), persistent=False)

    def forward(self, x):
        if self.training:
            self.even.logical_not_()
            self.last = x[0].detach()
        return self.linear(self.norm(x))


def test_buffers_are_averaged_beside_weights():
    """Against the formula, step by step."""
    path: list[dict[str, torch.Tensor]] = []
    nets = {**three(), "a": Counted()}
    objective = Chained("a", after=lambda nets: path.append(averages.copied(nets["a"])))
    mean = averages.copied(nets["a"])
    train(objective, nets, X, Recipe(12, 8, 0.05, average=0.6))
    for step, now in enumerate(path):
        memory = min(0.6, (1 + step) / (10 + step))
        for name in ("norm.running_mean", "norm.running_var", "norm.weight", "linear.weight"):
            mean[name] = memory * mean[name] + (1 - memory) * now[name]
    got = averages.numbers(nets["a"])
    for name in ("norm.running_mean", "norm.running_var", "norm.weight", "linear.weight"):
        assert torch.allclose(got[name], mean[name], atol=1e-6), name
        assert not torch.allclose(got[name], path[-1][name], atol=1e-6)
    assert got["norm.num_batches_tracked"] == 12 and bool(got["even"])
    assert got["mask"].tolist() == [0, -torch.inf] and "last" not in got


def test_looks_neither_train_nor_leave_a_trace():
    def figure(nets: Nets) -> float:
        assert not any(module.training for module in nets["a"].modules())
        nets["a"](torch.full((4, 2), 100.0))
        return float(torch.rand(()))

    def end(held_out) -> nn.Module:
        nets = {**three(), "a": Counted()}
        nets["a"].linear.eval()  # modes come back as they were
        train(Chained("a"), nets, X, Recipe(6, 8, every=2), held_out=held_out)
        assert nets["a"].training and not nets["a"].linear.training
        return nets["a"]

    plain, looked = end(None), end(figure)
    for name, t in plain.state_dict().items():
        assert torch.equal(t, looked.state_dict()[name]), name


@dataclass(frozen=True)
class Noisy(Chained):
    """Draws from torch's own generator."""

    def updates(self, nets, batch, s, rng):
        noise = nn.functional.dropout(batch["x"], 0.5) + torch.randn(2)
        yield Update("a", nets["a"](noise).square().mean())
        return s


def test_torchs_generator_is_seeded_by_the_step_and_given_back():
    ends = []
    for seed in (1, 2):
        nets = three()
        torch.manual_seed(seed)
        expected = torch.rand(3, generator=torch.Generator().manual_seed(seed))
        ends.append(stepped(Noisy("a"), nets, 3)["a"].weight)
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(*ends)  # whatever stood in the generator before
    assert not torch.equal(ends[0], stepped(Noisy("a"), three(), 3, seed=1)["a"].weight)


def test_steps_are_fed_with_different_numbers():
    rng, drawn = Stream(5, torch.tensor([9])), []
    for one in (rng, rng.at(1), rng.fork(1), Stream(6, rng.keys), rng):
        with one.feeding_torch():
            drawn.append(torch.rand(()).item())
    assert len(set(drawn)) == 4 and drawn[0] == drawn[4]

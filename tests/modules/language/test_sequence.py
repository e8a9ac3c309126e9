"""The map between rewards and logits against enumeration: what holds, to 1e-10."""

import math

import pytest
import torch

from engine.energy.term import required
from engine.errors import BadQuery
from engine.learning.objectives.distill_to_arm import distilled
from engine.learning.optimizers import Adam
from engine.testing import check_term
from modules.language.sequence.term import Sequences
from modules.language.sequence.tree import Levels, SequenceTree, centred, soft_value
from tests.support.twins import trained_twins

TIGHT = 1e-10


def drawn(tree: SequenceTree, seed: int = 0, wide: float = 1.0) -> Levels:
    rng = torch.Generator().manual_seed(seed)
    made = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in tree.shapes)
    return tree.masked(tuple(wide * x for x in made))


def zipf(count: int, exponent: float, seed: int = 0) -> torch.Tensor:
    """Chances i^-a of `count` things, in a random order, as logarithms."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return (-exponent * (1.0 + order.double()).log()).log_softmax(0)


def entropy(log: torch.Tensor) -> float:
    return float(-(log.exp() * log).sum())


def gap(one: Levels, other: Levels) -> float:
    """The largest difference of finite entries; those that are not finite are the same ones."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.isfinite(), b.isfinite())
        worst = max(worst, float((a - b)[a.isfinite()].abs().max()))
    return worst


TREES = [
    SequenceTree(8, 4),
    SequenceTree(3, 3),
    SequenceTree(8, 4, False),
    SequenceTree(4, 8, False),
]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_an_energy_and_its_model_have_the_same_chances(tree):
    if tree.ends:
        r = drawn(tree)
    else:
        rng = torch.Generator().manual_seed(3)
        r = tree.spread(torch.randn(tree.responses, generator=rng, dtype=torch.float64))
    q = tree.rewards_to_logits(r)
    total = tree.scores(r).logsumexp(0)  # by enumeration
    assert abs(float(total - tree.log_partition(r))) < TIGHT
    assert abs(float(total - soft_value(q[0])[0])) < TIGHT
    log = tree.log_chances(q)
    assert float((tree.scores(r) - total - log).abs().max()) < TIGHT
    assert abs(float(log.exp().sum()) - 1) < 1e-12
    if not tree.ends:  # before the last step logits are values alone
        assert float((q[0][0] - soft_value(q[1])).abs().max()) < TIGHT


def test_how_many_responses_there_are():
    assert SequenceTree(8, 4).responses == 585 == len(SequenceTree(8, 4).sequences())
    assert SequenceTree(3, 3).responses == 13
    rows = SequenceTree(3, 3).sequences()
    assert len({tuple(row) for row in rows.tolist()}) == 13
    sizes = [
        (SequenceTree(8, t, False).responses, SequenceTree(8, t, False).numbers)
        for t in range(1, 7)
    ]
    assert [n for n, _ in sizes] == [8, 64, 512, 4_096, 32_768, 262_144]
    assert [n for _, n in sizes] == [8, 72, 584, 4_680, 37_448, 299_592]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_the_map_and_its_inverse(tree):
    levels = drawn(tree, 1)
    there = tree.rewards_to_logits(tree.logits_to_rewards(levels))
    back = tree.logits_to_rewards(tree.rewards_to_logits(levels))
    assert gap(there, levels) < TIGHT and gap(back, levels) < TIGHT


@pytest.mark.parametrize("tree", TREES[:3], ids=str)
def test_what_changes_no_chance(tree):
    q, rng = drawn(tree, 2), torch.Generator().manual_seed(5)
    shift = [torch.randn(len(x), 1, generator=rng, dtype=torch.float64) for x in q]
    moved = tuple(x + c for x, c in zip(q, shift, strict=True))
    assert float((tree.log_chances(q) - tree.log_chances(moved)).abs().max()) < TIGHT
    assert gap(centred(q), centred(moved)) < TIGHT
    going = []
    for t, (x, c) in enumerate(zip(q, shift, strict=True)):  # r' = r + c(s) - c(s a)
        y = x + c
        if t + 1 < tree.length:
            y[:, : tree.values] -= shift[t + 1].reshape(len(x), tree.values)
        going.append(y)
    a, b = tree.rewards_to_logits(q), tree.rewards_to_logits(tuple(going))
    assert float((soft_value(b[0]) - soft_value(a[0]) - shift[0][:, 0]).abs().max()) < TIGHT
    assert float((tree.log_chances(a) - tree.log_chances(b)).abs().max()) < TIGHT


@pytest.mark.parametrize(
    "tree, exponent, known",
    [(TREES[2], 1.15, 5.0531), (TREES[2], 1.0, 6.0664), (TREES[3], 1.0, 7.7214)],
    ids=str,
)
def test_both_losses_are_least_at_the_entropy(tree, exponent, known):
    rho = zipf(tree.responses, exponent)
    assert entropy(rho) == pytest.approx(known, abs=1e-4)
    energy = rho.logsumexp(0) - (rho.exp() * rho).sum()  # A - E[R] at R = log rho
    assert float(energy) == pytest.approx(entropy(rho), abs=1e-12)
    q = tree.rewards_to_logits(tree.spread(rho))  # log conditionals of the prefixes
    arm = -(rho.exp() * tree.log_chances(q)).sum()
    assert float(arm) == pytest.approx(entropy(rho), abs=1e-12)


def test_trained_tables_meet_after_the_map():
    tree = SequenceTree(4, 4, False)
    rho = zipf(tree.responses, 1.15)
    scores = torch.zeros(tree.responses, dtype=torch.float64, requires_grad=True)
    logits = [torch.zeros(s, dtype=torch.float64, requires_grad=True) for s in tree.shapes]
    optimizer = Adam(0.05).made([scores, *logits])
    steps = 1_500
    for k in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * min(1.0, 4 * (1 - k / steps))
        ebm = scores.logsumexp(0) - (rho.exp() * scores).sum()
        arm = -(rho.exp() * tree.log_chances(tuple(logits))).sum()
        optimizer.zero_grad()
        (ebm + arm).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(ebm) - entropy(rho) < 1e-5 and float(arm) - entropy(rho) < 1e-5
        mapped = tree.rewards_to_logits(tree.spread(scores))
        assert gap(centred(mapped), centred(tuple(x.detach() for x in logits))) < 0.05


@pytest.mark.parametrize("tree", TREES[1:3], ids=str)
def test_bounds_of_distillation_hold(tree):
    teacher = tree.rewards_to_logits(drawn(tree, 4))
    p = tree.log_chances(teacher)
    worst = 0.0
    for seed in range(200):
        noise = 0.01 * 100 ** (seed % 5 / 4)
        student = tuple(q + n for q, n in zip(teacher, drawn(tree, 100 + seed, noise), strict=True))
        student = tree.masked(tuple(x.nan_to_num(0, 0, 0) for x in student))
        q = tree.log_chances(student)
        raw = max(
            float((a - b)[ok].abs().max())
            for a, b, ok in zip(teacher, student, tree.allowed(), strict=True)
        )
        told = joined(tree, teacher, student)
        forth, back = float((p.exp() * (p - q)).sum()), float((q.exp() * (q - p)).sum())
        assert float(told.divergence) == pytest.approx(forth, abs=1e-12)  # the chain rule
        eps, t = float(told.eps), tree.length
        assert eps <= raw + 1e-12
        for divergence in (forth, back):
            assert divergence <= min(2 * t * eps, t * eps**2 / 2) + 1e-12
            worst = max(worst, divergence / (2 * t * eps))
        assert float(told.bound) == pytest.approx(2 * t * eps)
        assert float(told.sharper) == pytest.approx(t * eps**2 / 2)
    assert 0.001 < worst < 1


def joined(tree: SequenceTree, teacher: Levels, student: Levels):
    reach = tree.prefix_log_chances(teacher)
    return distilled(torch.cat(teacher), torch.cat(student), torch.cat(reach).exp(), tree.length)


def test_rewards_beside_a_model_are_what_maximum_entropy_asks_for():
    tree = SequenceTree(3, 3)
    reference, r = drawn(tree, 6), drawn(tree, 7)
    log = centred(reference)
    both = tree.masked(
        tuple((a + b).nan_to_num(0, 0, -torch.inf) for a, b in zip(r, log, strict=True))
    )
    wanted = (tree.scores(r) + tree.log_chances(reference)).log_softmax(0)
    found = tree.log_chances(tree.rewards_to_logits(both))
    assert float((wanted - found).abs().max()) < TIGHT


def test_logits_look_ahead_and_rewards_do_not():
    tree, beta = SequenceTree(8, 4, False), 20.0
    scores = torch.zeros(tree.responses, dtype=torch.float64)
    secret = 2_345
    scores[secret] = beta
    r = tree.spread(scores)
    q = tree.rewards_to_logits(r)
    chance = math.exp(beta) / (math.exp(beta) + tree.responses - 1)
    assert float(tree.log_chances(q)[secret].exp()) == pytest.approx(chance, rel=1e-12)
    assert chance > 0.99999
    wanted = tree.sequences()[secret]
    assert torch.equal(tree.greedy(q), wanted)
    assert not torch.equal(tree.greedy(r), wanted)  # it has nothing to go by until the last step
    u = torch.rand(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (tree.drawn(q, 500, u) == wanted).all(1).float().mean() > 0.99


def test_the_term_keeps_its_laws_and_says_what_is_wrong():
    check_term(Sequences.example())
    view = Sequences.example().scope[0]
    with pytest.raises(BadQuery, match="shapes"):
        Sequences(view, [[[1.0, 2.0]]])
    with pytest.raises(BadQuery, match="no number"):
        Sequences(view, [[["x", 2.0]], [[0, 0], [0, 0]]])
    with pytest.raises(BadQuery, match="required"):
        required(Sequences.example())
    with pytest.raises(BadQuery, match="length"):
        SequenceTree(65, 30)
    with pytest.raises(BadQuery, match="levels"):
        SequenceTree(2, 2).masked((torch.zeros(1, 2),))


def test_trained_networks_meet_after_the_map():
    tree = SequenceTree(3, 3, False)
    told = trained_twins(tree, zipf(tree.responses, 1.0), steps=700, width=32)
    assert max(told.energy_gap, told.model_gap) <= 1e-2
    assert told.after <= 0.1 * told.before

"""A network that points at what followed like letters before: still a distribution."""

import math

import pytest
import torch

from engine import Finite, Problem, Variable, answers
from engine.energy.lesson import Lesson
from engine.learning.objectives.teacher_forcing import TeacherForcing
from engine.random import Stream
from engine.testing import check_term
from modules.language.model.causal import repeated
from modules.language.model.model_file import load_model, rounded, write_model
from modules.language.model.network import CharacterNet
from modules.language.model.pointing import Pointing
from modules.language.model.term import LanguageModel
from tests.modules.language.conftest import LETTERS

WORD = tuple("abc ")
REACH = 7


def made(reach: int = REACH) -> Pointing:
    """A network that knows nothing, and points with opinions."""
    rng = torch.Generator().manual_seed(0)
    model = Pointing(CharacterNet(LETTERS, 8, 16, generator=rng, recalls=64), reach, 4, rng)
    with torch.no_grad():
        model.net.outward *= 8
        model.asks *= 30
        model.keeps *= 30
        model.own.fill_(-4.0)
    return model.eval()


@pytest.fixture
def weights(tmp_path) -> str:
    path = tmp_path / "points.safetensors"
    write_model(path, made(), "made for a test")
    return str(path)


def over(weights: str, count: int, letters=WORD, **more) -> LanguageModel:
    return LanguageModel(Variable("text", Finite(letters, (count,))), weights=weights, **more)


def by_hand(model: Pointing, text: list[int]) -> list[list[float]]:
    """The chances of each letter by the formula, a letter at a time, in float64."""
    w = {name: t.double() for name, t in model.state_dict().items()}
    (h,) = model.net.begin()
    spots: list[tuple[torch.Tensor, int]] = []
    out = []
    for letter in text:
        one = h[0].double()
        asks = (w["asks"] @ one + w["shift_asks"]) / math.sqrt(model.keyed)
        own = float((6 + asks @ w["own"]).exp())
        chances = own * model.net.following((h,))[0].double().exp()
        total = own
        for key, said in spots[-model.reach :]:
            weight = float((asks @ key).exp())
            chances[said] += weight
            total += weight
        out.append((chances / total).tolist())
        spots.append((w["keeps"] @ one + w["shift_keeps"], letter))
        (h,) = model.net.read((h,), torch.tensor([letter]))
    return out


@torch.no_grad()
def test_chances_are_those_of_the_formula_in_every_way_to_read():
    model = made()
    x = torch.randint(5, (2, 200), generator=torch.Generator().manual_seed(1))
    wanted = torch.tensor([by_hand(model, row) for row in x.tolist()])
    told = wanted.gather(-1, x[..., None])[..., 0].log()
    known = repeated(model.begin(), 2)
    assert float((wanted.sum(-1) - 1).abs().max()) < 1e-6
    assert float((model.losses(known, x) + told).abs().max()) < 2e-5
    soft = torch.nn.functional.one_hot(x, len(LETTERS)).float()
    assert float((model.relaxed(known, soft).exp() - wanted).abs().max()) < 1e-5
    every = model.places(known, x)
    for t in range(200):
        assert torch.allclose(model.following(known).exp(), wanted[:, t].float(), atol=1e-5)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(known, every[t], strict=True))
        known = model.read(known, x[:, t])
    net = model.net.losses(repeated(model.net.begin(), 2), x)
    assert float((net + told).abs().max()) > 0.1  # it does point


@torch.no_grad()
def test_it_learns_as_it_reads():
    """In pieces, one behind the other."""
    model = made()
    x = torch.randint(5, (3, 60), generator=torch.Generator().manual_seed(2))
    wanted = -model.losses(repeated(model.begin(), 3), x)
    nothing = torch.full((3, 1), len(LETTERS))
    whole = torch.cat([nothing, x[:, :-1]], 1)
    carried, said = model.blank(3), []
    for part in whole.split(20, 1):
        logs, carried = model.learned(part, carried)
        said.append(logs.log_softmax(-1))
    told = torch.cat(said, 1).gather(-1, x[..., None])[..., 0]
    assert float((told - wanted).abs().max()) < 1e-4


def test_laws(weights):
    check_term(over(weights, 5))
    check_term(over(weights, 4, prompt="ab cab"))
    check_term(over(weights, 5, (*WORD, ""), recall=0))


def test_a_short_text_keeps_no_more_than_it_can_look_back_at(weights):
    term = over(weights, 4, recall=0)
    assert isinstance(term.model, Pointing) and term.model.reach == 4
    assert load_model(weights).reach == REACH
    far, near = made(64), made(64).within(12)
    x = torch.randint(5, (2, 12), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        both = [m.losses(repeated(m.begin(), 2), x) for m in (far, near)]
    assert torch.allclose(*both, atol=1e-9)


def test_the_least_text_is_found(weights):
    term = over(weights, 6, recall=0)
    every = torch.cartesian_prod(*[torch.arange(4)] * 6)
    (answer,) = answers(Problem(1.0 * term))
    assert answer.energy == pytest.approx(float(term.cost(every).min()), abs=1e-4)


def test_a_file_holds_what_was_made(weights):
    model = load_model(weights)
    assert isinstance(model, Pointing) and (model.reach, model.keyed) == (REACH, 4)
    same = rounded(made()).state_dict()
    assert all(torch.equal(t, same[name]) for name, t in model.state_dict().items())


def test_all_numbers_learn_and_file_and_settings_go_together(tmp_path):
    model = made()
    x = torch.randint(5, (2, 30), generator=torch.Generator().manual_seed(4))
    logs, _ = model.learned(x, model.blank(2))
    logs.square().mean().backward()
    still = [n for n, p in model.named_parameters() if not float(p.grad.abs().max())]
    assert not still
    source, out = tmp_path / "text.txt", tmp_path / "w.safetensors"
    source.write_text("the cat sat on the mat, and then it slept.\n" * 40)
    params = {"hidden": 16, "embedded": 8, "rows": 4, "length": 16, "reach": 20, "keyed": 5}
    LanguageModel.learn(Lesson(source, out, steps=3, params=params))
    learned = load_model(str(out))
    assert isinstance(learned, Pointing) and (learned.reach, learned.keyed) == (20, 5)


def test_a_fresh_row_forgets_what_was_said():
    model = made()
    batch = {
        "before": torch.randint(5, (2, 9)),
        "text": torch.randint(5, (2, 9)),
        "fresh": torch.tensor([1.0, 0.0]),
    }
    carried = model.blank(2)
    _, carried = model.learned(torch.randint(5, (2, 9)), carried)
    batch["before"][0, 0] = len(LETTERS)
    rng = Stream(0, torch.zeros(1, dtype=torch.int64))
    steps = TeacherForcing(2).updates({"model": model}, batch, carried, rng)
    update = next(steps)
    first, _ = model.learned(batch["before"][:1], model.blank(1))
    second, _ = model.learned(batch["before"][1:], tuple(t[1:] for t in carried))
    each = [
        torch.nn.functional.cross_entropy(logs[0], batch["text"][k])
        for k, logs in enumerate((first, second))
    ]
    assert update.loss.item() == pytest.approx(torch.stack(each).mean().item(), abs=1e-5)

"""What a text said earlier is likelier after the same letters; it stays a distribution."""

import math

import pytest
import torch

from engine import Finite, Problem, Variable, answers
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.testing import check_term
from modules.catalogue import Catalogue
from modules.language.length import Length
from modules.language.model.causal import Causal, after
from modules.language.model.model_file import load_model
from modules.language.model.recalling import Recalling
from modules.language.model.term import LanguageModel
from modules.language.ngram.term import NGram

LETTERS = tuple("abc ")
AGAIN = "cab a cab a cab cab a b"


def over(weights: str, count: int, letters: tuple[str, ...] = LETTERS, **more) -> LanguageModel:
    return LanguageModel(Variable("text", Finite(letters, (count,))), weights=weights, **more)


def by_hand(model: Causal, text: str, reach: int) -> float:
    """-ln p by the formula, from the chances of the model alone."""
    total = 0.0
    for t, letter in enumerate(text):
        known = after(model, model.spelled(text[:t]))
        chances = model.following(known).double().exp()[0].tolist()
        seen = text[max(0, t - reach) : t]
        added: dict[str, float] = {}
        for i in range(len(seen) - 1):
            match = 0
            while match <= i and seen[i - match] == seen[len(seen) - 1 - match]:
                match += 1
            # letters before the window count where they were compared as it moved over them
            while match > i and match < 8:
                a, b = t - len(seen) + i - match, t - 1 - match
                if a < 0 or text[a] != text[b]:
                    break
                match += 1
            if match >= 3:
                added[seen[i + 1]] = added.get(seen[i + 1], 0.0) + 2.0 ** (min(match, 8) - 8)
        own = chances[model.place[letter]] + added.get(letter, 0.0)
        total -= math.log(own / (1 + sum(added.values())))
    return total


@pytest.mark.parametrize("reach", [5, 9, 64])
def test_chances_are_those_of_the_formula(tiny: str, reach: int) -> None:
    net = load_model(tiny)
    model = Recalling(net, reach)
    tokens = torch.tensor([model.spelled(AGAIN)])
    with torch.no_grad():
        said = float(model.losses(model.begin(), tokens).sum())
        assert said == pytest.approx(by_hand(net, AGAIN, reach), abs=1e-5)
        known, total = model.begin(), 0.0
        every = model.places(known, tokens)
        for k, token in enumerate(tokens[0]):
            logs = model.following(known)
            assert float(logs.double().exp().sum()) == pytest.approx(1, abs=1e-6)
            assert torch.allclose(logs, model.following(every[k]), atol=1e-6)
            total -= float(logs[0, token])
            known = model.read(known, token[None])
        assert total == pytest.approx(said, abs=1e-5)
        alone = float(net.losses(net.begin(), tokens).sum())
    assert said != pytest.approx(alone, abs=1e-3)


def test_laws(tiny: str, runs: str) -> None:
    check_term(over(tiny, 6, recall=20, prompt="cab a"))
    check_term(over(tiny, 5, recall=20, prompt="cab", runs=runs))
    check_term(over(tiny, 4, (*LETTERS, ""), recall=20, prompt="cab a"))


@pytest.fixture
def runs(tmp_path) -> str:
    path, source = tmp_path / "runs.safetensors", tmp_path / "text.txt"
    source.write_text("a cab bac cab a b c .defghijklmnopqrstuvwxyz " * 100)
    NGram.learn(Lesson(source, path, params={"order": 3}))
    return str(path)


def test_a_file_says_how_far_back(tiny: str) -> None:
    """The prompt is recalled, too."""
    assert load_model(tiny).recalls > 0
    given = {"prompt": "a bcab "}
    usual, none = over(tiny, 3, **given), over(tiny, 3, recall=0, **given)
    assert isinstance(usual.model, Recalling) and not isinstance(none.model, Recalling)
    assert isinstance(over(tiny, 5).model, Recalling) and not isinstance(
        over(tiny, 3).model, Recalling
    )
    same = torch.tensor([[LETTERS.index(c) for c in "ccc"]])
    assert float(usual.cost(same)) == pytest.approx(float(none.cost(same)), abs=1e-6)
    near = over(tiny, 3, prompt="bca a bca")
    far = over(tiny, 3, prompt="bca a bca", recall=0)
    again = torch.tensor([[LETTERS.index(c) for c in " a "]])
    assert float(near.cost(again)) < float(far.cost(again)) - 0.01


def test_shorter_texts_recall_what_is_there(tiny: str) -> None:
    """No letter is passed over: what stands between letters does not part them."""
    letters = (*LETTERS, "")
    term = over(tiny, 8, letters, prompt="cab a cab")
    whole = over(tiny, 4, letters, prompt="cab a cab")
    text = [" ", "", "a", " ", "", "", "c", ""]
    wide = torch.tensor([[letters.index(c) for c in text]])
    bare = torch.tensor([[letters.index(c) for c in text if c]])
    assert float(term.cost(wide)) == pytest.approx(float(whole.cost(bare)), abs=1e-5)
    problem = Problem(1.0 * term + 1.0 * Length(term.scope[0].variable, low=3, high=3))
    (answer,) = answers(problem)
    assert answer.values is not None


@pytest.mark.parametrize("recall", [-1, 1 << 20, "x", 2.5])
def test_how_far_is_checked(tiny: str, recall) -> None:
    text = Variable("text", Finite(LETTERS, (4,)))
    with pytest.raises(BadQuery, match="recall"):
        Catalogue().kind("language.model").build([text], {"weights": tiny, "recall": recall})

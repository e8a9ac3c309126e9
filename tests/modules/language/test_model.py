"""A text's energy is -ln p; blanks are filled with both sides known."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch

from engine import Finite, Problem, Variable, answers
from engine.errors import BadQuery
from engine.minimizers.beam import Beam
from engine.testing import check_term
from modules.discrete.equal import Equal
from modules.discrete.table import Table
from modules.language.acrostic import Acrostic
from modules.language.contains import Contains
from modules.language.excludes import Excludes
from modules.language.length import Length
from modules.language.letter_counts import LetterCounts
from modules.language.model.term import LanguageModel
from modules.language.pattern import Pattern

WORD = tuple("abc ")


def over(weights: str, count: int = 5, letters=WORD, prompt: str = "") -> LanguageModel:
    text = Variable("text", Finite(tuple(letters), (count,)))
    return LanguageModel(text, weights=weights, prompt=prompt)


@pytest.fixture(params=["tiny", "folder"])
def weights(request) -> str:
    return request.getfixturevalue(request.param)


def test_laws(weights):
    check_term(over(weights))
    check_term(over(weights, 3, prompt="b a"))
    check_term(LanguageModel.example())


def test_the_energy_is_minus_ln_p_step_by_step(weights):
    term = over(weights, 6, prompt="ab")
    model, x = term.model, torch.randint(4, (7, 6), generator=torch.Generator().manual_seed(1))
    known, total = model.begin(), torch.zeros(7, dtype=torch.float64)
    for letter in "ab":
        known = model.read(known, torch.tensor([model.place[letter]]))
    known = tuple(t.expand(7, *t.shape[1:]) for t in known)
    for t in range(6):
        token = torch.tensor([model.place[WORD[k]] for k in x[:, t]])
        chances = model.following(known).double()
        assert torch.allclose(chances.exp().sum(1), torch.ones(7, dtype=torch.float64), atol=1e-6)
        total -= chances[torch.arange(7), token]
        known = model.read(known, token)
    assert float((term.cost(x) - total).abs().max()) < 1e-5
    reader, s = term.reader(), term.reader().begin(0)
    said = torch.zeros(7, dtype=torch.float64)
    s = reader.picked(s, torch.zeros(7, dtype=torch.long))
    for t in range(6):
        said += reader.costs(s)[torch.arange(7), x[:, t]]
        s = reader.read(s, x[:, t])
    assert float((said - total).abs().max()) < 1e-5


def test_chances_of_all_texts_sum_to_one(tiny):
    term = over(tiny, 2, " .abcdefghijklmnopqrstuvwxyz")
    every = torch.cartesian_prod(torch.arange(28), torch.arange(28))
    assert float((-term.cost(every)).exp().sum()) == pytest.approx(1, abs=1e-5)


def least(term: LanguageModel, given: list[str | None], rule=lambda text: True) -> float:
    """By brute force."""
    every = [WORD if g is None else (g,) for g in given]
    texts = [t for t in itertools.product(*every) if rule("".join(t))]
    places = torch.tensor([[WORD.index(c) for c in t] for t in texts])
    return float(term.cost(places).min())


@pytest.mark.parametrize("given", ["a??b??c?", "????????", "??????ab", "abc?????"])
def test_many_beginnings_find_the_least(weights, given):
    term = over(weights, 8)
    evidence = [None if c == "?" else c for c in given]
    (answer,) = answers(Problem(1.0 * term).given(text=evidence), Beam(widths=(8, 64)))
    assert answer.energy == pytest.approx(least(term, evidence), abs=1e-4)
    assert all(g in (None, c) for g, c in zip(evidence, answer.values["text"], strict=True))


def test_rules_and_costs_of_others_beside_a_model(tiny):
    term = over(tiny, 8)
    (view,) = term.scope
    same = Equal(view, pairs=[[0, 7], [1, 6]])
    dear = Table(view, sites=[2], costs=[0, 5, 5, 5])
    (answer,) = answers(Problem(1.0 * term + same + 1.0 * dear))

    def cost(text: str) -> float:
        place = torch.tensor([[WORD.index(c) for c in text]])
        return float(term.cost(place)) + (0 if text[2] == "a" else 5)

    every = ("".join(t) for t in itertools.product(WORD, repeat=8))
    wanted = min(cost(t) for t in every if t[0] == t[7] and t[1] == t[6] and t[2] == "a")
    text = "".join(answer.values["text"])
    assert answer.status == "SATISFIED" and text[0] == text[7] and text[1] == text[6]
    assert answer.energy == pytest.approx(wanted, abs=1e-4)


def test_rules_that_no_text_keeps_are_proved(tiny):
    term = over(tiny, 8)
    (view,) = term.scope
    shut = Table(view, sites=[0], costs=[None, None, 0, 0])
    same = Equal(view, pairs=[[0, 7]])
    problem = Problem(1.0 * term + same + shut)
    (answer,) = answers(problem.given(text=[None] * 7 + ["a"]))
    assert answer.status == "INFEASIBLE"


def test_one_blank_is_settled_exactly(weights):
    (answer,) = answers(Problem(1.0 * over(weights)).given(text=["a", None, "b", "c", " "]))
    assert answer.status == "OPTIMAL"
    wanted = least(over(weights), ["a", None, "b", "c", " "])
    assert answer.energy == pytest.approx(wanted, abs=1e-5)


def test_rows_in_company_answer_as_alone(tiny):
    problem = Problem(1.0 * over(tiny, 8))
    rows = [{"text": [c, *[None] * 7]} for c in WORD] + [{"text": [None] * 8}]
    together = answers(problem.given_rows(rows))
    for row, answer in zip(rows, together, strict=True):
        (alone,) = answers(problem.given(**row))
        assert alone.values == answer.values
        assert alone.energy == pytest.approx(answer.energy, abs=1e-6)


def test_views_and_several_lines(tiny):
    grid = Variable("grid", Finite(WORD, (2, 3)))
    across = [LanguageModel(grid[k, :], weights=tiny) for k in range(2)]
    down = [LanguageModel(grid[:, k], weights=tiny) for k in range(3)]
    problem = Problem(sum((1.0 * t for t in across + down[1:]), 1.0 * down[0]))
    (answer,) = answers(problem)
    every = torch.tensor(list(itertools.product(range(4), repeat=6))).reshape(-1, 2, 3)
    cost = sum(t.cost(every[:, k]) for k, t in enumerate(across))
    cost = cost + sum(t.cost(every[:, :, k]) for k, t in enumerate(down))
    assert answer.energy == pytest.approx(float(cost.min()), abs=1e-4)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"weights": "nowhere.safetensors"}, "No such file"),
        ({"prompt": "A"}, "no letter 'A'"),
        ({"letters": ("a", "ä")}, "no letter 'ä'"),
        ({"letters": ("a", 1)}, "no letter 1"),
        ({"letters": ("a", "ab")}, "no letter 'ab'"),
    ],
)
def test_what_is_wrong_is_said(tiny, change, told):
    letters, asked = change.pop("letters", WORD), {"weights": tiny, **change}
    with pytest.raises(BadQuery, match=told):
        over(asked["weights"], 5, letters, asked.get("prompt", ""))


def test_what_is_wrong_with_a_folder_is_said(folder, tmp_path):
    with pytest.raises(BadQuery, match="this model reads 24"):
        over(folder, 20, prompt="abcde")
    with pytest.raises(BadQuery, match="not what its tokens"):
        over(folder, 5, prompt="Ä")
    with pytest.raises(BadQuery, match="config.json"):
        over(str(tmp_path))
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadQuery, match="weights"):
        over(str(broken))


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    from transformers import AutoTokenizer

    other = Path(shutil.copytree(folder, tmp_path / "other"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{k}" for k in range(9)])
    tokenizer.save_pretrained(other)
    with pytest.raises(BadQuery, match="its tokenizer has 39 tokens, the model 30"):
        over(str(other))


def test_a_model_beside_runs_is_the_mean_of_both(tiny, tmp_path):
    from engine.energy.lesson import Lesson
    from modules.language.ngram.chain import read_chain
    from modules.language.ngram.term import NGram

    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 20 + "a quick brown fox jumps over lazy dogs.")
    runs = str(tmp_path / "runs.safetensors")
    letters = " .abcdefghijklmnopqrstuvwxyz"
    NGram.learn(Lesson(text, Path(runs), params={"order": 3, "alphabet": letters + "A"}))
    view = over(tiny, 6).scope[0]
    both = LanguageModel(view, weights=tiny, runs=runs, share=0.3, prompt="the")
    check_term(both)
    every = torch.cartesian_prod(*[torch.arange(28)] * 2)
    pair = Variable("pair", Finite(tuple(letters), (2,)))
    alone = LanguageModel(pair, weights=tiny, runs=runs, share=0.3)
    chances = (-alone.cost(every)).exp()
    assert float(chances.sum()) <= 1 + 1e-5
    model, chain = LanguageModel(pair, weights=tiny), read_chain(runs)
    first = -chain.costs[0][chain.places(letters)]  # type: ignore[index]
    wanted = 0.7 * model.model.following(model.known())[0].exp() + 0.3 * torch.tensor(first).exp()
    assert torch.allclose(chances.reshape(28, 28).sum(1), wanted.double(), atol=2e-3)
    with pytest.raises(BadQuery, match="capitals"):
        LanguageModel(view, weights=tiny, runs="english.safetensors")


def test_learning_goes_on_where_it_stood(tmp_path):
    from engine.energy.lesson import Lesson
    from modules.language.model.model_file import load_model

    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and then it slept.\n" * 60)
    small = {"hidden": 16, "embedded": 8, "rows": 4, "length": 16}

    def learn(name: str, steps: int, work: Path | None, seconds: float | None = None) -> dict:
        out = tmp_path / f"{name}.safetensors"
        said = LanguageModel.learn(
            Lesson(text, out, steps=steps, work=work, params=small, seconds=seconds)
        )
        assert "held out" not in said[0] and str(out) in said[-1]
        return load_model(str(out)).state_dict()

    whole = learn("whole", 12, None)
    learn("part", 12, tmp_path / "work", seconds=1e-9)  # ends after one step
    again = learn("again", 12, tmp_path / "work")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    better = learn("better", 60, None)
    assert not all(torch.equal(whole[name], better[name]) for name in whole)


def test_what_cannot_be_learned_from_is_said(tmp_path):
    from engine.energy.lesson import Lesson

    short = tmp_path / "short.txt"
    short.write_text("too short")
    with pytest.raises(BadQuery, match="give a text of at least"):
        LanguageModel.learn(Lesson(short, tmp_path / "w.safetensors"))
    with pytest.raises(BadQuery, match="hidden"):
        LanguageModel.learn(Lesson(short, tmp_path / "w.safetensors", params={"hidden": 1}))


def test_a_text_may_be_shorter_than_its_sites(tiny):
    letters = ("a", "b", "", " ")
    term = over(tiny, 5, letters, prompt="b")
    check_term(term)
    plain = over(tiny, 3, letters, prompt="b")
    wide = torch.tensor([[0, 2, 1, 3, 2], [2, 2, 0, 1, 3], [0, 1, 3, 2, 2]])
    near = torch.tensor([[0, 1, 3], [0, 1, 3], [0, 1, 3]])
    assert torch.allclose(term.cost(wide), plain.cost(near), atol=1e-5)
    (answer,) = answers(Problem(1.0 * over(tiny, 8, letters)))
    assert "".join(answer.values["text"]) == ""  # nothing is what costs least
    text = Variable("text", Finite(letters, (9,)))
    problem = Problem(1.0 * LanguageModel(text, weights=tiny) + Length(text, low=4, high=6))
    (answer,) = answers(problem)
    assert answer.status == "SATISFIED" and 4 <= len("".join(answer.values["text"])) <= 6


def test_rules_over_text_beside_a_model(tiny):
    text = Variable("text", Finite(WORD, (8,)))
    term = LanguageModel(text, weights=tiny)
    rules = [
        Pattern(text, regex="a[abc]* [abc]+"),
        Contains(text, words=["bb"]),
        Excludes(text, words=["ca"]),
        LetterCounts(text, counts={"c": 2}),
        Acrostic(text, spells="ac"),
    ]
    (answer,) = answers(Problem(sum(rules, 1.0 * term)), Beam((32, 512)))
    states = torch.cartesian_prod(*[torch.arange(4)] * 8)
    good = [row for row in states if all(r.holds([WORD[k] for k in row]) for r in rules)]
    assert all(r.holds(answer.values["text"]) for r in rules)
    assert answer.energy == pytest.approx(float(term.cost(torch.stack(good)).min()), abs=1e-4)
    never = Contains(text, words=["ca"])
    (answer,) = answers(Problem(1.0 * term + rules[2] + never))
    assert answer.status == "INFEASIBLE"


def test_texts_as_long_as_a_folder_reads_and_longer_ones(folder):
    """The last letter is scored and never read; one letter more is a mistake that says how many."""
    for prompt, count in (("", 24), ("b a", 21)):
        term = over(folder, count, prompt=prompt)
        assert term.model.longest == 24
        check_term(term)
        x = torch.randint(4, (3, count), generator=torch.Generator().manual_seed(2))
        same = term.cost(x[:1].expand(3, -1))
        assert torch.allclose(same, term.cost(x[:1]).expand(3), atol=1e-5)
        told = term.changes(torch.tensor([[0, count - 1], [0, 0]]), x)
        other = x.clone()
        other[:, -1] = 3
        change = term.cost(other) - term.cost(x)
        assert torch.allclose(told[:, 0, 3], change, atol=1e-4)
        given = [*"abc" * 8][:count]
        given[3:6], given[-1] = [None] * 3, None
        (answer,) = answers(Problem(1.0 * term).given(text=given), Beam())
        assert answer.energy == pytest.approx(float(term.cost(term_places(answer))), abs=1e-4)
        with pytest.raises(BadQuery, match=r"scope: .*this model reads 24: give fewer"):
            over(folder, count + 1, prompt=prompt)
    with pytest.raises(BadQuery, match="a prompt of 40"):
        over(folder, 1, prompt="ab" * 20)


def term_places(answer) -> torch.Tensor:
    """The letters of an answer as places."""
    return torch.tensor([[WORD.index(letter) for letter in answer.values["text"]]])


def test_models_that_keep_other_things_are_told(tmp_path, folder):
    """A state space model in place of attention."""
    from transformers import MambaConfig, MambaForCausalLM

    shutil.copytree(folder, tmp_path / "other")
    MambaForCausalLM(
        MambaConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, state_size=4)
    ).save_pretrained(tmp_path / "other")
    with pytest.raises(BadQuery, match=r"weights: MambaForCausalLM .*full attention"):
        over(str(tmp_path / "other"))

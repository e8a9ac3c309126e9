"""The classifier: laws, pictures of any sort, what is strange, files that are broken."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import Finite, Given, Input, Problem, Real, Variable, answers
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.testing import check_term
from examples.generators.pictures import drawn
from modules.discrete.linear import Linear
from modules.image.classifier.examples import Labelled, labelled_pictures, scikit_digits
from modules.image.classifier.pictures import framed, prepared
from modules.image.classifier.reader import load_reader
from modules.image.classifier.term import Classifier

DIGITS = tuple(range(10))


def pictures(digits, seed=0):
    return np.stack([drawn(d, seed + k) for k, d in enumerate(digits)])


def asked(count, side=28, **params):
    seen = Input("seen", Real((count, side, side)))
    digits = Variable("digits", Finite(DIGITS, (count,)))
    return Classifier(seen, digits, **{"weights": "mnist.safetensors", **params})


def flags(answer):
    return [flag.name for flag in answer.flags]


def test_the_term_keeps_its_contract():
    check_term(Classifier.example())


@pytest.mark.parametrize("weights", ["mnist.safetensors", "characters.safetensors"])
def test_drawn_digits_are_read(weights):
    told = torch.from_numpy(pictures(DIGITS))
    reader = load_reader(weights)
    logs, away = reader.read(told, [str(d) for d in DIGITS])
    assert logs.argmax(1).tolist() == list(DIGITS)
    assert (away <= reader.band(0.999)).all()
    assert torch.allclose(logs.exp().sum(1), torch.ones(10, dtype=torch.float64))


def test_scale_ink_and_size_do_not_matter():
    """0 to 255, 0 to 1, 16 bits; dark on light and light on dark; twice as large."""
    told = torch.from_numpy(pictures(DIGITS)).double()
    plain = prepared(told, 28)
    for same in (told / 255, told * 257, 255 - told, -told):
        assert torch.allclose(prepared(same, 28), plain, atol=1e-6)
    twice = told.repeat_interleave(2, 1).repeat_interleave(2, 2)
    reader = load_reader("mnist.safetensors")
    assert reader.log_chances(twice).argmax(1).tolist() == list(DIGITS)
    wide = torch.nn.functional.pad(told, (10, 10), value=255.0)
    assert prepared(wide, 28).shape == (10, 1, 28, 28)
    assert prepared(told[:0], 28).shape == (0, 1, 28, 28)
    assert (prepared(torch.full((2, 5, 5), 7.0), 28) == 0).all()  # nothing is shown
    assert (prepared(told, 28, "light") >= 0).all()


def test_a_piece_of_ink_is_framed_as_the_sets_do():
    ink = torch.zeros(60, 90)
    ink[10:50, 60:64] = 1.0
    out = framed(ink)
    rows, columns = out.nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (4, 23) and abs(
        float(columns.double().mean()) - 13.5
    ) < 1
    assert framed(torch.zeros(5, 5)).sum() == 0


def test_absent_pictures_say_nothing_and_rows_are_alone():
    term = asked(4)
    problem = Problem(1.0 * term)
    told = pictures((3, 1, 4, 1))
    rows = [
        {"seen": Given(told, [True, True, False, True])},
        {"seen": Given(np.where(np.arange(4)[:, None, None] == 2, 77, told), [1, 1, 0, 1])},
        {"digits": [1, 2, 3, 4]},
        {"seen": told},
    ]
    together = answers(problem.given_rows(rows))
    alone = [answers(problem.given_rows([row]))[0] for row in rows]
    for a, b in zip(together, alone, strict=True):
        assert a.energy == pytest.approx(b.energy, abs=1e-6) and a.status == b.status
        assert a.values["digits"] == b.values["digits"] and flags(a) == flags(b)
    assert together[0].energy == together[1].energy and together[2].energy == 0
    assert together[3].values["digits"] == [3, 1, 4, 1]


def test_nothing_but_noise_abstains_and_is_named():
    rng = np.random.default_rng(0)
    told = pictures((3, 1, 4, 1)).astype(float)
    told[2] = 255 * rng.random((28, 28))
    (answer,) = answers(Problem(1.0 * asked(4)).given(seen=told))
    assert flags(answer) == ["ABSTAIN"]
    assert [(one.variable, one.site) for one in answer.abstained] == [("digits", (2,))]
    for nothing in (np.zeros((4, 28, 28)), np.full((4, 28, 28), 255.0)):
        (answer,) = answers(Problem(1.0 * asked(4)).given(seen=nothing))
        assert flags(answer) == ["ABSTAIN"]
    (calm,) = answers(Problem(1.0 * asked(4)).given(seen=pictures((3, 1, 4, 1))))
    assert flags(calm) == []


def test_a_rule_corrects_what_is_seen():
    """By itself the second of the pictures is read as it looks; the sum says what it must be."""
    term = asked(3)
    told = pictures((2, 3, 9))
    told[1, :, :13] = 255
    alone = answers(Problem(1.0 * term).given(seen=told))[0].values["digits"]
    digits = term.scope[1].variable
    terms = [[0, v, v] for v in range(10)] + [[1, v, v] for v in range(10)]
    total = Linear(
        digits, terms=[*terms, *([2, v, -v] for v in range(10))], compare="==", constant=-4
    )
    (answer,) = answers(Problem(total + 1.0 * term).given(seen=told))
    assert (
        answer.status == "OPTIMAL" and answer.values["digits"][0] + answer.values["digits"][1] == 5
    )
    assert alone[0] == 2 and alone[2] == 9 == answer.values["digits"][2]


def test_values_stand_for_labels():
    seen = Input("seen", Real((2, 28, 28)))
    shown = Variable("shown", Finite(("three", "eight"), (2,)))
    term = Classifier(seen, shown, weights="mnist.safetensors", labels=["3", "8"])
    (answer,) = answers(Problem(1.0 * term).given(seen=pictures((8, 3))))
    assert answer.values["shown"] == ["eight", "three"] and answer.energy < 0.1
    with pytest.raises(BadQuery, match="was not learned"):
        Classifier(seen, shown, weights="mnist.safetensors")
    with pytest.raises(BadQuery, match="one for each value"):
        Classifier(seen, shown, weights="mnist.safetensors", labels=["3"])
    one = Input("one", Real((28, 28)))
    single = Variable("single", Finite(DIGITS, ()))
    (answer,) = answers(
        Problem(1.0 * Classifier(one, single, "mnist.safetensors")).given(one=pictures((6,))[0])
    )
    assert answer.values["single"] == 6


@pytest.mark.parametrize(
    "shape, problem",
    [((3, 28, 28), "shape"), ((28, 28), "shape"), ((4, 784), "shape")],
)
def test_pictures_of_another_number_are_refused(shape, problem):
    with pytest.raises(BadQuery, match=problem):
        Classifier(
            Input("p", Real(shape)), Variable("d", Finite(DIGITS, (4,))), "mnist.safetensors"
        )


def test_broken_numbers_and_weights_are_refused(tmp_path):
    problem = Problem(1.0 * asked(4))
    bad = pictures((3, 1, 4, 1)).astype(float)
    bad[1, 3, 4] = np.nan
    with pytest.raises(BadQuery, match="no finite number"):
        problem.given(seen=bad)
    with pytest.raises(BadQuery, match="shape"):
        problem.given(seen=bad[:, :20])
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadQuery, match="holds no"):
        load_reader(str(tmp_path / "w.safetensors"))
    with pytest.raises(BadQuery):
        load_reader("digits14.safetensors")


def small(count=12):
    """Digits 0 to 2, as drawn."""
    labels = [str(k % 3) for k in range(3 * count)]
    return Labelled(torch.from_numpy(pictures([int(x) for x in labels])), labels)


def test_a_training_that_was_cut_off_ends_as_one_that_was_not(tmp_path):
    from modules.image.classifier.train import Options, fitted

    options = Options(side=16, widths=(4, 4, 8), batch=16)
    whole = fitted(small(), options, steps=12, progress=False)
    work = tmp_path / "work"
    part = fitted(small(), options, steps=12, seconds=1e-9, work=work, progress=False)
    rest = fitted(small(), options, steps=12, work=work, progress=False)
    assert part.trained.steps < rest.trained.steps == 12
    told = small().pictures
    a, b = (made.reader.log_chances(told) for made in (whole, rest))
    assert torch.equal(a, b)


def test_what_is_learned_is_written_and_read(tmp_path):
    from PIL import Image

    data = tmp_path / "data"
    for k, (picture, label) in enumerate(zip(small(8).pictures, small(8).labels, strict=True)):
        (data / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.numpy()).save(data / label / f"{k}.png")
    out = tmp_path / "w.safetensors"
    params = {"side": 16, "widths": [4, 4, 8], "batch": 16}
    said = Classifier.learn(Lesson(data, out, steps=5, params=params, command="typed"))
    reader = load_reader(str(out))
    assert reader.labels == ("0", "1", "2") and reader.made == "typed" and "24 pictures" in said[0]
    again = {**params, "start": str(out), "least": 20}
    Classifier.learn(Lesson(data, tmp_path / "v.safetensors", steps=2, params=again))
    with pytest.raises(BadQuery, match="side 16"):
        Classifier.learn(Lesson(data, out, steps=2, params={"start": str(out)}))


def idx(path: Path, array: np.ndarray, cut: int = 0) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    raw = head + array.astype(np.uint8).tobytes()
    raw = raw[: len(raw) - cut]
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def test_idx_files_are_read_and_cut_off_ones_are_told(tmp_path):
    told, labels = pictures((1, 2, 1, 2)), np.array([1, 2, 1, 2])
    idx(tmp_path / "train-images-idx3-ubyte.gz", told)
    idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    for data in (tmp_path / "train-images-idx3-ubyte.gz", tmp_path):
        found = labelled_pictures(data)
        assert found.labels == ["1", "2", "1", "2"] and (found.pictures.numpy() == told).all()
    idx(tmp_path / "train-labels-idx1-ubyte.gz", labels[:3])
    with pytest.raises(BadQuery, match="3 labels for 4 pictures"):
        labelled_pictures(tmp_path / "train-images-idx3-ubyte.gz")
    idx(tmp_path / "train-images-idx3-ubyte.gz", told, cut=100)
    with pytest.raises(BadQuery, match="ends after"):
        labelled_pictures(tmp_path)
    raw = (tmp_path / "train-labels-idx1-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(raw[:-9])
    with pytest.raises(BadQuery):
        labelled_pictures(tmp_path)


def test_folders_that_make_no_sense_are_told(tmp_path):
    from PIL import Image

    with pytest.raises(BadQuery, match="no labelled pictures"):
        labelled_pictures(tmp_path)
    for label, mode, shape in (("a", "L", (9, 9)), ("b", "I;16", (9, 9)), ("c", "L", (8, 8))):
        (tmp_path / label).mkdir()
        raw = np.zeros(shape, np.uint16 if mode == "I;16" else np.uint8)
        Image.fromarray(raw).save(tmp_path / label / "1.png")
    (tmp_path / "d").mkdir()
    Image.new("RGBA", (9, 9), (1, 2, 3, 99)).save(tmp_path / "d" / "1.png")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "1.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:-20])
    with pytest.raises(BadQuery) as caught:
        labelled_pictures(tmp_path)
    said = str(caught.value)
    for part in ("label b", "16 bits", "label c", "8 x 8", "label d", "transparent", "label e"):
        assert part in said
    with pytest.raises(BadQuery, match="nothing to tell apart"):
        Labelled(torch.zeros(3, 4, 4), ["a"] * 3)
    with pytest.raises(BadQuery, match="one picture"):
        Labelled(torch.zeros(3, 4, 4), ["a", "a", "b"])


@pytest.mark.parametrize("kind", ["even", "normal", "two values", "paper"])
def test_the_small_weights_flag_nothing(kind):
    """Pictures of 8 x 8 that show no digit, some of a sort that no training saw."""
    rng = torch.Generator().manual_seed(3)
    u = torch.rand(40, 8, 8, generator=rng)
    drawn = {
        "even": u,
        "normal": torch.randn(40, 8, 8, generator=rng),
        "two values": (u > 0.7).float(),
        "paper": torch.zeros(2, 8, 8),
    }[kind]
    reader = load_reader("digits8.safetensors")
    assert bool((reader.read(drawn)[1] > reader.band(0.999)).all())


def test_nothing_is_learned_beside_and_is_no_usual_label():
    from modules.image.classifier.train import Options, fitted, with_nothing

    told = scikit_digits()
    assert with_nothing(told, 0, 0) is told
    more = with_nothing(told, 12, 0)
    assert list(more.labels[-12:]) == ["none"] * 12 and more.pictures.max() == told.pictures.max()
    made = fitted(told, Options(side=12, widths=(2, 3, 4), nothing=40), steps=3).reader
    assert "none" in made.labels and len(made.usual.means) == 10
    assert all(math.isfinite(q) for q in made.quantiles)
    with pytest.raises(BadQuery):
        made.columns(["nothing"])

"""The catalogue finds kinds in packages, entry points and files, and survives broken ones."""

import importlib.metadata
import json
import re
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modules.discrete
from engine.domain import Finite, Input, Real, Variable
from engine.errors import BadQuery, ModuleFault, UnknownKind
from engine.testing import check_term
from modules.catalogue import Catalogue
from modules.shared.files import loose_files
from modules.shared.weights import confined

BUILT_IN = {
    "discrete.all_different",
    "discrete.at_least_one",
    "discrete.at_most_one",
    "discrete.clause",
    "discrete.equal",
    "discrete.exactly_one",
    "discrete.linear",
    "discrete.not_equal",
    "discrete.table",
    "discrete.tabular",
    "discrete.tabular_label",
    "graph.coloring",
    "graph.cut",
}

MODULE = textwrap.dedent(
    '''
    """Neighbours take the same value."""
    from torch import Tensor

    from engine.domain import Finite, Variable
    from engine.energy import Term


    class Chain(Term):
        """Neighbours take the same value. E = number of places where they differ."""

        def __init__(self, line: Variable, cost: float = 1.0):
            super().__init__(line)
            self.price = cost

        def energy(self, line: Tensor) -> Tensor:  # (B, n, k) -> (B,)
            return self.price * (1 - (line[:, 1:] * line[:, :-1]).sum(-1)).sum(-1)

        def holds(self, line) -> bool:
            return len(set(line)) == 1

        @classmethod
        def example(cls) -> "Chain":
            return cls(Variable("line", Finite((0, 1), (3,))))
    '''
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An importable folder, forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def offer(monkeypatch):
    """Offers entry points: offer(name="module")."""

    def offered(**points):
        entries = [
            importlib.metadata.EntryPoint(name.replace("__", "."), value, "basin.modules")
            for name, value in points.items()
        ]
        monkeypatch.setattr(
            importlib.metadata,
            "entry_points",
            lambda **asked: importlib.metadata.EntryPoints(entries).select(**asked),
        )

    return offered


def test_built_in_kinds_are_found():
    catalogue = Catalogue(entry_points=False)
    assert set(catalogue.names()) >= BUILT_IN
    assert [kind.name for kind in catalogue] == catalogue.names() and not catalogue.failures


def test_groups_select_kinds():
    names = Catalogue(entry_points=False, groups=("graph",)).names()
    assert names and all(name.startswith("graph.") for name in names)


def test_a_kind_tells_about_itself():
    kind = Catalogue(entry_points=False).kind("discrete.all_different")
    assert kind.about.startswith("The sites of each line take pairwise different values")
    assert kind.required_by_default and not kind.calibrated
    assert kind.schema["properties"]["lines"]["description"]


def test_only_the_file_asked_for_is_imported(folder):
    group = folder / "kept" / "lines"
    group.mkdir(parents=True)
    for where in (folder / "kept", group):
        (where / "__init__.py").write_text("")
    (group / "chain.py").write_text(MODULE)
    (group / "other.py").write_text("raise RuntimeError('not asked for')\n")
    catalogue = Catalogue(packages=("kept",), entry_points=False)
    assert catalogue.kind("lines.chain").name == "lines.chain" and not catalogue.failures
    assert "kept.lines.other" not in sys.modules
    assert catalogue.names() == ["lines.chain", "lines.other"] and not catalogue.failures
    assert "kept.lines.other" not in sys.modules
    assert [kind.name for kind in catalogue] == ["lines.chain"]
    assert "not asked for" in catalogue.failures["lines.other"]


@pytest.mark.parametrize(
    "name, near",
    [
        ("discrete.alldifferent", "discrete.all_different"),
        ("graph.colouring", "graph.coloring"),
        ("all_different", "discrete.all_different"),
        ("discrete.literals", "known: "),  # a file that is no kind
        ("nothing like it", "known: "),
        ("..services", "known: "),
        ("os:system", "known: "),
        (3, "known: "),
    ],
)
def test_an_unknown_kind_gets_a_near_miss(name, near):
    with pytest.raises(UnknownKind) as caught:
        Catalogue(entry_points=False).kind(name)
    (mistake,) = caught.value.mistakes
    assert mistake.path == "kind" and near in mistake.remedy and repr(name) in mistake.problem


def test_all_mistakes_are_told_at_once():
    x = Variable("x", Finite((1, 2), (3,)))
    kind = Catalogue(entry_points=False).kind("discrete.all_different")
    with pytest.raises(BadQuery) as caught:
        kind.build([x], {"lines": [["a", 1], 3], "Lines": 1, "line": [[0]]})
    said = {m.path: m for m in caught.value.mistakes}
    assert set(said) == {"params.Lines", "params.line", "params.lines[0][0]", "params.lines[1]"}
    assert "did you mean lines?" in said["params.line"].remedy
    assert "'a'" in said["params.lines[0][0]"].problem


@pytest.mark.parametrize("params", [None, [1], "lines"])
def test_parameters_are_a_mapping(params):
    x = Variable("x", Finite((1, 2), (3,)))
    with pytest.raises(BadQuery, match="params: .* is no mapping"):
        Catalogue(entry_points=False).kind("graph.cut").build([x], params)


# --- kinds of other people ------------------------------------------------------------------------


def test_an_entry_point_to_a_module_is_a_kind_of_its_name(folder, offer):
    (folder / "lab_chain.py").write_text(MODULE)
    offer(lab__chain="lab_chain")
    kind = Catalogue().kind("lab.chain")
    assert kind.term.__name__ == "Chain" and kind.required_by_default
    check_term(kind.term.example())


def test_an_entry_point_to_a_package_offers_every_kind_in_it(folder, offer):
    package = folder / "my_lab"
    package.mkdir()
    (package / "__init__.py").write_text('"""Energies of a lab."""\n')
    (package / "chain.py").write_text(MODULE)
    (package / "words.py").write_text("WORDS = 3\n")
    (package / "_own.py").write_text("raise RuntimeError\n")
    (package / "deep").mkdir()
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "term.py").write_text("from my_lab.deep.help import Cost\n" + MODULE)
    (package / "deep" / "help.py").write_text("Cost = float\n")
    offer(lab="my_lab")
    catalogue = Catalogue()
    assert {kind.name for kind in catalogue} >= BUILT_IN | {"lab.chain", "lab.deep"}
    assert "begin its name with _" in catalogue.failures.pop("lab.words")
    assert not catalogue.failures


def test_an_entry_point_to_a_class_is_a_kind_of_its_name(folder, offer):
    (folder / "lab_chain.py").write_text(MODULE)
    offer(chains="lab_chain:Chain")
    assert Catalogue().kind("chains").term.__name__ == "Chain"


def test_a_package_with_groups_may_be_named(folder):
    group = folder / "elsewhere" / "lines"
    group.mkdir(parents=True)
    (folder / "elsewhere" / "__init__.py").write_text("")
    (group / "__init__.py").write_text("")
    (group / "chain.py").write_text(MODULE)
    catalogue = Catalogue(packages=("modules", "elsewhere"), entry_points=False)
    assert catalogue.kind("lines.chain").term.__name__ == "Chain"


def test_module_and_class_as_a_user_writes_them(folder):
    (folder / "my_mod.py").write_text(MODULE)
    catalogue = Catalogue(entry_points=False, also=("my_mod:Chain",))
    kind = catalogue.kind("my_mod.Chain")
    line = Variable("line", Finite((0, 1), (3,)))
    assert kind.build([line], {}).price == 1.0 and kind.build([line], {"cost": 2}).price == 2.0
    check_term(kind.build([line[1:]], {"cost": 0.5}))


def test_a_file_as_a_user_writes_it(folder):
    where = folder / "deep" / "chain.py"
    where.parent.mkdir()
    where.write_text(MODULE)
    catalogue = Catalogue(entry_points=False, also=(str(where),))
    assert catalogue.kind("chain").about == "Neighbours take the same value. " + (
        "E = number of places where they differ."
    )
    named = Catalogue(entry_points=False, also=(f"{where}:Chain",))
    assert named.kind("chain.Chain").term.__name__ == "Chain"


def test_parameters_follow_from_the_constructor(folder):
    (folder / "my_mod.py").write_text(MODULE)
    kind = Catalogue(entry_points=False, also=("my_mod:Chain",)).kind("my_mod.Chain")
    assert kind.schema["properties"]["cost"]["default"] == 1.0
    line = Variable("line", Finite((0, 1), (3,)))
    with pytest.raises(BadQuery, match="params.costs: unknown field.*did you mean cost"):
        kind.build([line], {"costs": 2})
    with pytest.raises(BadQuery, match=r"params.cost: 'much' is no number"):
        kind.build([line], {"cost": "much"})
    with pytest.raises(BadQuery, match=r"scope: has 2 entries; name line"):
        kind.build([line, line[0]], {})


TOLD = """
from engine import Input, Term, Variable, View


class Told(Term):
    def __init__(self, picture: Input, label: Variable | View, *more: {more}):
        super().__init__(picture, label, *more)

    def energy(self, picture, label, *more):
        return label.flatten(1).sum(1)
"""


def told_kind(folder, more: str):
    (folder / "told_mod.py").write_text(TOLD.format(more=more))
    return Catalogue(entry_points=False, also=(str(folder / "told_mod.py"),)).kind("told_mod")


def test_an_input_stands_where_an_input_is_asked_for(folder):
    picture, label = Input("pictures", Real((3,))), Variable("labels", Finite((0, 1), (3,)))
    kind = told_kind(folder, "Input | View")
    assert kind.build([picture.view, label.view, picture[0]], {}).scope[2].told
    assert kind.build([picture, label[0]], {}).scope[0].told
    with pytest.raises(BadQuery) as swapped:
        kind.build([label.view, picture.view], {})
    names = "name picture (an input), label, in order"
    assert [str(m) for m in swapped.value.mistakes] == [
        f"scope[0]: 'labels' is a variable, and picture asks for an input; {names}",
        f"scope[1]: 'pictures' is an input, and label asks for a variable; {names}",
    ]
    with pytest.raises(BadQuery, match=r"scope\[2\]: 'labels' is a variable, and more asks for"):
        kind.build([picture, label, label[0]], {})
    either = told_kind(folder, "Input | Variable | View")
    assert len(either.build([picture, label, label[0], picture], {}).scope) == 4


def test_a_model_in_the_file_wins_over_the_constructor(folder):
    text = "from pydantic import BaseModel, Field\n" + MODULE.replace('"""Neigh', '"""Their neigh')
    text += "\n\nclass Parameters(BaseModel):\n    cost: float = Field(1.0, gt=0, lt=9)\n"
    (folder / "my_mod.py").write_text(text)
    kind = Catalogue(entry_points=False, also=("my_mod:Chain",)).kind("my_mod.Chain")
    line = Variable("line", Finite((0, 1), (3,)))
    with pytest.raises(BadQuery, match="params.cost: -1 is out of range; give a number above 0"):
        kind.build([line], {"cost": -1})
    with pytest.raises(BadQuery, match="params.price: unknown field"):
        kind.build([line], {"price": -1})  # though the model itself would let it pass


BROKEN = {
    "raises": ("raise RuntimeError('no weights here')\n", "no weights here"),
    "syntax": ("def broken(:\n", "invalid syntax"),
    "two": (MODULE + "\n\nclass Other(Chain):\n    pass\n", "give each concrete term its own"),
    "loose": (MODULE.replace("cost: float = 1.0", "**cost"), "name every parameter"),
    "imports": ("import a_package_that_is_not_there\n", "a_package_that_is_not_there"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named_and_leaves_the_others_alone(name, folder, offer):
    text, why = BROKEN[name]
    (folder / "bad_plugin.py").write_text(text)
    (folder / "good_plugin.py").write_text(MODULE)
    offer(bad="bad_plugin", good="good_plugin")
    catalogue = Catalogue()
    assert {kind.name for kind in catalogue} >= BUILT_IN | {"good"}
    assert set(catalogue.failures) == {"bad"} and why in catalogue.failures["bad"]
    with pytest.raises(ModuleFault, match="module bad: "):
        catalogue.kind("bad")


def test_missing_plugins_are_named(offer):
    offer(gone="a_package_that_is_not_there", lost="a_package_that_is_not_there.inside:Term")
    catalogue = Catalogue()
    assert {kind.name for kind in catalogue} >= BUILT_IN
    assert set(catalogue.failures) == {"gone", "lost"}
    with pytest.raises(ModuleFault, match="module gone: "):
        catalogue.kind("gone.kind")


@pytest.mark.parametrize(
    "spec, why",
    [
        ("modules.discrete.clause:Claus", "did you mean Clause"),
        ("modules.shared.pairs:Pairs", "abstract"),
        ("modules.shared.sites:Layout", "no term Layout"),
        ("nowhere.py", "no file nowhere.py"),
        ("modules/parameters.py", "defines no concrete Term"),
    ],
)
def test_what_a_user_names_wrongly_is_told(spec, why, monkeypatch):
    catalogue = Catalogue(entry_points=False, also=(spec,))
    catalogue.kinds()
    ((name, said),) = catalogue.failures.items()
    assert why in said
    with pytest.raises(ModuleFault):
        catalogue.kind(name)


def test_what_names_no_term_at_all_is_a_mistake():
    with pytest.raises(BadQuery, match="write module:Class, or a FILE.py"):
        Catalogue(also=("what is this",))


def test_threads_that_ask_at_once_find_the_same_kind(tmp_path: Path) -> None:
    """A file that takes long to load is not unknown meanwhile."""
    file = tmp_path / "slow.py"
    file.write_text(
        "import time\ntime.sleep(0.2)\nfrom engine import Term\n"
        "class Slow(Term):\n    def energy(self, x):\n        return x.sum(-1)\n"
    )
    catalogue = Catalogue(also=(f"{file}:Slow",))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(catalogue.kind, ["slow.Slow"] * 4))
    assert len(set(map(id, found))) == 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of weights beside a secret, with a link to that."""
    shipped = Path(modules.discrete.__file__).parent / "tabular" / "loans.safetensors"
    home = tmp_path / "weights"
    (home / "deep").mkdir(parents=True)
    for path in (tmp_path / "secret", home / "own", home / "deep" / "other"):
        path.write_bytes(shipped.read_bytes())
    (home / "link").symlink_to(tmp_path / "secret")
    return home


@pytest.mark.parametrize(
    "name", ["../secret", "link", "deep/../../secret", "/etc/passwd", "\0", "x" * 5000]
)
def test_callers_elsewhere_reach_no_file_outside_the_folder(home: Path, name: str) -> None:
    kind = Catalogue(weights=home).kind("discrete.tabular")
    with pytest.raises(BadQuery) as caught:
        kind.build([], {"weights": name})
    (mistake,) = caught.value.mistakes
    assert mistake.path == "params.weights" and str(home) not in str(mistake)


@given(st.lists(st.sampled_from(["..", ".", "deep", "own", "other", "link", "secret", "/"])))
def test_a_confined_name_is_inside_or_shipped(tmp_path_factory, parts: list[str]) -> None:
    home = tmp_path_factory.getbasetemp() / "confined"
    beside = home.parent / "shipped"
    for path in (home / "deep" / "other", home.parent / "secret", beside / "own"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    try:
        found = Path(confined("/".join(parts), home, beside))
    except BadQuery:
        return
    assert found.is_relative_to(home) or found == beside / "own"


def test_weights_inside_the_folder_and_shipped_ones_are_found(home: Path) -> None:
    kind = Catalogue(weights=home).kind("discrete.tabular")
    shipped = Path(modules.discrete.__file__).parent / "tabular" / "loans.safetensors"
    for name, file in (
        ("own", home / "own"),
        ("deep/other", home / "deep" / "other"),
        ("loans.safetensors", shipped),
    ):
        assert kind.validated({"weights": name})["weights"] == str(file)
    assert Catalogue().kind("discrete.tabular").validated({"weights": "/any"})["weights"] == "/any"


FILES = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Annotated, NamedTuple

from pydantic import BaseModel

from engine import Finite, Term, Variable
from modules.shared.files import Confined, File


class Deep(BaseModel):
    at: dict[str, list[tuple[int, File]]]


@dataclass
class Plain:
    file: Annotated[Path, Confined()]


class Sought(Term):
    def __init__(
        self,
        x: Variable,
        graph: File,
        many: list[File] = (),
        deep: Deep | None = None,
        plain: Plain | None = None,
        path: Annotated[Path, Confined()] | None = None,
    ):
        super().__init__(x)
        self.named = [graph, *many, path]
        self.named += [] if deep is None else [f for fs in deep.at.values() for _, f in fs]
        self.named += [] if plain is None else [plain.file]

    def energy(self, x):
        return x.flatten(1).sum(-1)
"""

AT: dict[str, Any] = {  # where a file is named, by the path that is told
    "graph": lambda name: {"graph": name},
    "many[1]": lambda name: {"graph": "own", "many": ["own", name]},
    "deep.at.k[0][1]": lambda name: {"graph": "own", "deep": {"at": {"k": [[1, name]]}}},
    "plain.file": lambda name: {"graph": "own", "plain": {"file": name}},
    "path": lambda name: {"graph": "own", "path": name},
}


@pytest.mark.parametrize("place", AT)
@pytest.mark.parametrize("name", ["../secret", "link", "deep/../../secret", "/etc/passwd", "\0"])
def test_files_are_confined_by_their_type_at_any_depth(
    home: Path, tmp_path: Path, place: str, name: str
) -> None:
    (tmp_path / "files.py").write_text(FILES)
    kinds = Catalogue(packages=(), also=(f"{tmp_path}/files.py:Sought",), weights=home)
    x = Variable("x", Finite((0, 1)))
    with pytest.raises(BadQuery) as caught:
        kinds.kind("files.Sought").build([x], AT[place](name))
    (mistake,) = caught.value.mistakes
    assert mistake.path == f"params.{place}" and str(home) not in str(mistake)
    term = kinds.kind("files.Sought").build([x], AT[place]("deep/other"))
    named = {str(f) for f in term.named if f is not None}
    assert str(home / "deep" / "other") in named
    assert all(Path(f).is_relative_to(home) for f in named)
    free = Catalogue(packages=(), also=(f"{tmp_path}/files.py:Sought",)).kind("files.Sought")
    assert name in {str(f) for f in free.build([x], AT[place](name)).named}


@pytest.mark.parametrize(
    "kind",
    ["Path", "Path | None", "list[Path]", "dict[str, tuple[int, Path]]", "Model", "Record", "Pair",
     "FilePath", "list[Annotated[Path, Field(description='x')]]", "list[Model] | None"],
)  # fmt: skip
def test_a_kind_whose_file_is_not_confined_is_not_loaded(tmp_path: Path, kind: str) -> None:
    (tmp_path / "loose.py").write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        "from typing import Annotated, NamedTuple\n"
        "from pydantic import BaseModel, Field, FilePath\nfrom engine import Term, Variable\n"
        "class Model(BaseModel):\n    more: 'Model | None' = None\n    at: list[Path]\n"
        "@dataclass\nclass Record:\n    at: Path\n"
        "class Pair(NamedTuple):\n    at: Path\n"
        "class Loose(Term):\n"
        f"    def __init__(self, x: Variable, graph: {kind}):\n        super().__init__(x)\n"
        "    def energy(self, x):\n        return x.sum(-1)\n"
    )
    catalogue = Catalogue(packages=(), also=(f"{tmp_path}/loose.py:Loose",))
    with pytest.raises(ModuleFault, match=r"graph.*names a file: annotate it as"):
        catalogue.kind("loose.Loose")


def test_no_kind_has_a_file_that_is_not_confined() -> None:
    """Told by the types, and again by what the descriptions and names say."""
    files = set()
    for kind in Catalogue():
        assert loose_files(kind.Parameters) == []
        for name, field in kind.schema.get("properties", {}).items():
            told = json.dumps(field)
            if '"format": "file"' in told:
                files.add(f"{kind.name}.{name}")
            else:
                assert not re.search(r"A file|path|weights", f"{name} {told}"), (kind.name, name)
    assert len(files) == 21, files


@pytest.mark.parametrize("scope", ["x", "x, c", "x: Variable, c"])
def test_a_scope_without_a_type_is_told(tmp_path: Path, scope: str) -> None:
    (tmp_path / "bare.py").write_text(
        "from engine import Term, Variable\nclass Bare(Term):\n"
        f"    def __init__(self, {scope}, means: list[float]):\n        super().__init__(x)\n"
        "    def energy(self, x):\n        return x.sum(-1)\n"
    )
    catalogue = Catalogue(packages=(), also=(f"{tmp_path}/bare.py",))
    missing = "c" if "Variable" in scope else "x"
    with pytest.raises(ModuleFault, match=f"annotate {missing} as Variable"):
        catalogue.kind("bare")

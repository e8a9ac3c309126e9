"""Chances over the wire: those of this process, by both clients and by `basin ask --server`."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine.answer import Flag
from engine.errors import BadQuery, BasinError, UnknownKind
from engine.sampling.marginals import Marginals, SiteChances, TermChances
from examples.generators.loans import open_table
from modules.catalogue import Catalogue
from modules.discrete.tabular.term import Tabular
from services.cli import app
from services.client import AsyncClient, Client
from services.query import query_of
from services.reasoner import marginals as module
from services.reasoner.reason import Reasoner
from services.server.app import create_server
from services.v1 import marginals_pb2 as pb
from services.wire.marginals import marginals_from_proto, marginals_to_proto
from tests.support.fuzz.loop import Loop

pytestmark = pytest.mark.clock

WEIGHTS = {"weights": "loans.safetensors"}
NAMES = [v.name for v in Tabular.example().variables()]
COLUMNS = dict(zip(NAMES, Tabular.example().columns, strict=True))


def loan(*opened: str) -> dict[str, Any]:
    """The first value of every column, but for the cells that are asked."""
    return {name: c.plain[0] for name, c in COLUMNS.items() if name not in opened}


def question(**more: Any) -> dict[str, Any]:
    """Two loans: one of two open cells, and one of a single one."""
    return {
        "variables": {name: {"values": [*c.plain]} for name, c in COLUMNS.items()},
        "terms": [{"kind": "discrete.tabular", "scope": NAMES, "params": WEIGHTS}],
        "evidence": [loan("repaid", "job"), loan("age")],
    } | more


@pytest.fixture(scope="module")
def address(loop: Loop) -> Iterator[str]:
    """A service of the kinds that ship, in this process."""
    service = loop.do(create_server(Reasoner(Catalogue())))
    yield f"127.0.0.1:{service.port}"
    loop.do(service.drain(0))


def test_both_clients_say_what_this_process_says(loop: Loop, address: str) -> None:
    here = Reasoner(Catalogue()).marginals(query_of(question()))

    async def ask() -> list[Marginals]:
        async with AsyncClient(address) as client:
            return await client.marginals(question())

    with Client(address) as client:
        assert client.marginals(question()) == here == loop.do(ask())


def test_the_chances_are_those_of_a_plain_sum_over_all_states(address: str) -> None:
    with Client(address) as client:
        two, one = client.marginals(question())
    term = Tabular.example()
    domains = {v.name: v.domain for v in term.variables()}
    for row, opened in ((two, ("job", "repaid")), (one, ("age",))):
        assert sorted(site.variable for site in row.terms[0].sites) == sorted(opened)
        given_cells = loan(*opened)
        every = torch.cartesian_prod(*(torch.arange(len(COLUMNS[n].plain)) for n in opened))
        every = every.reshape(-1, len(opened))
        states = []
        for name in NAMES:
            values = COLUMNS[name].plain
            if name in opened:
                cells = [values[k] for k in every[:, opened.index(name)].tolist()]
            else:
                cells = [given_cells[name]] * len(every)
            states.append(torch.stack([domains[name].encode(v) for v in cells]))
        p = (-term.cost(*term.placed(states)).double()).softmax(0).detach()
        for site in row.terms[0].sites:
            mine = every[:, opened.index(site.variable)]
            wanted = torch.zeros(len(site.values), dtype=torch.float64).scatter_add(0, mine, p)
            assert site.values == tuple(COLUMNS[site.variable].plain)
            assert list(site.chances) == pytest.approx(wanted.tolist(), abs=1e-5)


def test_hosted_terms_offer_none(client: Client) -> None:
    assert client.marginals(question()) == [Marginals(()), Marginals(())]


def test_a_deadline_leaves_out_and_flags(
    loop: Loop, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(module.Budget):
        """It waits until its call is due."""

        def lasts(self, rows: int, reserve: float) -> bool:
            while super().lasts(rows, reserve):
                time.sleep(0.01)
            return False

    monkeypatch.setattr(module, "Budget", Late)
    with Client(address) as client:
        rows = client.marginals(question(), deadline=1.5)
    assert rows == [Marginals((), (Flag.DEADLINE,))] * 2


def test_mistakes_are_told(address: str) -> None:
    with Client(address) as client:
        with pytest.raises(UnknownKind, match=r"terms\[0\]"):
            client.marginals(question(terms=[{"kind": "discrete.nothing", "scope": NAMES}]))
        with pytest.raises(BadQuery, match="evidence.repaid"):
            client.marginals(question(evidence={"repaid": "perhaps"}))


def basin(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def test_a_table_is_answered_alike_by_a_service(tmp_path: Path, address: str) -> None:
    path = tmp_path / "open.csv"
    path.write_text(open_table(2))
    flags = ("ask", str(path), "--given", json.dumps(WEIGHTS))
    here, there = basin(*flags, "--json"), basin(*flags, "--json", "--server", address)
    assert here.exit_code == there.exit_code == 0, there.output
    pairs = list(zip(here.stdout.splitlines(), there.stdout.splitlines(), strict=True))
    assert len(pairs) == 6
    for one, other in pairs:
        a, b = json.loads(one), json.loads(other)
        assert a["probabilities"] and a["probabilities"] == b["probabilities"]
        assert a["solution"] == b["solution"]
    assert "(chance 0." in basin(*flags, "--server", address).stdout


def test_a_table_whose_time_is_over_has_no_chances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "open.csv"
    path.write_text(open_table(1))
    late = [Marginals((), (Flag.CANCELLED,))] * 600
    monkeypatch.setattr(Reasoner, "marginals", lambda *_: late)
    flags = ("ask", str(path), "--given", json.dumps(WEIGHTS))
    done = basin(*flags, "--json")
    assert done.exit_code == 0
    assert all(json.loads(line)["probabilities"] is None for line in done.stdout.splitlines())
    assert "chance" not in basin(*flags).stdout


values = st.lists(st.integers() | st.text() | st.booleans(), min_size=1, max_size=3)
sites = st.builds(
    lambda variable, site, listed, p: SiteChances(
        variable, site, tuple(listed), (p,) * len(listed)
    ),
    st.text(),
    st.lists(st.integers(0, 2**32), max_size=2).map(tuple),
    values,
    st.floats(0, 1),
)
terms = st.builds(
    TermChances, st.text(), st.integers(0, 1000), st.lists(sites, max_size=2).map(tuple)
)


@given(
    st.builds(
        Marginals,
        st.lists(terms, max_size=2).map(tuple),
        st.lists(st.sampled_from(Flag), unique=True).map(tuple),
    )
)
def test_marginals_come_back(row: Marginals) -> None:
    message = pb.Marginals.FromString(marginals_to_proto(row).SerializeToString())
    assert marginals_from_proto(message) == row


def test_chances_that_fit_no_values_are_a_fault() -> None:
    row = Marginals((TermChances("t", 0, (SiteChances("x", (), (1, 2), (0.5, 0.5)),)),))
    message = marginals_to_proto(row)
    del message.terms[0].sites[0].chances[1:]
    with pytest.raises(BasinError, match="1 chances of x"):
        marginals_from_proto(message)

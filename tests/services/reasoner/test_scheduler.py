"""Calls that share batches answer as each alone; faults, tenants and long calls stay apart."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import Budget, Finite, Problem, Real, Term, Variable
from engine.answer import Answer, Flag
from engine.errors import BadQuery, Cancelled, OutOfTime
from engine.judgement import verify
from engine.minimizers.portfolio import Portfolio
from engine.moves.start import Start
from engine.random import Stream
from engine.settle import answers
from engine.solve.batch import Batch, Stepped
from modules.catalogue import Catalogue
from services.query import query_of
from services.reasoner.compile import Compiler
from services.reasoner.deadline import Deadline
from services.reasoner.scheduler import BatchRequest, Scheduler, ThreadTask
from tests.support.serving import GRID, sudoku

pytestmark = pytest.mark.clock


class Wells(Term):
    """A smooth energy with several valleys; real numbers. Raises where the first is above 0.9."""

    def energy(self, x: Tensor) -> Tensor:  # (B, n) -> (B,)
        if (x[:, 0] > 0.9).any():
            raise ValueError("no energy here")
        return (torch.cos(7 * x) + x.square()).sum(-1)

    def floor(self) -> float:
        return -9.0


class Chain(Term):
    """Neighbours that agree cost one each, at a price that differs from site to site; opaque."""

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        alike = (x[:, 1:] * x[:, :-1]).sum(-1)
        return (alike * torch.linspace(0.5, 1.5, alike.shape[1])).sum(-1)

    def factors(self, *domains: Any) -> None:
        return None


class Slow(Term):
    """Takes a while, and counts."""

    calls = 0

    def energy(self, x: Tensor) -> Tensor:
        Slow.calls += 1
        time.sleep(0.005)
        return x.square().sum(-1)


def wells() -> Problem:
    return Problem(1.0 * Wells(Variable("x", Real((3,), -1.0, 1.0))))


def chain() -> Problem:
    return Problem(1.0 * Chain(Variable("x", Finite((0, 1), (14,)))))


def board() -> Problem:
    return Compiler(Catalogue()).problem(query_of(sudoku(evidence={}))).root or pytest.fail()


PATIENCE = 120  # seconds: kernels may have to be compiled first
BASES = {"wells": wells(), "chain": chain(), "board": board()}


def evidence(base: str, k: int) -> dict[str, Any]:
    if base == "wells":
        return {"x": [k / 10 - 0.5, None, None]}
    if base == "chain":
        return {"x": [k % 2, *[None] * 12, k // 2 % 2]}
    grid = [list(row) for row in GRID]
    grid[k % 3] = [None] * 9
    return {"grid": grid}


@pytest.fixture
def scheduler() -> Any:
    with ThreadPoolExecutor(2) as aside:
        made = Scheduler(2, aside)
        yield made
        made.pool.shutdown()


def ask(
    scheduler: Scheduler,
    problem: Problem,
    *,
    tenant: str = "",
    seed: int = 0,
    steps: int | None = 40,
    seconds: float = 60.0,
    particles: int = 3,
    **more: Any,
) -> tuple[Future[Any], Deadline]:
    stop = Deadline(seconds)
    wanted = BatchRequest(
        problem,
        Portfolio(),
        particles,
        seed,
        Budget(steps=steps, stop=stop),
        partial(verify, problem),
        **more,
    )
    return scheduler.ask(tenant, lambda: wanted, stop), stop


def gist(every: list[Answer]) -> list[Any]:
    return [(a.status, a.values, a.energy, a.bound, a.unique, a.steps) for a in every]


@settings(max_examples=12)
@given(
    arrivals=st.lists(
        st.tuples(
            st.sampled_from(["wells", "chain", "board"]),
            st.lists(st.integers(0, 9), min_size=1, max_size=3),  # rows of evidence
            st.integers(0, 2),  # seed
            st.sampled_from([1, 7, 40]),  # steps
            st.sampled_from(["", "other"]),  # tenant
            st.sampled_from([0.0, 0.0, 0.003]),  # seconds before it
            st.booleans(),  # leaves at once
        ),
        min_size=2,
        max_size=10,
    )
)
def test_arrivals_and_departures_change_no_answer(arrivals: list[Any]) -> None:
    with ThreadPoolExecutor(1) as aside:
        scheduler = Scheduler(2, aside)
        asked = []
        for base, rows, seed, steps, tenant, pause, leaves in arrivals:
            time.sleep(pause)
            problem = BASES[base].given_rows([evidence(base, k) for k in rows])
            future, stop = ask(scheduler, problem, tenant=tenant, seed=seed, steps=steps)
            if leaves:
                stop.cancel()
                scheduler.wake()
            asked.append((problem, seed, steps, leaves, future))
        for problem, seed, steps, leaves, future in asked:
            try:
                found = future.result(PATIENCE)
            except Cancelled:
                assert leaves
                continue
            alone = answers(problem, particles=3, seed=seed, budget=Budget(steps=steps))
            assert gist(found) == gist(alone)
        scheduler.pool.shutdown()


def test_one_batch_for_equal_structure_and_none_across_tenants(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[tuple[int, set[str]]] = []
    tenants: dict[Problem, str] = {}
    join = Batch.join

    def spying(self: Any, problem: Any, x: Any, rng: Any, tickets: Any) -> Any:
        joined.append((id(self), {tenants[call.wanted.problem] for call, _ in tickets}))
        return join(self, problem, x, rng, tickets)

    monkeypatch.setattr(Batch, "join", spying)
    futures = []
    for k in range(12):
        problem = BASES["wells"].given_rows([evidence("wells", k % 10)])
        tenants[problem] = "ab"[k % 2]
        futures.append(ask(scheduler, problem, tenant="ab"[k % 2], steps=300)[0])
    for future in futures:
        future.result(PATIENCE)
    owners: dict[int, set[str]] = {}
    for batch, names in joined:
        owners[batch] = owners.get(batch, set()) | names
    assert all(len(names) == 1 for names in owners.values())
    assert len(owners) < 12  # they did share


@pytest.mark.parametrize("at", ["start", "step"])
def test_a_fault_reaches_its_own_call_only(scheduler: Scheduler, at: str) -> None:
    """One of ten calls has no energy at its evidence: at once, or when its search gets there."""
    rows = [[0.1 * (k % 5), None, None] for k in range(10)]
    rows[6] = [0.95 if at == "start" else None, None, None]
    problems = [BASES["wells"].given_rows([{"x": row}]) for row in rows]
    futures = [ask(scheduler, p, particles=40, seed=3)[0] for p in problems]
    for k, (future, problem) in enumerate(zip(futures, problems, strict=True)):
        if k == 6:
            with pytest.raises(ValueError, match="no energy here"):
                future.result(PATIENCE)
        else:
            alone = answers(problem, particles=40, seed=3, budget=Budget(steps=40))
            assert gist(future.result(PATIENCE)) == gist(alone)


@pytest.mark.parametrize("joined", [False, True])
def test_rows_of_few_and_of_many_open_sites_answer_as_each_alone(
    scheduler: Scheduler, joined: bool
) -> None:
    """Twenty pairs of calls over one opaque energy: of one the combinations can be counted, of the
    other they cannot. Neither the order nor the company changes an answer."""
    base = Problem(1.0 * Chain(Variable("x", Finite((0, 1), (30,)))))
    asked = []
    for k in range(20):
        few = {"x": [(j * (k + 3)) % 2 for j in range(30 - k % 6)] + [None] * (k % 6)}
        many = {"x": [k % 2, *[None] * 29]}
        rows = [few, many] if k % 2 else [many, few]
        for mine in [rows] if joined else [[row] for row in rows]:
            asked.append((mine, ask(scheduler, base.given_rows(mine), seed=k, steps=20)[0], k))
    for mine, future, seed in asked:
        found = future.result(PATIENCE)
        for row, answer in zip(mine, found, strict=True):
            alone = answers(base.given_rows([row]), particles=3, seed=seed, budget=Budget(steps=20))
            assert gist([answer]) == gist(alone)


class Spoiled(Portfolio):
    """Raises at one place for the rows of one call, or wherever rows of two calls meet."""

    at: ClassVar[str] = ""
    error: ClassVar[BaseException] = ValueError("spoiled")

    def _spoil(self, place: str, problem: Problem) -> None:
        first = problem.domains["x"].select(range(problem.rows)).allowed  # type: ignore[attr-defined]
        if place == self.at and bool(first[:, 0, 0].logical_not().any()):  # x[0] = 1 is given
            raise self.error

    def kin(self, problem: Problem) -> Any:
        self._spoil("kin", problem)
        return super().kin(problem)

    def init(self, problem: Problem, x: Any, rng: Stream) -> Any:
        self._spoil("init", problem)
        return super().init(problem, x, rng)

    def step(self, problem: Problem, s: Any, rng: Stream) -> Any:
        self._spoil("step", problem)
        return super().step(problem, s, rng)

    def report(self, problem: Problem, s: Any) -> Any:
        self._spoil("report", problem)
        return super().report(problem, s)

    def stack(self, states: Any, totals: Any) -> Any:
        if self.at == "stack":
            raise self.error
        return super().stack(states, totals)


@pytest.mark.parametrize(
    ("at", "error"),
    [("stack", ValueError("spoiled"))]
    + [
        (at, error)
        for at in ("kin", "init", "step", "report", "look", "end", "ask")
        for error in (ValueError("spoiled"), SystemExit("spoiled"))
    ],
)
def test_a_call_that_fails_fails_at_once_and_alone(
    monkeypatch: pytest.MonkeyPatch, at: str, error: BaseException
) -> None:
    """Wherever it fails and with what; nothing turns idly afterwards."""
    monkeypatch.setattr(Spoiled, "at", at)
    monkeypatch.setattr(Spoiled, "error", error)
    base = Problem(1.0 * Chain(Variable("x", Finite((0, 1), (24,)))))

    def spoil(*_: Any) -> Any:
        raise error

    with ThreadPoolExecutor(1) as aside:
        scheduler = Scheduler(2, aside)
        asked: list[tuple[bool, Problem, Future[Any]]] = []
        for k in range(6):
            bad = k == 2
            problem = base.given_rows([{"x": [int(bad), k % 2, *[None] * 22]}])
            stop = Deadline(60.0)
            wanted = BatchRequest(
                problem,
                Spoiled(),
                3,
                0,
                Budget(steps=30, stop=stop),
                spoil if bad and at == "end" else partial(verify, problem),
                spoil if bad and at == "look" else None,
            )
            ask_it = spoil if bad and at == "ask" else lambda wanted=wanted: wanted
            asked.append((bad and at != "stack", problem, scheduler.ask("", ask_it, stop)))
        for bad, problem, future in asked:
            if bad:
                with pytest.raises((ValueError, RuntimeError), match="spoiled"):
                    future.result(PATIENCE)
            else:
                alone = answers(problem, particles=3, budget=Budget(steps=30))
                assert gist(future.result(PATIENCE)) == gist(alone)
        scheduler.pool.shutdown()
        assert not scheduler._tenants


def idle() -> float:
    """CPU seconds of this process in a second in which nothing is asked of it."""
    spent = time.process_time()
    time.sleep(1.0)
    return time.process_time() - spent


@pytest.mark.parametrize("at", ["turn", "lost"])
def test_a_turn_that_fails_fails_its_calls_and_turns_no_more(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A fault that is no call's own, such as rows that a batch has lost."""

    def broken(self: Batch[Any]) -> None:
        if at == "turn":
            raise LookupError("planted")

    problem = BASES["chain"].given_rows([evidence("chain", 1)])
    before = idle()  # what threads of gRPC take that earlier tests have left
    monkeypatch.setattr(Batch, "step", broken)
    futures = [ask(scheduler, problem, steps=None)[0] for _ in range(4)]
    for future in futures:
        with pytest.raises((LookupError, RuntimeError), match="planted|lost"):
            future.result(5)
    assert idle() - before < 0.02
    monkeypatch.undo()
    assert ask(scheduler, problem)[0].result(PATIENCE)


def test_a_cancelled_row_leaves_and_the_others_go_on(scheduler: Scheduler) -> None:
    problems = [BASES["wells"].given_rows([evidence("wells", k)]) for k in range(6)]
    asked = [ask(scheduler, p, steps=None if k == 2 else 400) for k, p in enumerate(problems)]
    endless, stop = asked[2]
    others = [future for k, (future, _) in enumerate(asked) if k != 2]
    time.sleep(0.05)
    began = time.monotonic()
    stop.cancel()
    scheduler.wake()
    with pytest.raises(Cancelled):
        endless.result(5)
    assert time.monotonic() - began < 1.0
    for future in others:
        assert (
            future.result(PATIENCE)[0].steps == 400
            or Flag.CANCELLED not in future.result()[0].flags
        )


def test_the_time_of_a_call_ends_it_with_its_best(scheduler: Scheduler) -> None:
    x = Variable("x", Real((2,), -1.0, 1.0))
    problem = Problem(1.0 * Slow(x)).given_rows([{}])
    began = time.monotonic()
    (answer,) = ask(scheduler, problem, steps=None, seconds=0.6)[0].result(5)
    assert time.monotonic() - began < 1.0
    assert answer.flags == (Flag.CANCELLED,) and answer.values is not None
    with pytest.raises(OutOfTime, match="waited for its turn"):
        ask(scheduler, problem, seconds=0.0)[0].result(5)


def test_a_long_call_does_not_starve_short_ones() -> None:
    """One thread: a short call waits for few steps of a long one, however long that has run."""
    with ThreadPoolExecutor(1) as aside:
        scheduler = Scheduler(1, aside)
        x = Variable("x", Real((2,), -1.0, 1.0))
        long, stop = ask(scheduler, Problem(1.0 * Slow(x)).given_rows([{}]), steps=None)
        time.sleep(0.2)
        for k in range(5):
            before = Slow.calls
            ask(scheduler, BASES["board"].given_rows([evidence("board", k)]))[0].result(PATIENCE)
            assert Slow.calls - before < 40
        assert not long.done()
        stop.cancel()
        scheduler.wake()
        with pytest.raises(Cancelled):
            long.result(5)
        scheduler.pool.shutdown()


def test_one_row_does_not_wait_for_thousands_of_the_same_structure() -> None:
    """A batch takes in who joins at every second turn."""
    base = BASES["board"]
    batch: Batch[str] = Batch(Portfolio())
    for owner, count in (("many", 1000), ("one", 1)):
        problem = base.given_rows([evidence("board", k % 10) for k in range(count)])
        rng = Stream(0, problem.keys)
        batch.join(problem, Start(problem, 1, rng, {}), rng, [(owner, k) for k in range(count)])
        if owner == "many":
            batch.step()
    moved: list[str] = []
    for _ in range(2):
        stepped = batch.step()
        assert isinstance(stepped, Stepped)
        moved += [owner for owner, _ in stepped.tickets]
    assert "one" in moved and "many" in moved


def test_tenants_share_the_time_not_by_their_calls() -> None:
    """Ten endless calls of one tenant do not outweigh the one of another."""
    with ThreadPoolExecutor(1) as aside:
        scheduler = Scheduler(1, aside)
        counts = {"many": 0, "one": 0}

        class Counting(Term):
            def __init__(self, x: Variable, name: str):
                super().__init__(x)
                self.name = name

            def energy(self, x: Tensor) -> Tensor:
                counts[self.name] += 1
                time.sleep(0.002)
                return x.square().sum(-1)

        asked = []
        for k in range(11):
            name = "one" if k == 10 else "many"
            x = Variable("x", Real((2,), -1.0, 1.0))
            problem = Problem(1.0 * Counting(x, name)).given_rows([{}])
            asked.append(ask(scheduler, problem, tenant=name, steps=None))
        time.sleep(1.0)
        share = counts["one"] / sum(counts.values())
        for _, stop in asked:
            stop.cancel()
        scheduler.wake()
        for future, _ in asked:
            with pytest.raises(Cancelled):
                future.result(5)
        scheduler.pool.shutdown()
    assert 0.3 < share < 0.7


def test_what_is_not_to_be_batched_gets_a_thread_of_its_own(scheduler: Scheduler) -> None:
    problem = BASES["board"].given_rows([evidence("board", 0)])
    own: list[str] = []

    def work() -> int:
        own.append(threading.current_thread().name)
        return 7

    assert scheduler.ask("", lambda: ThreadTask(work), Deadline(5)).result(5) == 7
    wanted = BatchRequest(
        problem, Portfolio(), 1, 0, Budget(), lambda solution: verify(problem, solution)
    )
    later = scheduler.ask("", lambda: ThreadTask(lambda: wanted), Deadline(5)).result(PATIENCE)
    assert gist(later) == gist(answers(problem, particles=1))
    assert not own[0].startswith("step")
    with pytest.raises(BadQuery, match="wrong"):
        scheduler.ask("", lambda: ThreadTask(refuse), Deadline(5)).result(5)
    with pytest.raises(BadQuery, match="wrong"):
        scheduler.ask("", refuse, Deadline(5)).result(5)


def refuse() -> Any:
    raise BadQuery("wrong")


def test_threads_of_their_own_are_shared_among_tenants() -> None:
    """A tenant that asks for much waits behind another, not before it."""
    with ThreadPoolExecutor(2) as aside:
        scheduler, order, go = Scheduler(1, aside), [], threading.Event()

        def work(name: str) -> str:
            go.wait(PATIENCE)
            order.append(name)
            return name

        def asked(name: str) -> Any:
            return scheduler.ask(name, lambda: ThreadTask(lambda: work(name)), Deadline(PATIENCE))

        many = [asked("many") for _ in range(12)]
        while sum(t.threads for t in scheduler._tenants.values()) < 2:
            time.sleep(0.001)  # both threads are theirs
        few = [asked("few") for _ in range(2)]
        while len(scheduler._tenants["few"].apart) < 2:
            time.sleep(0.001)
        go.set()
        assert [f.result(PATIENCE) for f in (*many, *few)] == ["many"] * 12 + ["few"] * 2
        assert [k for k, name in enumerate(order) if name == "few"][-1] <= 5
        scheduler.pool.shutdown()
    assert not scheduler._tenants

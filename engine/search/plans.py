"""The plans by which the rows of a problem are eliminated: one for all of a structure where that is
small enough, else one for what evidence leaves of a row."""

import numpy as np

from engine.problem import Problem
from engine.search.elimination import Plan
from engine.search.network import Network


def network_of(problem: Problem) -> Network | str:
    """The network of the explicit structure, or why it has none; made once for a structure."""
    if "network" not in problem.memo:
        problem.memo["network"] = Network.of(problem)
    return problem.memo["network"]


def shared_plan(problem: Problem) -> Plan | str:
    """The plan of all rows of a structure, whatever is given, or why there is none."""
    rest = problem.form.rest
    if rest is not None:
        return f"{rest.summands()[0].label} has no explicit structure"
    if "elimination" not in problem.memo:
        network = network_of(problem)
        made = network if isinstance(network, str) else Plan.of(network, network.sizes)
        problem.memo["elimination"] = made
    return problem.memo["elimination"]


def plan_of(problem: Problem, row: int) -> Plan | str:
    """The plan of a row, or why there is none."""
    shared = shared_plan(problem)
    if isinstance(shared, Plan) or problem.form.rest is not None:
        return shared
    network = network_of(problem)
    return network if isinstance(network, str) else Plan.of(network, counts_of(problem, row))


def counts_of(problem: Problem, row: int) -> np.ndarray:
    """How many values evidence leaves each site of the network. -> (N,)"""
    network = network_of(problem)
    assert isinstance(network, Network)
    allowed, sizes = problem.allowed[row], network.sizes.copy()
    own = problem.form.factors.sizes
    owner = np.repeat(np.arange(len(own)), own)
    sizes[: len(own)] = np.bincount(owner[allowed != 0], minlength=len(own))
    return sizes

"""Largest flow through a network of whole capacities, one phase after the other.

A phase finds the shortest ways from the source to the sink that are not full, and fills them.
Source: Dinic, "Algorithm for solution of a problem of maximum flow in networks with power
estimation", 1970.
"""

from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused


class Pipes(NamedTuple):
    """Edges in pairs: edge e leads from the head of e ^ 1 to `head[e]`."""

    start: np.ndarray  # (N + 1,) int64 edges that leave each node
    edge: np.ndarray  # (2E,) int64
    head: np.ndarray  # (2E,) int64


def laid(nodes: int, tail: np.ndarray, head: np.ndarray) -> Pipes:
    """Edges from tails to heads, edge k as 2 k, the way back as 2 k + 1. (E,) each"""
    ends: np.ndarray = np.stack([head, tail], 1).reshape(-1).astype(np.int64)
    begins = np.stack([tail, head], 1).reshape(-1)
    edge = np.argsort(begins, kind="stable").astype(np.int64)
    count = np.bincount(begins, minlength=nodes)
    return Pipes(np.concatenate([[0], np.cumsum(count)]).astype(np.int64), edge, ends)


@fused()
def reach(start, edge, head, room, source, backward):
    """How many edges each node lies from the source, along edges with room; -1: out of reach.
    backward: against the edges. -> (N,)"""
    level = np.full(len(start) - 1, -1, dtype=np.int64)
    queue = np.empty(len(start) - 1, dtype=np.int64)
    level[source] = 0
    queue[0] = source
    first, last = 0, 1
    while first < last:
        node = queue[first]
        first += 1
        for k in range(start[node], start[node + 1]):
            e = edge[k]
            other = head[e]
            free = room[e ^ 1] if backward else room[e]
            if free > 0 and level[other] < 0:
                level[other] = level[node] + 1
                queue[last] = other
                last += 1
    return level


@fused()
def fill_shortest(start, edge, head, room, level, source, sink):
    """Fills the shortest ways, with levels counted from the source; `room` is changed. -> flow"""
    at = start[:-1].copy()  # edges that lead nowhere lie before
    way = np.empty(len(start), dtype=np.int64)
    length, node, flow = 0, source, 0
    while True:
        if node == sink:
            least = room[way[0]]
            for k in range(1, length):
                least = min(least, room[way[k]])
            back = length
            for k in range(length - 1, -1, -1):
                room[way[k]] -= least
                room[way[k] ^ 1] += least
                if room[way[k]] == 0:
                    back = k
            flow += least
            length = back
            node = head[way[length] ^ 1]
            continue
        moved = False
        while at[node] < start[node + 1]:
            e = edge[at[node]]
            if room[e] > 0 and level[head[e]] == level[node] + 1:
                way[length] = e
                length += 1
                node = head[e]
                moved = True
                break
            at[node] += 1
        if moved:
            continue
        if node == source:
            return flow
        level[node] = -1
        length -= 1
        node = head[way[length] ^ 1]
        at[node] += 1

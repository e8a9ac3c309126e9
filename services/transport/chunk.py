"""Some states of a batch as one message, and the answer to it, checked against what was asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from engine.errors import BadQuery, ModuleFault
from services.settings import Limits
from services.transport.frames import Frame, load
from services.transport.rows import BoundRows, ToldRows
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array, Content, aligned, lay, share, view, view_list


class Found(NamedTuple):
    """The answer to a chunk. Energies are in memory of their own, slopes where they stand."""

    energy: Array  # (n,) float64
    slopes: list[Array]  # as the states; none where no gradient was asked for
    shared: int  # bytes of the slopes in shared memory; 0 unless all of them are there


@dataclass(frozen=True, eq=False)
class Chunk:
    """States of a term of some kind: one tensor for each entry of its scope that is no input,
    (n, *event)."""

    kind: str
    sequence: int
    states: Sequence[Array]
    want_gradient: bool
    rows: ToldRows | None = None  # None: there are no inputs

    @property
    def count(self) -> int:
        """n, the number of states."""
        return len(self.states[0] if self.rows is None else self.rows.keys)

    @property
    def room(self) -> int:
        """Bytes of shared memory that the answer takes."""
        slopes = sum(aligned(x.nbytes) for x in self.states) if self.want_gradient else 0
        return aligned(8 * self.count) + slopes

    @property
    def size(self) -> int:
        """Bytes of shared memory that the states take."""
        keys = () if self.rows is None else (self.rows.keys,)
        return sum(aligned(x.nbytes) for x in (*self.states, *keys))

    def message(self, memory: memoryview | None, bound: BoundRows) -> bytes:
        """The request, its states in line or in shared memory with room for the answer; with what
        the stream does not know yet of its rows."""
        head = pb.EvaluateRequest()
        batch = head.batch
        batch.sequence, batch.want_gradient = self.sequence, self.want_gradient
        raw: list[Content] = []
        arrays = [(state, batch.states.add()) for state in self.states]
        if self.rows is not None:
            arrays.append((self.rows.keys, batch.rows))
        if memory is None:
            for array, spec in arrays:
                lay(array, spec, raw)
        else:
            offset = 0
            for array, spec in arrays:
                offset = share(array, spec, memory, offset)
            batch.room.offset, batch.room.bytes = offset, self.room
        if self.rows is not None:
            bound.put(self.rows, head.rows, raw)
        return Frame(head, raw).dump()

    def read(self, data: bytes, limits: Limits, memory: memoryview | None) -> Found:
        """What a host answered. Raises ModuleFault unless it answers this chunk, in its shape."""
        answer = read_response(self.kind, data, "energies")
        energies = answer.head.energies
        try:
            energy = view(energies.energy, answer.raw, limits, memory).copy()
            slopes = view_list(energies.gradients, answer.raw, limits, memory)
        except BadQuery as error:
            raise ModuleFault(self.kind, f"its answer: {error}") from None
        if why := self._wrong(energies.sequence, energy, slopes):
            raise ModuleFault(self.kind, why)
        slices = [spec.slice.bytes for spec in energies.gradients if spec.HasField("slice")]
        return Found(energy, slopes, sum(slices) if len(slices) == len(slopes) else 0)

    def _wrong(self, sequence: int, energy: Array, slopes: Sequence[Array]) -> str:
        """Why numbers are no answer to this chunk; empty where they are."""
        if sequence != self.sequence:
            return f"answered batch {sequence}, not {self.sequence}"
        if energy.shape != (self.count,) or energy.dtype != np.float64:
            return f"{energy.dtype} energies of shape {[*energy.shape]}"
        wanted = [x.shape for x in self.states] if self.want_gradient else []
        if [x.shape for x in slopes] != wanted:
            return f"gradients of shapes {[[*x.shape] for x in slopes]}"
        return "an energy is nan" if np.isnan(energy).any() else ""


def read_response(kind: str, data: bytes, field: str) -> Frame[pb.EvaluateResponse]:
    """A message of a host of this kind that has this field. Raises ModuleFault for any other."""
    try:
        answer = load(pb.EvaluateResponse, data)
    except DecodeError as error:
        raise ModuleFault(kind, f"its answer cannot be read: {error}") from None
    if answer.head.WhichOneof("message") != field:
        raise ModuleFault(kind, f"its answer has no {field}")
    return answer

"""Samples as messages and back."""

from typing import Any

from engine.sampling.samples import Mixing, Sample, Samples
from services.query.sampling import Sampling, sampling_of
from services.settings import DEFAULT, Limits
from services.v1 import sample_pb2
from services.wire.answer import (
    flags_from_proto,
    flags_to_proto,
    status_from_proto,
    status_to_proto,
)
from services.wire.fields import optional, present, put_present
from services.wire.values import from_assignment, to_assignment


def sampling_to_proto(wishes: Sampling) -> sample_pb2.SampleRequest:
    """A request that lacks its query."""
    return sample_pb2.SampleRequest(count=wishes.count, temperature=wishes.temperature)


def sampling_from_proto(message: sample_pb2.SampleRequest, limits: Limits = DEFAULT) -> Sampling:
    """What a request asks for beside its query. Raises BadQuery with every mistake, or TooLarge."""
    data: dict[str, Any] = {"count": message.count}
    return sampling_of(data | present(message, "temperature"), limits)


def samples_to_proto(samples: Samples) -> sample_pb2.Samples:
    """The draws of one row as a message."""
    message = sample_pb2.Samples(
        status=status_to_proto(samples.status),
        exact=samples.exact,
        method=samples.method,
        flags=flags_to_proto(samples.flags),
        steps=samples.steps,
        seconds=samples.seconds,
    )
    put_present(message, log_partition=samples.log_partition)
    for sample in samples.samples:
        made = message.samples.add(values=to_assignment(sample.values))
        put_present(made, energy=sample.energy, holds=sample.holds)
    for told in samples.mixing:
        put_present(
            message.mixing.add(variable=told.variable, effective=told.effective), r_hat=told.r_hat
        )
    return message


def samples_from_proto(message: sample_pb2.Samples, limits: Limits = DEFAULT) -> Samples:
    """The draws of one row. Raises BasinError when the service speaks another version."""
    return Samples(
        samples=tuple(
            Sample(from_assignment(s.values, limits), optional(s, "energy"), optional(s, "holds"))
            for s in message.samples
        ),
        status=status_from_proto(message.status),
        exact=message.exact,
        method=message.method,
        mixing=tuple(
            Mixing(told.variable, optional(told, "r_hat"), told.effective)
            for told in message.mixing
        ),
        flags=flags_from_proto(message.flags),
        steps=message.steps,
        seconds=message.seconds,
        log_partition=optional(message, "log_partition"),
    )

"""Marginals as messages and back."""

from engine.errors import BasinError
from engine.sampling.marginals import Marginals, SiteChances, TermChances
from services.settings import DEFAULT, Limits
from services.v1 import marginals_pb2 as pb
from services.wire.answer import flags_from_proto, flags_to_proto
from services.wire.values import from_value, to_value


def marginals_to_proto(row: Marginals) -> pb.Marginals:
    """The chances of one row as a message."""
    message = pb.Marginals(flags=flags_to_proto(row.flags))
    for told in row.terms:
        term = message.terms.add(term=told.term, place=told.place)
        for site in told.sites:
            term.sites.add(
                variable=site.variable,
                site=site.site,
                values=to_value(site.values),
                chances=site.chances,
            )
    return message


def marginals_from_proto(message: pb.Marginals, limits: Limits = DEFAULT) -> Marginals:
    """The chances of one row. Raises BasinError when the message contradicts itself."""
    return Marginals(
        tuple(
            TermChances(told.term, told.place, tuple(_site(site, limits) for site in told.sites))
            for told in message.terms
        ),
        flags_from_proto(message.flags),
    )


def _site(message: pb.SiteChances, limits: Limits) -> SiteChances:
    values = from_value(message.values, limits)
    if not isinstance(values, list) or len(values) != len(message.chances):
        said = f"{len(message.chances)} chances of {message.variable} beside other values"
        raise BasinError(f"the service sent {said}, which this version does not know")
    place, chances = tuple(message.site), tuple(message.chances)
    return SiteChances(message.variable, place, tuple(values), chances)

"""A picture of real numbers from 0, black, to 1, that is itself searched."""

from engine.domain import Real, View
from engine.errors import BadQuery, Mistake
from modules.image.smoothness import picture_shape

FAR = 1_000.0  # no pixel is asked for beyond: networks say nothing there, and overflow in the end


def shape_of_numbers(view: View, path: str) -> tuple[int, int]:
    """Height and width. Raises BadQuery for labels, and for edges far from 0 and 1 or none, so that
    no evidence lies there either."""
    shape, domain = picture_shape(view, path), view.variable.domain
    if not isinstance(domain, Real):
        raise BadQuery(Mistake(path, "has single values", "give {low: 0, high: 1}"))
    for edge in (*domain.low.flatten().tolist(), *domain.high.flatten().tolist()):
        if abs(edge) > FAR:
            raise BadQuery(Mistake(path, f"reaches {edge:g}", "give {low: 0, high: 1}"))
    return shape

"""Who asks: nothing recalled, batched or kept for one tenant is seen by another.

The name comes with each call, in its metadata; a service without authentication takes it at its
word, and calls without it belong to one default tenant.
"""

import re
from typing import Any

from engine.errors import BadQuery, Mistake, shown

TENANT_KEY = "x-basin-tenant"
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)


def tenant_of(context: Any) -> str:
    """The tenant of a call, by its gRPC context. Raises BadQuery where it is no name."""
    for key, value in context.invocation_metadata() or ():
        if key == TENANT_KEY:
            return check_tenant(value)
    return ""


def check_tenant(name: Any) -> str:
    """A tenant's name. Raises BadQuery where it is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadQuery(
            Mistake(
                f"metadata.{TENANT_KEY}",
                f"{shown(name)} is no tenant",
                "give 1 to 64 letters, digits, _, -, . or @",
            )
        )
    return name

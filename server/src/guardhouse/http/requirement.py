"""What an operation asks of its caller, read from its dependencies: the contract and the kill switch agree on it."""

from fastapi.dependencies.models import Dependant

from guardhouse.identity.caller import Require


def required(dependant: Dependant) -> Require | None:
    """Return the operation's requirement; None when it is open to anybody."""
    for child in dependant.dependencies:
        if isinstance(child.call, Require):
            return child.call
        below = required(child)
        if below is not None:
            return below
    return None

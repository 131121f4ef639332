"""What a form must say before anything is decided by it."""

from collections.abc import Mapping

from rag_platform.errors import PlatformError

_LONGEST = 500  # as in the forms


class Refused(PlatformError):
    """A decision that lacks something."""


def reason_of(form: Mapping[str, str]) -> str:
    """The reason that a form gives, in one line. Raises `Refused` without one."""
    reason = " ".join(form.get("reason", "").split())
    if not reason:
        raise Refused("Nothing was done: say why. The reason stays on record.")
    if len(reason) > _LONGEST:
        raise Refused(f"Nothing was done: give a reason of at most {_LONGEST} characters.")
    return reason

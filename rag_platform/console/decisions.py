"""What a form must say before anything is decided by it."""

from collections.abc import Mapping

from rag_platform.errors import PlatformError


class Refused(PlatformError):
    """A decision that lacks something, or that was made about what is so no longer."""


def reason_of(form: Mapping[str, str]) -> str:
    """The reason that a form gives, in one line. Raises `Refused` without one."""
    reason = " ".join(form.get("reason", "").split())
    if not reason:
        raise Refused("Nothing was done: say why. The reason stays on record.")
    return reason

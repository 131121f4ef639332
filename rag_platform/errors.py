"""The platform's own errors: their base, and those of several parts."""


class PlatformError(Exception):
    """What went wrong, where, and what to do about it, in one line; the CLI prints it as it is.

    `transient` says that the same step may well succeed a little later: a run tries it again.
    """

    transient = False


class Overtaken(PlatformError):
    """A decision about what somebody has changed since it was shown; nothing was done."""

"""The base of the platform's own errors."""


class PlatformError(Exception):
    """What went wrong, where, and what to do about it, in one line; the CLI prints it as it is.

    `transient` says that the same step may well succeed a little later: a run tries it again.
    """

    transient = False

"""The base of the platform's own errors."""


class PlatformError(Exception):
    """What went wrong, where, and what to do about it, in one line; the CLI prints it as it is."""

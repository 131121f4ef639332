"""What can go wrong between a question and a model's answer."""

from rag_platform.errors import PlatformError


class ModelError(PlatformError):
    """A model did not give an answer that can be used; this request will not get one as it is."""


class ServiceRefused(ModelError):
    """The service refuses every request until somebody acts: a wrong key, address or model, or
    a quota that is used up. It says nothing about the item that was asked about.
    """


class ModelUnavailable(ModelError):
    """Every model of the chain failed, is left alone for now, or asks to wait too long."""

    transient = True


class ModelRefused(ModelError):
    """The model, or the service's content filter, declined to answer."""


class InvalidAnswer(ModelError):
    """The answer does not fit the schema, or was cut off, and one more try did not help."""

"""What goes wrong with training and serving, each with what to do."""

from rag_platform.errors import PlatformError


class TrainingError(PlatformError):
    """Something about a model cannot be done."""


class UnusableData(TrainingError):
    """Data that no model is to be trained on, or rows that a model cannot take."""


class NoSuchModel(TrainingError):
    """A model, or a version of one, that there is not."""


class RegistryUnavailable(TrainingError):
    """MLflow cannot be reached or refused; what serves goes on serving."""

    transient = True

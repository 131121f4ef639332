"""The models that there are: every file of `training/models/` holds one, as `SPEC`."""

import importlib
import pkgutil
from functools import cache

from rag_platform.training import models
from rag_platform.training.errors import NoSuchModel
from rag_platform.training.spec import ModelSpec


@cache
def catalogue() -> dict[str, ModelSpec]:
    """All models by name, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(models.__path__))
    return {name: _spec(name) for name in names}


def _spec(name: str) -> ModelSpec:
    spec = importlib.import_module(f"{models.__name__}.{name}").SPEC
    if not isinstance(spec, ModelSpec) or spec.name != name:
        raise TypeError(f"training/models/{name}.py: SPEC must be a ModelSpec named {name!r}")
    return spec


def model_spec(name: str) -> ModelSpec:
    """A model by its name. Raises `NoSuchModel`."""
    known = catalogue()
    if name not in known:
        raise NoSuchModel(f"model {name!r}: there is none; there are: {', '.join(known)}.")
    return known[name]

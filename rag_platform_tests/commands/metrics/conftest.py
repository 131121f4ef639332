"""The small platform of the console's tests."""

from rag_platform_tests.console.conftest import _copy_of, place, platform  # noqa: F401
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401

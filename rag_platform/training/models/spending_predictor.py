"""What will be spent by category in the weeks to come."""

from rag_platform.training.readers.spending import SpendingReader
from rag_platform.training.spec import ModelSpec
from rag_platform.training.tasks.forecast import Forecast
from rag_platform.training.trainers.lags import Lags
from rag_platform.training.trainers.prophet import Prophet

SPEC = ModelSpec(
    name="spending_predictor",
    description="What will be spent by category in each of the next weeks, with an interval.",
    task=Forecast(),
    reader=SpendingReader(),
    trainers={"default": Lags(), "prophet": Prophet()},
    gates={"mase": 1.0, "below_naive": 0.6, "coverage": 0.7},
    schedule="0 4 * * 5",
    sample="spending_predictor",
    min_rows=100,
    unit="week of a category",
    tags={"domain": "operations"},
)

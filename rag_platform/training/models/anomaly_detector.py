"""What is unusual: transactions in a table, or values in time series."""

from rag_platform.training.readers.nab import SERIES, SeriesReader
from rag_platform.training.readers.tabular import TabularReader
from rag_platform.training.spec import ModelSpec
from rag_platform.training.tasks.anomaly import ANOMALY, NORMAL, UNLABELLED, Anomalies
from rag_platform.training.trainers.isolation_forest import IsolationForest

SPEC = ModelSpec(
    name="anomaly_detector",
    description="Which transactions, or values of time series, are not as the rest is.",
    task=Anomalies(sliced=SERIES),
    reader=SeriesReader(
        tables=TabularReader(
            target=("class", "label", "is_anomaly", "is_fraud", "fraud"),
            classes={
                ANOMALY: (ANOMALY, "1", "true", "fraud"),
                NORMAL: (NORMAL, "0", "false", "genuine"),
            },
            unlabelled=UNLABELLED,
            unit=("transaction_id", "id"),
            # Counts on from the first transaction: what comes later would be unusual.
            drop=("time", "timestamp"),
        )
    ),
    trainers={"default": IsolationForest(alert_rate=0.01, excluded=(SERIES,))},
    gates={"roc_auc": 0.80, "average_precision": 0.30, "alert_rate": 0.03},
    schedule="0 3 * * 3",
    sample="anomaly_detector",
    min_rows=500,
    unit="event",
    tags={"domain": "operations"},
)

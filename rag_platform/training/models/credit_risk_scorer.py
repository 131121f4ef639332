"""Whether an applicant or a client will pay back: "good", or "bad"."""

from rag_platform.training.readers.tabular import TabularReader
from rag_platform.training.spec import ModelSpec
from rag_platform.training.tasks.classification import BinaryClassification
from rag_platform.training.trainers.histgb import HistGB
from rag_platform.training.trainers.xgboost import XGBoost

AUDITED = {"age": (25.0, 35.0, 50.0)}
# Sex and marital status, and what encodes them or where a person is from, are no grounds to lend
# on: no feature, whatever they would add. (In the German data the codes of sex are in doubt, so
# nothing is audited by it.)
NOT_TO_LEND_ON = (
    *("sex", "gender", "personal_status_sex", "personal_status"),
    *("marriage", "marital_status", "foreign_worker", "nationality", "ethnicity", "race"),
)

SPEC = ModelSpec(
    name="credit_risk_scorer",
    description="Whether credit will be paid back, with the odds; audited by age.",
    task=BinaryClassification(
        positive="good",
        negative="bad",
        # The costs that come with the German data: who lends to a bad one loses more.
        false_positive_cost=5,
        false_negative_cost=1,
        sliced=AUDITED,
    ),
    reader=TabularReader(
        target=("default", "default_next_month", "class", "outcome"),
        classes={"good": ("good", "0", "false"), "bad": ("bad", "1", "true")},
        unit=("row_id", "id"),
        audited={"age": ("age_years",)},
        drop=NOT_TO_LEND_ON,
        ratios={
            "amount_per_month": ("credit_amount", "duration_months"),
            "limit_used": ("BILL_AMT1", "LIMIT_BAL"),
            "paid_of_bill": ("PAY_AMT1", "BILL_AMT1"),
            "paid_of_bill_before": ("PAY_AMT2", "BILL_AMT2"),
        },
    ),
    trainers={
        "default": XGBoost("good", "bad", excluded=tuple(AUDITED)),
        "histgb": HistGB("good", "bad", excluded=tuple(AUDITED)),
    },
    gates={
        "accuracy": 0.75,
        "precision": 0.70,
        "recall": 0.65,
        "auc": 0.75,
        "disparate_impact": 0.80,
    },
    schedule="0 3 * * 6",
    sample="credit_risk_scorer",
    audited=AUDITED,
    ranges={"age": (18, 120)},
    unit="applicant",
    tags={"domain": "credit"},
)

"""The intent classifier on its sample."""

from rag_platform.training.models.intent_classifier import SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.spec import SEED
from rag_platform.training.task import TARGET
from rag_platform.training.validation import validate
from rag_platform_tests.training.tiny import SERVICES


def test_the_sample_passes_the_checks_and_the_gates_with_room() -> None:
    assert SPEC.sample_path
    files = [DataFile(file.name, file, 0.0) for file in SPEC.sample_path.glob("*.gz")]
    read = SPEC.reader.read(files, labelled=True)
    valid = validate(SPEC, read, modified=None, now=0.0, max_age_days=30, max_bad_share=0.0)
    assert valid.passed, valid.checks
    rows = valid.frame
    held = SPEC.task.holdout(rows)
    model = SPEC.trainers["default"].fit(rows[~held], seed=SEED, services=SERVICES)
    told = model.predict(rows[held].drop(columns=TARGET))
    measured = SPEC.task.measure(rows[held], told)
    # 353 rows are held back: the standard error is 1.3 %.
    assert measured["accuracy"] > SPEC.gates["accuracy"] + 0.04
    assert measured["macro_f1"] > SPEC.gates["macro_f1"] + 0.04
    assert measured["out_of_scope_recall"] > 0.8
    assert measured["calibration_error"] < 0.06
    assert set(SPEC.gates) <= set(SPEC.task.metrics)


def test_there_is_a_trainer_for_the_extra() -> None:
    assert set(SPEC.trainers) == {"default", "minilm"}
    prints = {trainer.fingerprint() for trainer in SPEC.trainers.values()}
    assert len(prints) == 2

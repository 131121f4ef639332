"""Labels in all their forms, joined with what was answered."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rag_platform.training.catalogue import model_spec
from rag_platform.training.errors import UnusableData
from rag_platform.training.labels import labelled, read_labels
from rag_platform.training.rows import DataFile
from rag_platform.training.score_tables import Pair
from rag_platform_tests.training.tiny import SPEC


def file(path: Path, text: str, modified: float = 0.0) -> DataFile:
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return DataFile(path.name, path, modified)


def read(*files: DataFile) -> dict[str, Any]:
    return dict(read_labels(SPEC, files))


def test_of_contradictory_labels_the_later_file_counts(tmp_path: Path) -> None:
    late = file(tmp_path / "a.csv", "unit,target\nu1,no\n", modified=2.0)
    early = file(tmp_path / "b.csv.gz", "unit,target\nu1,yes\nu2,yes\n", modified=1.0)
    for files in ((late, early), (early, late)):
        assert read(*files) == {"u1": "no", "u2": "yes"}
    # Written in the same second: by name.
    same = [replace(one, modified=1.0) for one in (late, early)]
    assert read(*same) == {"u1": "yes", "u2": "yes"}


def test_within_a_file_the_last_row_counts_and_missing_ones_do_not(tmp_path: Path) -> None:
    lines = [{"unit": "u1", "target": t} for t in ("yes", "no", None)] + [{"unit": None}]
    found = read(file(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))
    assert found == {"u1": "no"}


def test_units_that_look_like_numbers_stay_whole(tmp_path: Path) -> None:
    # One unit is missing, so that the column has decimals where it was read.
    found = read(file(tmp_path / "a.csv", "unit,target\n12,yes\n,no\n7,no\n"))
    assert found == {"12": "yes", "7": "no"}


def test_the_form_of_the_training_data_will_do(tmp_path: Path) -> None:
    spec = model_spec("credit_risk_scorer")
    sample = spec.sample_path
    assert sample is not None
    files = [DataFile(p.name, p, 0.0) for p in sorted(sample.iterdir()) if p.suffix != ".md"]
    labels = read_labels(spec, files)
    rows = spec.reader.read(files, labelled=True).frame.drop_duplicates("unit", keep="last")
    assert dict(labels) == dict(zip(rows["unit"], rows["target"], strict=True))


def test_files_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableData):
        read(file(tmp_path / "a.csv", "user,answer\nu1,no\n"))
    with pytest.raises(UnusableData, match="no files with labels"):
        read()


def answered(*units: str) -> Pair:
    rows = pd.DataFrame({"unit": units, "x": range(len(units))})
    said = pd.DataFrame({"prediction": ["1"] * len(units), "score": 0.5})
    return Pair(rows, said, said.assign(score=0.9))


def test_only_units_that_were_answered_count() -> None:
    pair = labelled(answered("a", "b", "c"), pd.Series({"c": 0.0, "a": 1, "stranger": 1}))
    assert pair is not None
    # The answers are texts, so the labels are.
    assert pair.rows[["unit", "x", "target"]].values.tolist() == [["a", 0, "1"], ["c", 2, "0"]]
    assert (len(pair.champion), pair.challenger["score"].tolist()) == (2, [0.9, 0.9])
    assert labelled(answered("a"), pd.Series({"stranger": "1"})) is None


def test_numbers_stay_numbers_where_answers_are_numbers() -> None:
    pair = answered("a")
    numbers = pair.champion.assign(prediction=3.5)
    told = labelled(Pair(pair.rows, numbers, numbers), pd.Series({"a": 4.0}))
    assert told is not None
    assert told.rows["target"].tolist() == [4.0]

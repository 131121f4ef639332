"""Questions in the forms that they come in, and those without an answer that are made of them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.finance_qa import FinanceQuestions
from rag_platform.training.rows import DataFile, Rows
from rag_platform.training.spec import SAMPLES
from rag_platform.training.tasks.answers import Target, parts, target_of, words

READER = FinanceQuestions()
PLAIN_READER = FinanceQuestions(elsewhere=0)


def tatqa(uid: str = "a", question: str = "What are total sales?", **more: Any) -> dict[str, Any]:
    """A context with one question."""
    asked = {
        "uid": f"q-{uid}",
        "order": 1,
        "question": question,
        "answer": ["$1,496.5"],
        "derivation": "",
        "answer_type": "span",
        "answer_from": "table-text",
        "rel_paragraphs": ["2"],
        "scale": "million",
    }
    return {
        "table": {"uid": f"t-{uid}", "table": [["", "2019"], ["Total sales", "$1,496.5"]]},
        "paragraphs": [
            {"uid": "p", "order": 1, "text": "Sales by contract."},
            {"uid": "p", "order": 2, "text": "Amounts are in\nmillions."},
        ],
        "questions": [asked | more],
    }


def files(folder: Path, **contents: list[dict[str, Any]]) -> list[DataFile]:
    found = []
    for name, records in contents.items():
        path = folder / f"{name}.jsonl.gz"
        path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
        found.append(DataFile(path.name, path, 0.0))
    return found


def read(folder: Path, *records: dict[str, Any], labelled: bool = True) -> Rows:
    return PLAIN_READER.read(files(folder, data=list(records)), labelled=labelled)


def targets(frame: pd.DataFrame) -> list[Target]:
    return [target_of(text) for text in frame["target"]]


# TAT-QA


def test_tatqa(tmp_path: Path) -> None:
    rows = read(tmp_path, tatqa())
    assert rows.bad == []
    assert rows.records == 1
    (row,) = rows.frame.to_dict("records")
    assert [row["unit"], row["group"], row["question"]] == ["q-a", "t-a", "What are total sales?"]
    assert row["context"] == (
        "[t1] | 2019\n[t2] Total sales | $1,496.5\n[p1] Sales by contract.\n\n"
        "[p2] Amounts are in millions."
    )
    assert targets(rows.frame) == [
        Target(
            answers=["$1,496.5"],
            scale="million",
            type="span",
            source="table-text",
            cites=["p2", "t2"],
        )
    ]


def test_calculated_answers_and_the_rows_they_are_made_of(tmp_path: Path) -> None:
    record = tatqa(
        answer=-12.6,
        answer_type="arithmetic",
        answer_from="table",
        derivation="1,483.9-1,496.5",
        rel_paragraphs=[],
    )
    (target,) = targets(read(tmp_path, record).frame)
    assert (target.answers, target.cites) == (["-12.6"], ["t2"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": "  "}, "no_question"),
        ({"question": "x" * 2_001}, "long_question"),
        ({"answer": []}, "no_answer"),
        ({"scale": "dozen"}, "odd_scale"),
        ({"answer": {"a": 1}, "rel_paragraphs": ["one"]}, "odd_question"),
    ],
)
def test_a_question_that_is_none(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    rows = read(tmp_path, tatqa("a", **changes), tatqa("b"))
    assert list(rows.frame["unit"]) == ["q-b"]
    assert [(bad.number, bad.reason) for bad in rows.bad] == [(1, reason)]
    assert rows.records == 2


def test_a_context_that_is_none(tmp_path: Path) -> None:
    rows = read(tmp_path, tatqa("a") | {"paragraphs": 7}, tatqa("b"))
    assert [bad.reason for bad in rows.bad] == ["odd_context"]
    assert list(rows.frame["unit"]) == ["q-b"]


def test_without_labels_nothing_but_questions_is_needed(tmp_path: Path) -> None:
    record = tatqa()
    record["questions"] = [{"uid": "q", "question": "What are total sales?"}]
    rows = FinanceQuestions(elsewhere=1).read(files(tmp_path, data=[record]), labelled=False)
    assert list(rows.frame.columns) == ["unit", "group", "question", "context"]
    assert list(rows.frame["unit"]) == ["q"]
    assert [bad.reason for bad in read(tmp_path, record).bad] == ["odd_question"]


# Plain columns


def test_names_of_columns_may_be_in_any_case(tmp_path: Path) -> None:
    rows = read(tmp_path, {"Question": "Who?", "CONTEXT": "Ada did.", " Answer": "Ada"})
    assert rows.frame["question"].tolist() == ["Who?"]


def test_each_question_has_a_number_of_its_own(tmp_path: Path) -> None:
    record = tatqa()
    record["questions"] = [record["questions"][0] | {"uid": uid} for uid in "abc"]
    rows = read(tmp_path, {"x": 1}, {"x": 1}, record, record).frame
    assert rows.index.tolist()[:6] == [3, 4, 5, 6, 7, 8]


def test_plain_columns(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        {"question": "Who?", "context": "Ada did.\n\nBob did not.", "answer": "Ada"},
        {"question": "What?", "context": ["It\nrained."], "answer": ["a", "b"], "unit": "u"},
        {"question": "How many?", "context": "[t1] Cash | 4\n[p7] x", "answer": 4, "group": "g"},
        {"question": "Why?", "context": "No.", "answer": None},
        {"question": "Why?", "context": "No.", "answer": "x", "answerable": False, "unit": 7},
    )
    assert rows.bad == []
    assert list(rows.frame["context"]) == [
        "[p1] Ada did.\n\n[p2] Bob did not.",
        "[p1] It rained.",
        "[t1] Cash | 4\n[p7] x",
        "[p1] No.",
        "[p1] No.",
    ]
    assert [(t.answers, t.type, t.answerable) for t in targets(rows.frame)] == [
        (["Ada"], "span", True),
        (["a", "b"], "multi-span", True),
        (["4"], "span", True),
        ([], "unanswerable", False),
        ([], "unanswerable", False),
    ]
    units = list(rows.frame["unit"])
    assert (units[1], units[4]) == ("u", "7")
    assert len({*units}) == 5
    assert rows.frame["group"].tolist()[2] == "g"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"question": "Who?", "context": "Ada."}, "no_answer"),
        ({"question": "Who?", "context": " ", "answer": "Ada"}, "no_context"),
        ({"question": "Who?", "context": None, "answer": "Ada"}, "no_context"),
        ({"question": "Who?", "context": "x" * 60_001, "answer": "Ada"}, "long_context"),
        ({"question": "Who?", "context": "Ada.", "target": "{}"}, "odd_target"),
    ],
)
def test_a_plain_record_that_is_no_row(tmp_path: Path, record: dict[str, Any], reason: str) -> None:
    good = {"question": "Who?", "context": "Bob.", "answer": "Bob"}
    assert [bad.reason for bad in read(tmp_path, good, record).bad] == [reason]


def test_rows_can_be_read_again(tmp_path: Path) -> None:
    """A table of rows, as they are kept and shown, is a delivery like any other."""
    frame = READER.read([sample()], labelled=True).frame
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    again = READER.read([DataFile(path.name, path, 0.0)], labelled=True)
    assert again.bad == []
    pd.testing.assert_frame_equal(
        again.frame.reset_index(drop=True), frame.reset_index(drop=True), check_dtype=False
    )


def test_a_form_that_is_not_known(tmp_path: Path) -> None:
    unknown = files(tmp_path, data=[{"text": "hello", "label": "x"}])
    with pytest.raises(UnusableData, match=r"data.jsonl.gz.*question and context"):
        READER.read(unknown, labelled=True)
    with pytest.raises(UnusableData, match="no file"):
        READER.read([], labelled=True)


# Questions that have no answer where they are asked


def sample() -> DataFile:
    (path,) = (SAMPLES / "financial_advisor").glob("*.jsonl.gz")
    return DataFile(path.name, path, 0.0)


def test_the_sample_has_questions_of_both_kinds() -> None:
    rows = READER.read([sample()], labelled=True)
    frame, found = rows.frame, targets(rows.frame)
    assert rows.bad == []
    assert rows.records == len(frame)
    assert frame["unit"].is_unique
    assert frame.index.is_unique
    asked_once = frame[[target.answerable for target in found]]
    elsewhere = frame.drop(asked_once.index)
    assert len(asked_once) == 600
    assert 0.15 < len(elsewhere) / len(asked_once) < 0.25
    at_home = asked_once.set_index("unit")
    for row in elsewhere.to_dict("records"):
        unit, _, mark = row["unit"].partition("#")
        assert mark == "elsewhere"
        assert row["question"] == at_home.loc[unit, "question"]
        assert row["group"] != at_home.loc[unit, "group"]
        # The group is that of the document, with which it is held back or not.
        (context,) = at_home.loc[at_home["group"] == row["group"], "context"].unique()
        assert row["context"] == context
        assert not set(words(row["question"]).split()) <= set(words(context).split())


def test_which_questions_are_asked_elsewhere_depends_on_them_alone(tmp_path: Path) -> None:
    whole = READER.read([sample()], labelled=True).frame
    lines = gzip.decompress(sample().path.read_bytes()).splitlines()
    part = [json.loads(line) for line in reversed(lines[:50])]
    some = READER.read(files(tmp_path, part=part), labelled=True).frame
    marked = {unit for unit in whole["unit"] if unit.endswith("#elsewhere")}
    assert {unit for unit in some["unit"] if unit.endswith("#elsewhere")} <= marked


def test_data_with_unanswerable_questions_is_left_as_it_is(tmp_path: Path) -> None:
    records = [
        {"question": f"What is item {n}?", "context": f"Text {n}", "answer": "x"} for n in range(30)
    ]
    unanswerable = {"question": "Why?", "context": "No.", "answer": None}
    everywhere = FinanceQuestions(elsewhere=1)
    both = everywhere.read(files(tmp_path, a=[*records, unanswerable]), labelled=True)
    assert len(both.frame) == 31
    one = everywhere.read(files(tmp_path, b=records), labelled=True)
    assert len(one.frame) == 60


def test_every_part_of_the_sample_can_be_cited() -> None:
    frame = READER.read([sample()], labelled=True).frame
    for context, target in zip(frame["context"], targets(frame), strict=True):
        assert set(target.cites) <= set(parts(context))

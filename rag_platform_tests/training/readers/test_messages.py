"""Messages of people into rows."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from rag_platform.training.errors import UnusableData
from rag_platform.training.models.intent_classifier import SPEC
from rag_platform.training.readers.messages import MessagesReader
from rag_platform.training.rows import DataFile, Rows


def file(folder: Path, name: str, content: str) -> DataFile:
    path = folder / name
    data = content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return DataFile(name, path, 0.0)


def read(*files: DataFile, labelled: bool = True) -> Rows:
    return MessagesReader().read(files, labelled=labelled)


def test_the_form_of_banking77_beside_its_list_of_intents(tmp_path: Path) -> None:
    rows = read(
        file(tmp_path, "categories.json", '["card_arrival", "top_up"]'),
        file(tmp_path, "train.csv.gz", 'text,category\n" Where is it? ",card_arrival\nHi,top_up\n'),
    )
    assert rows.frame["text"].tolist() == ["Where is it?", "Hi"]
    assert rows.frame["target"].tolist() == ["card_arrival", "top_up"]
    assert rows.frame["unit"].iloc[0] == hashlib.sha256(b"Where is it?").hexdigest()[:16]
    assert rows.frame.index.tolist() == [1, 2]
    assert (rows.records, rows.bad) == (2, [])


def test_the_form_of_clinc_has_columns_that_are_no_features(tmp_path: Path) -> None:
    lines = [
        {"text": "pay my bill", "intent": "pay_bill", "domain": "banking", "split": "train"},
        {"text": "who is it", "intent": "oos", "domain": "oos", "split": "oos_val"},
    ]
    domains = file(tmp_path, "domains.json", '{"banking": ["pay_bill"]}')
    data = file(tmp_path, "train_val.jsonl.gz", "\n".join(map(json.dumps, lines)))
    frame = read(domains, data).frame
    assert list(frame.columns) == ["unit", "group", "text", "target"]
    assert frame["target"].tolist() == ["pay_bill", "oos"]


def test_messages_that_differ_in_marks_only_are_one_group_of_two_units(tmp_path: Path) -> None:
    text = "text,label\nIs it  here?,a\nis it here,a\nit is here,a\n???,a\n"
    frame = read(file(tmp_path, "a.csv", text)).frame
    assert frame["unit"].nunique() == 4
    assert frame["group"].iloc[0] == frame["group"].iloc[1]
    assert frame["group"].nunique() == 3


def test_a_message_may_have_a_name(tmp_path: Path) -> None:
    data = file(tmp_path, "a.csv", "id,text,intent\n7,one,1\n,two,2\n")
    frame = read(data).frame
    assert frame["unit"].tolist() == ["7", hashlib.sha256(b"two").hexdigest()[:16]]
    assert frame["target"].tolist() == ["1", "2"]


def test_messages_to_be_answered_need_no_intent(tmp_path: Path) -> None:
    frame = read(file(tmp_path, "a.csv", "text,intent\none,x\ntwo,\n"), labelled=False).frame
    assert list(frame.columns) == ["unit", "group", "text"]
    assert len(frame) == 2


def test_what_is_no_message_is_told(tmp_path: Path) -> None:
    lines = [
        *('{"text": "", "intent": "a"}', '{"text": "  \\t", "intent": "a"}'),
        *('{"text": null, "intent": "a"}', '{"text": 7, "intent": "a"}'),
        *('{"text": "no intent"}', '{"text": "no intent", "intent": " "}'),
        json.dumps({"text": "long", "intent": "i" * 101}),
        *('{"text": ', json.dumps({"text": "x\x00\x1b[31m😀" + "y" * 100_000, "intent": "a"})),
    ]
    rows = read(file(tmp_path, "a.jsonl", "\n".join(lines)))
    reasons = {row.number: row.reason for row in rows.bad}
    assert [reasons[number] for number in range(1, 8)] == ["no_text"] * 4 + ["no_intent"] * 3
    assert set(reasons) == set(range(1, 9))
    assert rows.records == 9
    assert rows.frame.index.tolist() == [9]


def test_other_tables_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"'a.csv' has columns amount, day.*text.*intent"):
        read(file(tmp_path, "a.csv", "amount,day\n1,2\n"))
    with pytest.raises(UnusableData, match="there is no table"):
        read(file(tmp_path, "a.txt", "text"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"text,intent\n" + b"a,b\n" * 99)[:-9])
    with pytest.raises(UnusableData, match="cannot be read to its end"):
        read(DataFile("b.csv.gz", tmp_path / "b.csv.gz", 0.0))


def test_the_sample_is_readable() -> None:
    assert SPEC.sample_path
    path = SPEC.sample_path / "messages.csv.gz"
    rows = read(DataFile(path.name, path, 0.0))
    counts = rows.frame["target"].value_counts()
    assert (len(rows.frame), rows.bad) == (1_800, [])
    assert rows.frame["unit"].is_unique
    assert counts.pop("oos") == 120
    assert counts.tolist() == [70] * 24


def test_columns_may_be_in_any_case(tmp_path: Path) -> None:
    found = read(file(tmp_path, "a.csv", "Text,Category\nWhere is my card?,card_arrival\n"))
    assert found.frame[["text", "target"]].to_numpy().tolist() == [
        ["Where is my card?", "card_arrival"]
    ]

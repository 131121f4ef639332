"""Texts with entities into rows."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rag_platform.training.errors import UnusableData
from rag_platform.training.models.financial_ner import SPEC
from rag_platform.training.readers.conll import BLOCK, MIN_DOCUMENTS
from rag_platform.training.readers.entities import EntitiesReader
from rag_platform.training.rows import DataFile, Rows

Told = list[tuple[str, str]]


def file(folder: Path, name: str, content: str) -> DataFile:
    path = folder / name
    data = content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return DataFile(name, path, 0.0)


def read(*files: DataFile, labelled: bool = True) -> Rows:
    return EntitiesReader().read(files, labelled=labelled)


def entities(rows: Rows) -> list[Told]:
    """Text and label of the entities of each row, by their positions in the text."""
    found = []
    for text, target in zip(rows.frame["text"], rows.frame["target"], strict=True):
        told = json.loads(target)
        assert all(text[one["start"] : one["end"]] == one["text"] for one in told)
        found.append([(one["text"], one["label"]) for one in told])
    return found


def lines(*records: Any) -> str:
    return "\n".join(map(json.dumps, records))


def test_conll_as_of_the_filings(tmp_path: Path) -> None:
    text = """-DOCSTART- -X- O O

    This DT - O
    LOAN NN - O

    Acme NNP - I-ORG
    ( ( - O
    Bank NNP - I-ORG
    of IN - I-ORG
    Ohio NNP - I-LOC
    ) ) - O
    , , - O
    Inc. NNP - I-ORG
    """
    rows = read(file(tmp_path, "FIN5.conll.gz", text))
    assert rows.frame["text"].tolist() == ["This LOAN", "Acme (Bank of Ohio), Inc."]
    orgs = [("Acme", "ORG"), ("Bank of", "ORG"), ("Ohio", "LOC"), ("Inc.", "ORG")]
    assert entities(rows) == [[], orgs]


def test_tags_that_say_where_an_entity_begins(tmp_path: Path) -> None:
    tags = ["B-A", "I-A", "B-A", "O", "I-B", "I-A", "S-A", "I-A", "B-B", "E-B", "I-B"]
    text = "\n".join(f"w{at} {tag}" for at, tag in enumerate(tags))
    found = entities(read(file(tmp_path, "x.bio", text)))[0]
    assert found == [
        *(("w0 w1", "A"), ("w2", "A"), ("w4", "B"), ("w5", "A")),
        *(("w6", "A"), ("w7", "A"), ("w8 w9", "B"), ("w10", "B")),
    ]


def documents(count: int, sentences: int) -> str:
    return "".join(
        "-DOCSTART- O\n\n" + "".join(f"d{d} O\ns{s} O\n\n" for s in range(sentences))
        for d in range(count)
    )


def test_whole_documents_are_groups_where_there_are_enough(tmp_path: Path) -> None:
    rows = read(file(tmp_path, "many.conll", documents(MIN_DOCUMENTS, 9))).frame
    by_document = rows["text"].str.split().str[0]
    assert rows["group"].nunique() == by_document.nunique() == MIN_DOCUMENTS
    assert (rows.groupby("group")["text"].count() == 9).all()


def test_of_few_documents_neighbouring_sentences_are_groups(tmp_path: Path) -> None:
    rows = read(file(tmp_path, "few.conll", documents(2, 2 * BLOCK + 1))).frame
    sizes = rows.groupby("group", sort=False)["text"].count().tolist()
    assert sizes == [BLOCK, BLOCK, 1] * 2
    # Wherever the documents stand in a delivery, the groups have the same names.
    text = documents(2, 2 * BLOCK + 1)
    swapped = text[text.rindex("-DOCSTART-") :] + text[: text.rindex("-DOCSTART-")]
    again = read(file(tmp_path, "other.conll", swapped)).frame
    assert rows.set_index("unit")["group"].to_dict() == again.set_index("unit")["group"].to_dict()


def test_the_form_of_fire_beside_its_types(tmp_path: Path) -> None:
    record = {
        "tokens": ["On", "May", "2", ",", "Acme", "'s", "board", "paid", "$", "5", "."],
        "entities": [
            {"id": "x", "text": "May 2", "type": "Date", "start": 1, "end": 3},
            {"id": "y", "text": "$ 5", "type": "Money", "start": 8, "end": 10},
        ],
        "relations": [],
    }
    types = file(tmp_path, "types.json", '{"entities": {"Date": {}}}')
    rows = read(types, file(tmp_path, "dev.jsonl.gz", lines(record)))
    assert rows.frame["text"].tolist() == ["On May 2, Acme's board paid $5."]
    assert entities(rows) == [[("May 2", "Date"), ("$5", "Money")]]


def test_all_entities_of_finentity_are_companies(tmp_path: Path) -> None:
    record = {
        "content": "Apple and S&P Global rose.",
        "annotations": [
            {"start": 0, "end": 5, "value": "Apple", "label": "Positive"},
            {"start": 0, "end": 5, "value": "Apple", "label": "Neutral"},
            {"start": 9, "end": 20, "value": "S&P Global", "label": "Positive"},
        ],
    }
    rows = read(file(tmp_path, "dev.jsonl", lines(record)))
    assert entities(rows) == [[("Apple", "Company"), ("S&P Global", "Company")]]


def test_plain_records_and_the_same_in_csv(tmp_path: Path) -> None:
    spans = [{"start": 4, "end": 8, "label": "ORG"}]
    plain = {"unit": "u", "group": "g", "text": "The Fed 😀", "entities": spans}
    rows = read(file(tmp_path, "a.jsonl", lines(plain)))
    assert rows.frame.loc[1, ["unit", "group"]].tolist() == ["u", "g"]
    assert entities(rows) == [[("Fed", "ORG")]]
    quoted = json.dumps(spans).replace('"', '""')
    again = read(file(tmp_path, "a.csv", f'text,target\nThe Fed 😀,"{quoted}"\n'))
    assert entities(again) == [[("Fed", "ORG")]]


@pytest.mark.parametrize(
    "spans",
    [
        [{"start": 0, "end": 9, "label": "A"}],
        [{"start": -1, "end": 2, "label": "A"}],
        [{"start": 2, "end": 2, "label": "A"}],
        [{"start": 1, "end": 2, "label": "A"}],
        [{"start": 0, "end": 3, "label": "A"}, {"start": 2, "end": 4, "label": "B"}],
        [{"start": 0.5, "end": 3, "label": "A"}],
        [{"start": 0, "end": 1, "label": "\x00"}],
        [{"start": 0, "end": 1}],
        *(["x"], {"start": 0}, 7, "[", "[" * 100_000),
    ],
)
def test_entities_that_cannot_be_make_a_bad_row(tmp_path: Path, spans: Any) -> None:
    good = {"text": "fine", "entities": []}
    rows = read(file(tmp_path, "a.jsonl", lines(good, {"text": "a cat", "entities": spans})))
    assert [(row.number, row.reason) for row in rows.bad] == [(2, "bad_entity")]
    assert len(rows.frame) == 1


def test_texts_without_characters_and_endless_ones_are_told(tmp_path: Path) -> None:
    texts = ("", " \n", None, 7, "x" * 100_001, "a")
    records: list[dict[str, Any]] = [{"text": text, "entities": []} for text in texts]
    rows = read(file(tmp_path, "a.jsonl", lines(*records)))
    assert [row.reason for row in rows.bad] == ["no_text"] * 4 + ["too_long"]
    assert rows.records == 6


def test_texts_to_be_tagged_need_no_entities(tmp_path: Path) -> None:
    frame = read(file(tmp_path, "a.csv", "id,text\n1,The Fed\n"), labelled=False).frame
    assert list(frame.columns) == ["unit", "group", "text"]
    frame = read(file(tmp_path, "b.jsonl", '{"content": "The Fed"}'), labelled=False).frame
    assert frame["text"].tolist() == ["The Fed"]


def test_other_files_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"has columns a, b.*start, end, label"):
        read(file(tmp_path, "a.csv", "a,b\n1,2\n"))
    with pytest.raises(UnusableData, match=r"a\.conll.*line 1 is no token"):
        read(file(tmp_path, "a.conll", "just a text\n"))
    with pytest.raises(UnusableData, match="not known"):
        read(file(tmp_path, "a.docx", "x"))


def test_the_sample_is_readable() -> None:
    assert SPEC.sample_path
    path = next(SPEC.sample_path.glob("*.conll.gz"))
    rows = read(DataFile(path.name, path, 0.0))
    # Counted in the file itself: runs of equal tags.
    content = gzip.decompress(path.read_bytes()).decode()
    tags = [line.split()[-1] if line.strip() else "O" for line in content.splitlines()]
    pairs = zip(tags, ["O", *tags], strict=False)
    runs = sum(tag != "O" and tag != before for tag, before in pairs)
    assert sum(map(len, entities(rows))) == runs > 100
    assert rows.bad == []
    assert rows.frame["group"].nunique() >= 50


def test_columns_may_be_in_any_case_and_true_is_no_place(tmp_path: Path) -> None:
    lines = [
        {"Text": "Acme pays", "Entities": [{"start": 0, "end": 4, "label": "ORG"}]},
        {"Text": "Acme pays", "Entities": [{"start": False, "end": 4, "label": "ORG"}]},
    ]
    found = read(file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines))))
    assert [json.loads(target)[0]["end"] for target in found.frame["target"]] == [4]
    assert [bad.number for bad in found.bad] == [2]

"""Golden sets as they lie in a folder."""

import gzip
import json
from pathlib import Path

import pytest

from rag_platform.retrieval import golden as module
from rag_platform.retrieval.golden import BadGolden, Golden, read_golden

QUERIES = [
    {"_id": "q1", "text": "how to start", "slice": "short", "more": 1},
    {"_id": "q2", "text": "how to stop"},
    {"_id": "q3", "text": "nobody judged this"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\t184\t2\nq1\t185\t0\nq2\tdocs/stop.md\t1\nq2\t9\t-1\n"


def write(folder: Path, queries: str | None = None, qrels: str | None = QRELS) -> str:
    if queries is None:
        queries = "".join(json.dumps(query) + "\n" for query in QUERIES)
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    if qrels is not None:
        (folder / "qrels.tsv").write_text(qrels, encoding="utf-8")
    return folder.as_uri()


def read(url: str) -> Golden:
    return read_golden("set", url, source="manuals")


def test_a_set_is_read(tmp_path: Path) -> None:
    found = read(write(tmp_path))
    assert [(q.id, q.text, q.slice, q.grades) for q in found.queries] == [
        ("q1", "how to start", "short", {"184": 2}),
        ("q2", "how to stop", "", {"docs/stop.md": 1}),
    ]
    assert (found.name, found.source) == ("set", "manuals")


def test_gzipped_files_give_the_same_set(tmp_path: Path) -> None:
    plain = read(write(tmp_path))
    for name in ("queries.jsonl", "qrels.tsv"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    assert read(tmp_path.as_uri()) == plain


def test_the_digest_tells_what_changed(tmp_path: Path) -> None:
    digests = {read(write(tmp_path, qrels=qrels)).digest for qrels in (QRELS, QRELS + "q3\t7\t1\n")}
    assert len(digests) == 2
    turned = "\n".join(reversed([json.dumps(query) for query in QUERIES]))
    assert read(write(tmp_path, turned)).digest == read(write(tmp_path)).digest
    assert read_golden("set", tmp_path.as_uri(), source="other").digest not in digests


def test_a_document_is_met_with_or_without_its_extension(tmp_path: Path) -> None:
    found = read(write(tmp_path))
    first, second = found.queries
    assert first.unit("184.txt", 1) == first.unit("184", None) == "184"
    assert second.unit("docs/stop.md", None) == "docs/stop.md"
    assert second.unit("docs/stop", None) == "docs/stop"
    assert first.unit("a.b/184", None) == "a.b/184"
    assert first.unit("other.txt", 3) == "other.txt"
    assert found.missing(["184.txt", "x"]) == ["docs/stop.md"]
    assert found.missing(["184", "docs/stop.md"]) == []


def test_pages(tmp_path: Path) -> None:
    qrels = "query-id\tcorpus-id\tscore\nq1\treport.pdf#page=12\t1\nq1\tother#page=2\t1\n"
    found = read(write(tmp_path, qrels=qrels))
    [query] = found.queries
    assert query.unit("report.pdf", 12) == "report.pdf#page=12"
    assert query.unit("report.pdf", 13) == "report.pdf#page=13"
    assert query.unit("other.pdf", 2) == "other#page=2"
    assert query.unit("report.pdf", None) == "report.pdf"
    assert found.missing(["report.pdf"]) == ["other"]


def test_some_queries_ask_for_pages_and_some_for_documents(tmp_path: Path) -> None:
    rows = ("q1\treport.pdf#page=12\t1", "q1\tplan\t1", "q2\treport.pdf\t1")
    found = read(write(tmp_path, qrels="\n".join(["query-id\tcorpus-id\tscore", *rows])))
    pages, documents = found.queries
    assert [pages.unit("report.pdf", page) for page in (12, 13)] == [
        "report.pdf#page=12",
        "report.pdf#page=13",
    ]
    assert pages.unit("plan.pdf", 4) == "plan"
    assert {documents.unit("report.pdf", page) for page in (12, 13, None)} == {"report.pdf"}
    assert {documents.unit("other.pdf", page) for page in (1, 2)} == {"other.pdf"}


def test_of_a_large_set_always_the_same_queries_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_QUERIES", 10)
    queries = [json.dumps({"_id": str(number), "text": "x"}) + "\n" for number in range(40)]
    qrels = "h\n" + "".join(f"{number}\td{number}\t1\n" for number in range(40))
    first = read(write(tmp_path, "".join(queries), qrels))
    second = read(write(tmp_path, "".join(reversed(queries)), qrels))
    assert len(first.queries) == 10
    assert first == second


@pytest.mark.parametrize(
    ("queries", "qrels", "message"),
    [
        ("{", QRELS, "line 1: not JSON"),
        ("[]", QRELS, "line 1: not an object"),
        ('{"_id": 1, "text": "x"}', QRELS, "must be text"),
        ('{"_id": "q1", "text": " "}', QRELS, "must be text, and not empty"),
        ('{"_id": "q1", "text": "x", "slice": "all"}', QRELS, "another word than `all`"),
        ('{"_id": "q1", "text": "x"}\n' * 2, QRELS, "stands there twice"),
        (None, "h\nq1\t184\n", r"qrels.tsv: line 2: needs"),
        (None, "h\nq1\t184\tmuch\n", r"qrels.tsv: line 2: needs"),
        (None, "h\nq9\t184\t1\n", "no query has a relevant document"),
        (None, None, r"qrels.tsv \(or qrels.tsv.gz\) is not there"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, queries: str | None, qrels: str | None, message: str
) -> None:
    with pytest.raises(BadGolden, match=message):
        read(write(tmp_path, queries, qrels))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    url = write(tmp_path)
    (tmp_path / "qrels.tsv").unlink()
    (tmp_path / "qrels.tsv.gz").write_bytes(gzip.compress(b"x" * 100_000))
    with pytest.raises(BadGolden, match="inflates to more than 1,000 bytes"):
        read(url)
    (tmp_path / "qrels.tsv").write_bytes(b"x" * 1001)
    with pytest.raises(BadGolden, match="larger than 1,000 bytes"):
        read(url)


def test_no_gzip(tmp_path: Path) -> None:
    url = write(tmp_path, qrels=None)
    (tmp_path / "qrels.tsv.gz").write_bytes(b"not gzipped")
    with pytest.raises(BadGolden, match="no UTF-8 text"):
        read(url)

"""Files of queries, and filters, as they are written."""

import pytest

from rag_platform.retrieval.queries import BadQueries, Query, parse_filters, read_queries


def test_queries_keep_their_order_and_ids() -> None:
    lines = ['{"id": "b", "query": "tea"}', "", '{"query": "", "id": 1, "more": true}\n']
    assert read_queries(lines, "q") == [Query("b", "tea"), Query(1, "")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tea", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["tea"]', 'needs "id" and "query"'),
        ('{"id": "1"}', 'needs "id" and "query"'),
        ('{"query": "tea", "name": 1}', 'needs "id" and "query"'),
        ('{"id": null, "query": "tea"}', '"id" must be text or a whole number'),
        ('{"id": true, "query": "tea"}', '"id" must be text or a whole number'),
        ('{"id": 1, "query": ["tea"]}', '"query" must be text'),
    ],
)
def test_a_bad_line_is_named_by_its_number(line: str, words: str) -> None:
    with pytest.raises(BadQueries, match=r"^q\.jsonl: line 3: ") as raised:
        read_queries(['{"id": "b", "query": "tea"}', "", line], "q.jsonl")
    assert words in str(raised.value)


def test_a_filter_given_twice_takes_either_value() -> None:
    written = ["key=a=b.md", "language=en", "key=c.md"]
    assert parse_filters(written) == {"key": ["a=b.md", "c.md"], "language": ["en"]}
    assert parse_filters([]) == {}


@pytest.mark.parametrize("written", ["key", "=x", "title=Tea", "text=x"])
def test_a_filter_on_what_no_index_has_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write KEY=VALUE; a key is doc_id"):
        parse_filters([written])

"""What an HTTP API tells, through the change log."""

from collections.abc import Iterator

import pytest

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.retrieval.readers import Reader
from rag_platform_tests.documents.conftest import MakeDocs
from rag_platform_tests.documents.sources.test_api import FIRST, SECOND, THIRD, item, options
from rag_platform_tests.documents.test_access import acls
from rag_platform_tests.servers.json_api import JsonApi, Reply


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi() as server:
        yield server


def test_a_feed_through_the_log(api: JsonApi, make_docs: MakeDocs) -> None:
    docs = make_docs(url=api.url, options=options(api, incremental=True, deleted="removed"))
    api.items = [item("a", "one"), item("b", "two")]
    assert docs.ask(FIRST).changes == {"inserted": 2}
    api.items += [item("a", removed=True), item("b", "two")]
    assert docs.ask(SECOND).changes == {"deleted": 1}
    api.first.append(Reply(body=b'{"items": 5}'))
    api.items.append(item("c", "three"))
    with pytest.raises(SourceUnavailable):
        docs.ask(THIRD)
    assert docs.ask(THIRD).changes == {"inserted": 1}
    assert [asked.query.get("cursor") for asked in api.asked[-2:]] == ["4", "5"]


def test_readers_that_items_tell_need_no_further_rule(make_docs: MakeDocs, api: JsonApi) -> None:
    docs = make_docs(url=api.url, options=options(api, acl="readers"))
    api.items += [item("a", readers=["hr"]), item("b", readers=["\ud800"]), item("c")]
    docs.run(FIRST)
    assert acls(docs) == {"a": ["hr"], "b": [], "c": []}
    assert docs.platform.reader(groups=["hr"]) == Reader("default", ("hr",))


def test_an_etag_that_cannot_be_sent_back(make_docs: MakeDocs, api: JsonApi) -> None:
    docs = make_docs(url=api.url, options=options(api, url="href", media_type="text/plain"))
    api.items += [{"id": "a", "href": "/f/a"}]
    api.files["/f/a"] = Reply(200, b"text", {"ETag": '"\u00e9"'})
    docs.run(FIRST)
    assert docs.run(SECOND).changes == {}
    assert docs.outcomes(SECOND) == {"unchanged": 1}

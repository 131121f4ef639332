"""The page of the dead letters: what it shows, and trying them again."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
import yaml

from rag_platform.console import replays
from rag_platform.console.replays import Wanted
from rag_platform.documents.dead_letters import letters
from rag_platform.documents.identity import document_id
from rag_platform.operations.audit import Audit
from rag_platform.platform import Platform
from rag_platform.storage.schema import dead_letters, documents, step_letters
from rag_platform_tests.console.library import NOTES, SCRIPT, WIKI, WINDOW, Place
from rag_platform_tests.console.test_documents import reader_of, rows, table
from rag_platform_tests.console.visitor import Visitor, said, visit

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _left_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No webserver answers, and no child outlives its test."""
    monkeypatch.setenv("DAGSTER_WEBSERVER_URL", NOWHERE)
    children: list[subprocess.Popen[bytes]] = []

    class Child(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **how: Any) -> None:
            super().__init__(*args, **how)
            children.append(self)

    monkeypatch.setattr("rag_platform.console.replays.subprocess.Popen", Child)
    yield
    for child in children:
        child.kill()
        child.wait()


def one_by_one(page: Any) -> list[dict[str, str]]:
    return table(page, "The newest first")


def kinds(page: Any) -> dict[str, dict[str, str]]:
    return {row["Reason"]: row for row in table(page, "What could not be used")}


# Looking


def test_letters_by_kind_and_one_by_one(onlooker: Visitor) -> None:
    page = onlooker.html("/dead-letters")
    found = kinds(page)
    assert found["corrupt"]["Count"] == "2"
    assert found["corrupt"]["In quarantine"] == "1"
    assert found["corrupt"]["What to do"] == "repair it at the source"
    assert {row["Document"]: (row["Reason"], row["Tried"]) for row in one_by_one(page)} == {
        "access.yaml": ("unsupported", "2"),
        "broken.pdf": ("corrupt", "2"),
        "late.pdf": ("corrupt", "1"),
        "packed.zip": ("unsupported", "2"),
    }
    [broken] = [row for row in one_by_one(page) if row["Document"] == "broken.pdf"]
    assert broken["Again"] == "quarantine"
    assert page.xpath("//button[text()='Retry all']")
    only = onlooker.html("/dead-letters?reason=corrupt&source=notes&stage=parsed_docs")
    assert sorted(row["Document"] for row in one_by_one(only)) == ["broken.pdf", "late.pdf"]
    assert "No dead letters." in onlooker.text("/dead-letters?source=wiki")


def test_pages_of_letters(onlooker: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [row["Document"] for row in one_by_one(onlooker.html("/dead-letters"))]
    monkeypatch.setattr("rag_platform.console.web.A_PAGE", 3)
    first = onlooker.html("/dead-letters")
    [older] = first.xpath("//a[text()='Older']/@href")
    second = onlooker.html(older)
    seen = [row["Document"] for page in (first, second) for row in one_by_one(page)]
    assert seen == whole
    assert not second.xpath("//a[text()='Older']")


def test_letters_of_later_steps(visitor: Visitor, platform: Platform) -> None:
    common = {"reason": "refused", "window": WINDOW, "fingerprint": "f", "attempts": 1}
    texts = {"detail": SCRIPT, "first_at": 1.0}
    rows_ = [
        {"source": NOTES, "stage": "summary", "item": document_id(NOTES, key), "key": key}
        for key in ("tea.md", "hidden/plan.md")
    ]
    rows_ += [
        {"source": "rides", "stage": "raw_rides", "item": f"f#{n}", "key": f"f row {n}"}
        for n in range(3)
    ]
    with platform.catalog.begin() as connection:
        for n, row in enumerate(rows_):
            connection.execute(
                sa.insert(step_letters).values(**common, **texts, **row, last_at=float(n // 2))
            )
    page = visitor.html("/dead-letters?of=steps")
    [shown] = one_by_one(page)
    assert (shown["Document"], shown["Detail"]) == ("tea.md", SCRIPT)
    assert "rag-platform enrich notes --retry-failed" in kinds(page)["refused"]["What to do"]
    # Who may see all sees the records, too, and what is for the board.
    from rag_platform.console.app import console
    from rag_platform.retrieval.readers import EVERYTHING

    system = Visitor(console(platform, EVERYTHING))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rag_platform.console.web.A_PAGE", 2)
        asked, seen = "/dead-letters?of=steps", []
        while asked:
            page = system.html(asked)
            seen += [row["Document"] for row in one_by_one(page)]
            asked = next(iter(page.xpath("//a[text()='Older']/@href")), "")
    assert sorted(seen) == ["f row 0", "f row 1", "f row 2", "hidden/plan.md", "tea.md"]
    assert system.html("/dead-letters?of=steps&before=x+y").xpath("//table")


def test_letters_of_documents_for_others_are_not_there(
    visitor: Visitor, platform: Platform
) -> None:
    hidden = sa.update(documents).where(documents.c.key == "late.pdf").values(acl='["board"]')
    with platform.catalog.begin() as connection:
        connection.execute(hidden)
    assert "late.pdf" not in visitor.text("/dead-letters")
    assert "late.pdf" in reader_of(platform, "board").text("/dead-letters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rag_platform.console.web.A_PAGE", 1)
        assert len(one_by_one(visitor.html("/dead-letters"))) == 1, "late.pdf takes no place"
    doc_id = document_id(NOTES, "late.pdf")
    answer = visitor.post("/dead-letters/replay", source=NOTES, doc_id=doc_id)
    assert answer.status_code == 404
    assert visitor.post("/dead-letters/replay", doc_id=doc_id).status_code == 409
    assert visitor.post("/dead-letters/replay", source="nobody").status_code == 404
    assert Audit(platform.catalog).entries() == []


def test_letters_of_another_tenant_are_left_alone(place: Place) -> None:
    tree = yaml.safe_load((place.root / "platform.yaml").read_text())
    tree["sources"][WIKI]["tenant"] = "other"
    place.write(sources=tree["sources"])
    platform = place.platform()
    visitor = reader_of(platform)
    page = visitor.html("/dead-letters")
    assert page.xpath("//select/option/text()") == ["all", NOTES]
    assert not page.xpath("//button[text()='Retry all']")
    assert visitor.post("/dead-letters/replay").status_code == 409
    assert visitor.post("/dead-letters/replay", source=WIKI).status_code == 404
    assert Audit(platform.catalog).entries() == []
    platform.close()


# Trying again, by Dagster


class Webserver(BaseHTTPRequestHandler):
    """Serves the assets of `notes` and takes every backfill."""

    asked: ClassVar[list[Any]] = []
    takes: ClassVar[int]

    def do_POST(self) -> None:
        """GraphQL."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stages = ("raw_docs", "parsed_docs", "clean_docs")
        paths = [[NOTES, stage] for stage in stages]
        for index in ("v1", "v2"):
            paths += [[NOTES, index, each] for each in ("chunks", "embeddings", "vector_index")]
        data: dict[str, Any] = {
            "repositoriesOrError": {
                "nodes": [{"assetNodes": [{"assetKey": {"path": path}} for path in paths]}]
            },
            "instance": {
                "daemonHealth": {"allDaemonStatuses": [{"daemonType": "BACKFILL", "healthy": True}]}
            },
        }
        if body["variables"]:
            self.asked.append(body["variables"]["params"])
            success = {"__typename": "LaunchBackfillSuccess", "backfillId": f"b{len(self.asked)}"}
            refused = {"__typename": "PythonError", "message": "no room"}
            taken = len(self.asked) <= self.takes
            data = {"launchPartitionBackfill": success if taken else refused}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def webserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What Dagster's webserver was asked to launch."""
    Webserver.asked, Webserver.takes = [], 10
    with ThreadingHTTPServer(("127.0.0.1", 0), Webserver) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("DAGSTER_WEBSERVER_URL", f"http://127.0.0.1:{server.server_port}")
        yield Webserver.asked
        server.shutdown()


def test_dagster_replays_where_it_serves(
    visitor: Visitor, platform: Platform, webserver: list[Any]
) -> None:
    unread = sa.update(dead_letters).where(dead_letters.c.key == "packed.zip")
    with platform.catalog.begin() as connection:
        connection.execute(unread.values(sha256=None, attempts=1))
    shown = visitor.done("/dead-letters/replay", source=NOTES)
    assert "2 are being tried again in Dagster (b1, b2)." in said(shown)
    parse, read = webserver
    assert parse["partitionNames"] == [WINDOW] == read["partitionNames"]
    config = {"ops": {"notes__parsed_docs": {"config": {"retry_keys": ["late.pdf"]}}}}
    assert parse["runConfigData"] == config
    assert len(parse["assetSelection"]) == 9
    assert "runConfigData" not in read
    with platform.catalog.read() as connection:
        wanted = sa.select(documents.c.etag).where(documents.c.key == "packed.zip")
        assert connection.scalar(wanted) is None, "it is to be fetched again"
    [entry] = Audit(platform.catalog).entries()
    assert (entry.actor, entry.via, entry.action) == ("ann", "console", "dead_letters.replay")
    assert (entry.subject, entry.outcome) == (NOTES, "done")
    assert entry.facts == {"letters": 2, "of_reason": None, "backfills": ["b1", "b2"]}
    assert shown.xpath("//a[text()='b1']/@href") == ["http://127.0.0.1:3000/runs/b/b1"]


def test_what_has_begun_is_on_record_when_the_rest_is_refused(
    visitor: Visitor, platform: Platform, webserver: list[Any]
) -> None:
    Webserver.takes = 1
    unread = sa.update(dead_letters).where(dead_letters.c.key == "packed.zip")
    with platform.catalog.begin() as connection:
        connection.execute(unread.values(sha256=None, attempts=1))
    answer = visitor.post("/dead-letters/replay", source=NOTES)
    assert answer.status_code == 409
    assert len(webserver) == 2
    [entry] = Audit(platform.catalog).entries()
    assert (entry.action, entry.facts["backfills"]) == ("dead_letters.replay", ["b1"])
    assert "no room" in str(entry.detail)


def test_what_is_in_quarantine_is_left(
    visitor: Visitor, platform: Platform, webserver: list[Any]
) -> None:
    doc_id = document_id(NOTES, "broken.pdf")
    shown = visitor.done("/dead-letters/replay", source=NOTES, doc_id=doc_id)
    assert "Nothing to try again. What is in quarantine is left" in said(shown)
    shown = visitor.done("/dead-letters/replay", source=NOTES, reason="pii")
    assert "Nothing to try again." in said(shown)
    assert (webserver, Audit(platform.catalog).entries()) == ([], [])


# Trying again, in a child process


def test_what_is_wanted_is_written_as_the_command_takes_it() -> None:
    assert Wanted().arguments() == []
    hostile = Wanted("notes", "corrupt", ("--help", "a b;$(x)"))
    assert hostile.arguments() == [
        *("--key=--help", "--key=a b;$(x)", "--reason=corrupt", "--", "notes")
    ]


def test_one_child_at_a_time_and_what_it_said(
    visitor: Visitor, platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    told = tmp_path / "told"
    script = (
        f"import sys, json, pathlib\ntold = pathlib.Path({str(told)!r})\n"
        "told.write_text(json.dumps(sys.argv[1:]))\n"
        "import time\nwhile told.exists(): time.sleep(0.01)\n"
        "sys.exit('noise\\nerror: the disk is full')"
    )
    monkeypatch.setattr(replays, "_MAIN", script)
    doc_id = document_id(NOTES, "late.pdf")
    shown = visitor.done("/dead-letters/replay", source=NOTES, doc_id=doc_id)
    assert "1 are being tried again here." in said(shown)
    assert "A replay is under way." in said(shown)
    answer = visitor.post("/dead-letters/replay", source=NOTES)
    assert answer.status_code == 409
    assert "under way" in answer.text
    while not told.exists() or not told.read_text():
        time.sleep(0.02)
    assert json.loads(told.read_text()) == [
        *("dead-letters", "replay", "--by=ann", "--via=console"),
        *("--key=late.pdf", "--", "notes"),
    ]
    told.unlink()
    while "A replay is under way." in visitor.text("/dead-letters"):
        time.sleep(0.02)
    page = visitor.html("/dead-letters")
    assert page.xpath("//p[@class='problem']/text()") == ["error: the disk is full"]


@pytest.mark.slow
def test_the_command_replays_in_a_child_process(place: Place) -> None:
    place.write(models={})
    platform = place.platform()
    visitor = visit(platform)
    visitor.done("/dead-letters/replay", source=NOTES, reason="corrupt")
    while "A replay is under way." in (text := visitor.text("/dead-letters")):
        time.sleep(0.2)
    assert "ann: 1 of notes, corrupt: done 0 of 1 have a text now" in text
    [entry] = Audit(platform.catalog).entries()
    assert (entry.via, entry.outcome, entry.facts["letters"]) == ("console", "done", 1)
    late = next(one for one in letters(platform.catalog) if one.key == "late.pdf")
    assert (late.attempts, late.quarantined) == (2, True)
    assert rows(visitor.html("/documents?state=dead"))
    platform.close()

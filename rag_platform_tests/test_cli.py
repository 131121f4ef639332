"""The command line as a person or a script meets it: results, standard error and exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.storage.locks import exclusive
from rag_platform_tests.copies import new_instance, sparse

TEA = """# Tea

Steep green tea for two minutes in water of 80 degrees.

Black tea takes four minutes, in water that has just boiled, and bears milk and sugar.

Warm the pot first, throw the water away, and count a spoon of leaves for each cup and one more.
"""
PAGES = {
    "tea.md": TEA,
    "bread.md": "# Bread\n\nLet the dough rest overnight in the fridge.",
    "sub/copy.md": TEA,
}
BROKEN_PDF = b"%PDF-1.4 and then nothing"


class Place:
    """Settings, a source folder and a state folder of their own; runs verbs in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.docs = root / "docs"
        self.home = root / "home"
        self.config = root / "platform.yaml"
        self.settings: dict[str, Any] = {
            "sources": {"notes": {"url": str(self.docs), "start": "2026-01-01"}},
            "lock_timeout_s": 0.2,
            "automation": False,
        }
        self.env = {
            "RAG_PLATFORM_CONFIG": str(self.config),
            "RAG_PLATFORM_HOME": str(self.home),
            "DAGSTER_HOME": str(self.home / "dagster"),
            "DAGSTER_WEBSERVER_URL": "http://127.0.0.1:9",
        }
        self.docs.mkdir(parents=True)
        for name, text in PAGES.items():
            self.put(name, text)
        self.save()

    def put(self, name: str, text: str | bytes) -> None:
        (self.docs / name).parent.mkdir(exist_ok=True)
        (self.docs / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def save(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")

    def run(self, *args: str, stdin: str | None = None, code: int = 0) -> Result:
        from rag_platform.cli import main

        # The code location reads the settings when it is imported: each run has its own.
        sys.modules.pop("rag_platform.definitions", None)
        dagster = Path(self.env["DAGSTER_HOME"])
        if args[0] in ("sync", "replay") and not dagster.exists():
            new_instance(dagster)
        result = CliRunner().invoke(main, args, input=stdin, env=self.env)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", code=code).stdout)

    def process(self, *args: str) -> "subprocess.Popen[str]":
        # A shell that runs tests in the background has them ignore the signal of Ctrl-C.
        script = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from rag_platform.cli import main; main()"
        )
        return subprocess.Popen(
            [sys.executable, "-c", script, *args],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def error_lines(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Nothing has been run here yet."""
    yield Place(tmp_path / "own")
    sys.modules.pop("rag_platform.definitions", None)


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One day synced, with one dead letter."""
    place = Place(tmp_path_factory.mktemp("built"))
    place.settings["sources"]["notes"]["max_dead_letter_share"] = 0.5
    place.save()
    place.put("broken.pdf", BROKEN_PDF)
    place.run("sync", "notes", "--window", "2026-01-05")
    return place


@pytest.fixture
def built(_built: Place, tmp_path: Path) -> Place:
    """A copy of it that a test may change."""
    place = Place(tmp_path / "copy")
    shutil.rmtree(place.docs)
    # The address of a document holds the folder, so the source stays where it was.
    place.settings = _built.settings
    place.docs = _built.docs
    place.save()
    # What is stored never changes; its version is that of the file, which a link keeps.
    ours = shutil.ignore_patterns("storage")
    shutil.copytree(_built.home, place.home, ignore=ours, copy_function=sparse)
    shutil.copytree(_built.home / "storage", place.home / "storage", copy_function=os.link)
    return place


# sync and status


def test_sync_status_and_a_second_sync_that_pays_nothing(place: Place) -> None:
    first = place.json("sync", "notes", "--window", "2026-01-05")
    [run] = first["runs"]
    assert first["source"] == "notes"
    assert run["success"] is True
    assert run["problems"] == []
    assert run["page"] == {
        "window": "2026-01-05",
        "listed": 3,
        "waiting": 0,
        "outcomes": {"inserted": 2, "duplicate": 1},
        "embed_calls": 1,
        "embedded_chunks": 2,
        "memo_hits": 1,
    }
    assert place.json("status") == {
        "sources": {
            "notes": {"documents": 3, "dead_letters": 0, "pages": 1, "last_page": run["page"]}
        },
        "indexes": {"docs_v1": {"documents": 3, "chunks": 3, "points": 3, "live": True}},
    }
    place.put("bread.md", "# Bread\n\nBake it hot.")
    (place.docs / "sub/copy.md").unlink()
    [run] = place.json("sync", "notes", "--window", "2026-01-06")["runs"]
    assert run["page"]["outcomes"] == {"updated": 1, "unchanged": 1, "deleted": 1}
    assert run["page"]["embedded_chunks"] == 1
    [run] = place.json("sync", "notes", "--window", "2026-01-06")["runs"]
    assert run["page"]["outcomes"] == {"unchanged": 2}
    assert run["page"]["embedded_chunks"] == run["page"]["embed_calls"] == 0
    found = place.json("status")
    assert found["sources"]["notes"]["documents"] == 2
    assert found["sources"]["notes"]["pages"] == 2
    assert found["indexes"]["docs_v1"]["points"] == 2


def test_sync_tells_people_what_came_and_hides_dagsters_log(place: Place) -> None:
    process = place.process("sync", "notes", "--window", "2026-01-05")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "2026-01-05" in out
    assert "copy" in out
    steps = "raw_docs", "parsed_docs", "clean_docs", "docs_v1/chunks", "docs_v1/vector_index"
    assert all(step in err for step in steps)
    assert "DEBUG" not in err
    assert len(err.splitlines()) == 1
    from dagster import DagsterInstance, DagsterRunStatus

    with DagsterInstance.local_temp(str(place.home / "dagster")) as instance:
        [run] = instance.get_runs()
    assert run.status == DagsterRunStatus.SUCCESS
    assert run.tags["dagster/partition"] == "2026-01-05"


def test_dead_letters_above_the_rate_fail_the_sync_and_below_it_do_not(place: Place) -> None:
    place.put("broken.pdf", BROKEN_PDF)  # 1 of 4 is over the default of a fifth
    result = place.run("sync", "notes", "--window", "2026-01-05", code=1)
    [line] = error_lines(result)
    assert "notes/clean_docs: " in line
    assert "1 of 4 listed documents are dead letters" in line
    place.settings["sources"]["notes"]["max_dead_letter_share"] = 0.25
    place.save()
    result = place.run("sync", "notes", "--window", "2026-01-05")
    assert "1 dead letters" in result.stdout
    assert "broken.pdf" in result.stdout
    assert place.json("status")["sources"]["notes"]["documents"] == 3


def test_a_window_that_broke_off_is_finished_first(built: Place) -> None:
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.schema import index_documents

    catalog = Catalog(f"sqlite:///{built.home}/catalog.db", lock_folder=built.home / "locks")
    with catalog.begin() as connection:
        connection.execute(index_documents.update().values(seq=0, chunks=0, digest=""))
    catalog.close()
    runs = built.json("sync", "notes", "--window", "2026-01-06")["runs"]
    assert [run["window"] for run in runs] == ["2026-01-05", "2026-01-06"]
    assert built.json("status")["indexes"]["docs_v1"]["chunks"] == 3


def test_a_lost_listing_is_refused_until_it_is_allowed(built: Place, tmp_path: Path) -> None:
    shutil.copytree(built.docs, tmp_path / "docs")
    built.settings = {
        **built.settings,
        "sources": {"notes": {**built.settings["sources"]["notes"]}},
    }
    built.settings["sources"]["notes"]["url"] = str(tmp_path / "docs")
    built.save()
    for name in ("tea.md", "bread.md", "broken.pdf"):
        (tmp_path / "docs" / name).unlink()
    result = built.run("sync", "notes", "--window", "2026-01-06", code=1)
    assert "3 of 4 known documents" in error_lines(result)[0]
    assert "--allow-deletions" in error_lines(result)[0]
    assert "3 of 4 known documents" in built.json("plan")["sources"]["notes"]["refused"]
    built.run("sync", "notes", "--window", "2026-01-06", "--allow-deletions")
    assert built.json("status")["sources"]["notes"]["documents"] == 1


# errors


def test_an_unknown_setting_names_its_line(place: Place) -> None:
    place.config.write_text("sources:\n  notes: {url: docs, start: 2026-01-01, cadance: daily}\n")
    result = place.run("status", code=1)
    assert result.stderr.startswith("error: ")
    assert "platform.yaml:2:" in result.stderr
    assert "did you mean 'cadence'?" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_source_folder_is_one_line_and_nothing_is_deleted(built: Place) -> None:
    built.settings = {
        **built.settings,
        "sources": {"notes": {**built.settings["sources"]["notes"]}},
    }
    built.settings["sources"]["notes"]["url"] = str(built.root / "nowhere")
    built.save()
    result = built.run("sync", "notes", "--window", "2026-01-06", code=1)
    [line] = error_lines(result)
    assert "no such folder" in line
    assert "nowhere" in line
    assert built.json("status")["indexes"]["docs_v1"]["points"] == 3
    assert "no such folder" in built.run("plan", code=1).stderr


def test_a_locked_engine_is_one_line_that_names_the_holder(built: Place) -> None:
    lock = built.home / "vectors" / "docs_v1.lock"
    script = (
        "import sys, time; from pathlib import Path\n"
        "from rag_platform.storage.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1]), timeout_s=5, purpose='a long run'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        result = built.run("search", "tea", code=1)
        [line] = error_lines(result)
        assert f"held by pid {holder.pid}" in line
        assert "lock_timeout_s" in line
        result = built.run("status", "--json")
        assert json.loads(result.stdout)["indexes"]["docs_v1"]["points"] is None
        assert f"held by pid {holder.pid}" in result.stderr
        findings = {f["part"]: f for f in built.json("doctor", code=1)}
        assert findings["index docs_v1"]["state"] == "fail"
        assert "gave up" in findings["index docs_v1"]["detail"]
    finally:
        holder.kill()
        holder.communicate()
    assert built.json("search", "tea")["results"]


def test_a_changed_recipe_is_refused_everywhere(built: Place) -> None:
    built.settings = {**built.settings, "indexes": {"docs_v1": {"chunker": {"max_tokens": 200}}}}
    built.save()
    assert "new version" in built.run("plan", code=1).stderr
    assert "recipe" in built.run("search", "tea", code=1).stderr
    result = built.run("sync", "notes", "--window", "2026-01-06", code=1)
    assert "docs_v1" in error_lines(result)[0]
    assert "new version" in error_lines(result)[0]
    findings = {f["part"]: f for f in built.json("doctor", code=1)}
    assert findings["index docs_v1"]["state"] == "fail"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("sync", "nothing"), 1, "source 'nothing': not in the settings; there are: notes"),
        (("sync", "notes", "--window", "yesterday"), 1, "not a daily key"),
        (("sync", "notes", "--window", "2025-12-31"), 1, "the calendar runs from 2026-01-01"),
        (("search", "tea", "--index", "other"), 1, "index 'other': not in the settings"),
        (("search",), 2, "either QUERY, or --queries"),
        (("search", "tea", "--filter", "colour=red"), 2, "a key is doc_id, text_hash, source"),
        (("search", "tea", "--k", "0"), 2, "0 is not in the range"),
        (("plan", "nothing"), 1, "not in the settings"),
        (("dead-letters", "list", "--source", "nothing"), 1, "not in the settings"),
        (("reconcile", "--index", "other"), 1, "not in the settings"),
        (("replay", "notes", "--from", "2026-02-02", "--to", "2026-02-01"), 1, "Swap the two"),
        (("search", "tea"), 1, "Build it: rag-platform sync"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_bad_input_is_said_in_a_line(
    place: Place, args: tuple[str, ...], code: int, words: str
) -> None:
    result = place.run(*args, code=code)
    assert words in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(place: Place) -> None:
    result = place.run("--debug", "search", "tea", code=1)
    assert type(result.exception).__name__ == "CollectionMissing"


def test_a_full_disk_is_a_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from rag_platform.operations import status

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/catalog.db")

    monkeypatch.setattr(status, "written_windows", full)
    result = place.run("status", code=1)
    assert result.stderr == (
        "error: /data/catalog.db: The disk is full: free some space, then run again; what was "
        "written is whole.\n"
    )


def test_ctrl_c_exits_130(place: Place) -> None:
    place.docs.joinpath("tea.md").unlink()
    os.mkfifo(place.root / "queries")
    process = place.process("search", "--queries", str(place.root / "queries"), "--json")
    with open(place.root / "queries", "w", encoding="utf-8") as queries:
        queries.write('{"id": 1, "query": "tea"}\n')
        queries.flush()
        time.sleep(0.5)  # it waits for the next line
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "interrupted\n"


def test_ctrl_c_ends_a_sync_and_the_next_one_finishes_it(place: Place) -> None:
    for number in range(200):
        place.put(f"page{number}.md", f"# Page {number}\n\nText of its own, number {number}.")
    process = place.process("sync", "notes", "--window", "2026-01-05")
    deadline = time.monotonic() + 60
    while not (place.home / "storage").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    place.run("sync", "notes", "--window", "2026-01-05")
    assert place.json("status")["indexes"]["docs_v1"]["points"] == 203


# search


def test_search_for_people_and_scripts(built: Place) -> None:
    result = built.run("search", "how long does green tea steep", "--k", "1")
    lines = result.stdout.splitlines()
    assert lines[0] == "1. Tea"
    # Both copies hold the text; the address that sorts first is shown.
    assert lines[1].strip() == f"file://{built.docs}/sub/copy.md"
    assert f"also at file://{built.docs}/tea.md" in result.stdout
    found = built.json("search", "how long does green tea steep", "--k", "1")
    assert found["query"] == "how long does green tea steep"
    [passage] = found["results"]
    assert set(passage) == {
        *("score", "text", "title", "source", "uri", "uris", "page", "heading", "doc_id")
    }
    assert passage["uris"] == [f"file://{built.docs}/{k}" for k in ("sub/copy.md", "tea.md")]
    assert passage["source"] == "notes"
    assert passage["page"] is None


def test_filters_narrow_a_search(built: Place) -> None:
    everything = built.json("search", "tea dough")["results"]
    assert len(everything) == 2
    only = built.json("search", "tea dough", "--filter", "key=bread.md")["results"]
    assert [found["title"] for found in only] == ["Bread"]
    both = built.json("search", "tea", "--filter", "key=bread.md", "--filter", "key=tea.md")
    assert {tuple(found["uris"]) for found in both["results"]} == {
        (f"file://{built.docs}/bread.md",),
        (f"file://{built.docs}/tea.md",),
    }
    assert built.json("search", "tea", "--filter", "source=other")["results"] == []


def test_queries_are_answered_line_by_line_in_order(built: Place, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text(
        '{"id": "b", "query": "resting dough"}\n\n{"id": 7, "query": "green tea"}\n'
        '{"id": "none", "query": "  "}\n'
    )
    result = built.run("search", "--queries", str(queries), "--k", "1", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["b", 7, "none"]
    assert [[found["title"] for found in line["results"]] for line in lines] == [
        ["Bread"],
        ["Tea"],
        [],
    ]
    queries.write_text('{"id": "b", "query": "resting dough"}\n{"id": 7}\n')
    result = built.run("search", "--queries", str(queries), "--json", code=1)
    assert result.stdout == ""
    assert 'queries.jsonl: line 2: needs "id" and "query"' in result.stderr


def test_search_does_not_import_dagster(built: Place) -> None:
    script = (
        "import sys; from rag_platform.cli import main\n"
        "main(['search', 'tea', '--json'], standalone_mode=False)\n"
        "heavy = {'dagster', 'mlflow', 'sklearn', 'openai', 'rich', 'pandas', 'alembic'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **built.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["results"]
    assert done.stderr.strip() == "set()"


# plan


def test_plan_says_what_the_next_sync_finds_and_records_nothing(
    built: Place, tmp_path: Path
) -> None:
    shutil.copytree(built.docs, tmp_path / "docs", copy_function=shutil.copy2)
    built.settings = {
        **built.settings,
        "sources": {"notes": {**built.settings["sources"]["notes"], "url": str(tmp_path / "docs")}},
        "indexes": {"docs_v1": {}, "small": {"chunker": {"max_tokens": 32, "overlap": 0}}},
        "live": "docs_v1",
    }
    built.save()
    (tmp_path / "docs" / "new.md").write_text("# New")
    (tmp_path / "docs" / "bread.md").unlink()
    before = (built.home / "catalog.db").read_bytes()
    found = built.json("plan", "notes")
    source = found["sources"]["notes"]
    # Copied files have other inodes, so the three that stay look changed.
    counts = {name: source[name] for name in ("listed", "new", "changed", "unchanged", "gone")}
    assert counts == {"listed": 4, "new": 1, "changed": 3, "unchanged": 0, "gone": 1}
    assert source["refused"] is None
    assert source["unfinished_windows"] == []
    assert found["indexes"]["docs_v1"] == {
        "documents": 0,
        "chunks": 0,
        "texts": 0,
        "tokens": 0,
        "cost_usd": 0.0,
        "sources": {},
    }
    small = found["indexes"]["small"]
    assert small["documents"] == 4  # the dead letter among them
    assert small["sources"] == {
        "notes": {"documents": 4, "first": "2026-01-05", "last": "2026-01-05"}
    }
    # The texts of the copy count once, and that of the bread is embedded already.
    assert small["texts"] >= 2
    assert small["chunks"] == 2 * small["texts"] + 1
    assert (built.home / "catalog.db").read_bytes() == before
    # What was planned is what filling the index embeds.
    runs = built.json(
        *("replay", "notes", "--from", "2026-01-05", "--to", "2026-01-05", "--index", "small")
    )["runs"]
    assert [run["success"] for run in runs] == [True]
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.schema import index_pages

    catalog = Catalog(f"sqlite:///{built.home}/catalog.db", lock_folder=built.home / "locks")
    with catalog.read() as connection:
        row = connection.execute(
            index_pages.select().where(index_pages.c.index_name == "small")
        ).one()
    catalog.close()
    assert row.figures["embedded_chunks"] == small["texts"]
    assert row.figures["embedded_tokens"] == small["tokens"]
    assert built.json("status")["indexes"]["small"]["chunks"] == small["chunks"]
    assert built.json("plan")["indexes"]["small"]["documents"] == 0


def test_a_replay_of_an_index_runs_its_branch_only(built: Place) -> None:
    args = ("replay", "notes", "--from", "2026-01-05", "--to", "2026-01-05")
    err = built.run(*args, "--index", "docs_v1").stderr
    assert "docs_v1/chunks" in err
    assert "raw_docs" not in err
    assert "raw_docs" in built.run(*args).stderr
    # A window without a page needs the source's stages too.
    err = built.run(*args[:-1], "2026-01-07", "--index", "docs_v1").stderr
    assert "notes 2026-01-05 to 2026-01-07" in err
    assert "raw_docs" in err


class Webserver(BaseHTTPRequestHandler):
    """Answers as a Dagster webserver with a healthy daemon, and keeps what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["variables"])
        stages = ("chunks", "embeddings", "vector_index")
        paths = [["notes", stage] for stage in ("raw_docs", "parsed_docs", "clean_docs")]
        paths += [["notes", "docs_v1", stage] for stage in stages]
        data: dict[str, Any] = {
            "repositoriesOrError": {
                "nodes": [{"assetNodes": [{"assetKey": {"path": p}} for p in paths]}]
            },
            "instance": {
                "daemonHealth": {"allDaemonStatuses": [{"daemonType": "BACKFILL", "healthy": True}]}
            },
        }
        if body["variables"]:
            success = {"__typename": "LaunchBackfillSuccess", "backfillId": "abc"}
            data = {"launchPartitionBackfill": success}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_replay_is_a_backfill_where_a_webserver_is_up(built: Place) -> None:
    Webserver.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Webserver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        built.env["DAGSTER_WEBSERVER_URL"] = url
        args = ("replay", "notes", "--from", "2026-01-05", "--to", "2026-01-06", "--refresh")
        found = built.json(*args)
        server.shutdown()
    assert found == {"source": "notes", "backfill": "abc", "url": f"{url}/runs/b/abc"}
    params = Webserver.asked[-1]["params"]
    assert params["partitionNames"] == ["2026-01-05", "2026-01-06"]
    assert {"path": ["notes", "raw_docs"]} in params["assetSelection"]
    assert len(params["assetSelection"]) == 6
    config = {"ops": {"notes__raw_docs": {"config": {"refresh": True}}}}
    assert params["runConfigData"] == config


# dead letters


def test_dead_letters_are_listed_and_replayed(built: Place) -> None:
    [letter] = built.json("dead-letters")
    assert letter["key"] == "broken.pdf"
    assert letter["attempts"] == 1
    assert letter["quarantined"] is False
    assert built.json("dead-letters", "list", "--source", "notes") == [letter]
    assert "broken.pdf" in built.run("dead-letters").stdout
    found = built.json("dead-letters", "replay", "--reason", "other")
    assert (found["tried"], found["runs"]) == (0, [])
    found = built.json("dead-letters", "replay", "notes", "--reason", letter["reason"])
    assert (found["tried"], found["healed"], found["quarantined"]) == (1, 0, 0)
    [letter] = built.json("dead-letters")
    assert (letter["attempts"], letter["quarantined"]) == (2, True)
    result = built.run("dead-letters", "replay")
    assert "0 tried again, 0 have a text now, 1 left in quarantine." in result.stdout


def test_a_document_over_a_limit_is_read_again_once_the_limit_is_raised(place: Place) -> None:
    place.settings["limits"] = {"max_bytes": 300}
    place.settings["sources"]["notes"]["max_dead_letter_share"] = 0.5
    place.save()
    place.put("long.md", "# Long\n\n" + "Words about the kettle. " * 20)
    place.run("sync", "notes", "--window", "2026-01-05")
    [letter] = place.json("dead-letters")
    assert (letter["reason"], letter["sha256"]) == ("too_large", None)
    place.settings["limits"] = {"max_bytes": 8000}
    place.save()
    found = place.json("dead-letters", "replay")
    assert (found["tried"], found["healed"]) == (1, 1)
    assert place.json("dead-letters") == []
    assert place.json("search", "kettle", "--k", "1")["results"][0]["title"] == "Long"


# reconcile, doctor, reset


def test_reconcile_finds_and_repairs_a_wiped_collection(built: Place) -> None:
    [report] = built.json("reconcile")
    assert (report["index"], report["points"], report["agrees"]) == ("docs_v1", 3, True)
    shutil.rmtree(built.home / "vectors" / "docs_v1")
    result = built.run("reconcile", code=1)
    assert "error: docs_v1: does not agree" in result.stderr
    [report] = built.json("reconcile", "--repair", "--index", "docs_v1")
    assert (report["drifted"], report["repaired"], report["points"]) == (3, 3, 3)
    built.run("reconcile")


def test_doctor_says_what_is_wrong_and_what_to_do(place: Place) -> None:
    findings = {finding["part"]: finding for finding in place.json("doctor")}
    assert {part for part, finding in findings.items() if finding["state"] != "ok"} == {
        *("index docs_v1", "webserver and daemon", "DAGSTER_HOME")
    }
    assert "rag-platform sync" in findings["index docs_v1"]["detail"]
    assert "make dev" in findings["webserver and daemon"]["detail"]
    place.settings["sources"]["gone"] = {"url": str(place.root / "gone"), "start": "2026-01-01"}
    place.settings["indexes"] = {
        "paid": {"embedder": {"model": "text-embedding-3-small", "dimensions": 256}},
        "priceless": {"embedder": {"model": "of-our-own", "dimensions": 256}},
    }
    place.settings["live"] = "paid"
    place.save()
    findings = {finding["part"]: finding for finding in place.json("doctor", code=1)}
    assert "no such folder" in findings["source gone"]["detail"]
    assert "OPENAI_API_KEY" in findings["embedder of paid"]["detail"]
    assert "llm.prices" in findings["embedder of priceless"]["detail"]
    assert findings["source notes"]["state"] == "ok"
    result = place.run("doctor", code=1)
    assert "FAIL source gone: " in result.stdout
    place.settings["compute"] = {"engine": "ray", "address": "10.0.0.7:6379"}
    place.save()
    findings = {finding["part"]: finding for finding in place.json("doctor", code=1)}
    assert "catalog (set it to PostgreSQL)" in findings["compute"]["detail"]
    place.config.write_text("sauces: {}\n")
    [finding] = place.json("doctor", code=1)
    assert finding["state"] == "fail"
    assert "did you mean 'sources'?" in finding["detail"]


def test_doctor_looks_at_models_where_some_are_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.settings["enrichment"] = {"sources": ["notes"], "labels": ["a", "b"]}
    place.save()
    findings = {finding["part"]: finding["detail"] for finding in place.json("doctor")}
    assert "extractive methods" in findings["models"]
    assert "document_summary@v001" in findings["prompts"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    shown = place.run("doctor").stdout
    assert "small gpt-4o-mini ($0.15 read, $0.60 written)" in shown
    assert "sk-secret" not in shown
    place.settings["llm"] = {"tiers": {"small": "of-our-own"}}
    place.save()
    findings = {finding["part"]: finding for finding in place.json("doctor", code=1)}
    assert findings["models"]["state"] == "fail"
    assert "llm.prices" in findings["models"]["detail"]


def test_reset_removes_the_state_when_told_to(built: Place) -> None:
    result = built.run("reset", stdin="n\n", code=1)
    assert "nothing removed" in result.stderr
    assert (built.home / "catalog.db").exists()
    with exclusive(built.home / "locks" / "source-notes.lock", timeout_s=1, purpose="a sync"):
        result = built.run("reset", "--yes", code=1)
        assert "held by pid" in result.stderr
        assert (built.home / "catalog.db").exists()
    assert built.run("reset", stdin="y\n").exit_code == 0
    assert not built.home.exists()
    assert built.docs.exists()
    assert "nothing to remove" in built.run("reset", "--yes").stdout


def test_reset_refuses_a_folder_that_is_not_ours(place: Place) -> None:
    place.home.mkdir()
    (place.home / "thesis.docx").write_text("years of work")
    result = place.run("reset", "--yes", code=1)
    assert "thesis.docx" in result.stderr
    assert (place.home / "thesis.docx").exists()


def test_a_name_that_drives_a_terminal(place: Place) -> None:
    place.put("evil\x1b[31m\nname.md", "# Evil\n\nAn evil page about llamas.\n")
    place.put("broken\x1b]0;x\x07.pdf", BROKEN_PDF)
    place.settings["sources"]["notes"]["max_dead_letter_share"] = 0.5
    place.save()
    shown = place.run("sync", "notes").output
    shown += place.run("dead-letters").output
    shown += place.run("search", "evil llamas").output
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "evil\\x1b[31m\\nname.md" in shown
    assert "broken\\x1b]0;x\\x07.pdf" in shown


def test_what_waits_for_another_window_is_told(place: Place) -> None:
    place.settings["sources"]["notes"]["dated_by"] = "modified"
    place.save()
    for path in [place.docs / "tea.md"]:
        os.utime(path, (1_767_571_200, 1_767_571_200))  # 2026-01-05
    done = place.run("sync", "notes")
    assert done.exit_code == 0
    assert "1 objects are dated into windows that have no page yet" in done.output
    assert "replay notes --from 2026-01-01 --to " in done.output
    assert place.json("status")["sources"]["notes"]["last_page"]["waiting"] == 1


def test_what_is_mended_later_finishes_the_older_window(place: Place) -> None:
    """A gate stops a day's page; the next day the broken documents are gone."""
    place.run("sync", "notes", "--window", "2026-01-05")
    for number in range(3):
        place.put(f"broken-{number}.pdf", BROKEN_PDF)
    place.put("cheese.md", "# Cheese\n\nTurn the wheel of cheese every second day.")
    stopped = place.run("sync", "notes", "--window", "2026-01-06", code=1)
    assert "3 of 7 listed documents are dead letters" in stopped.stderr
    assert place.json("search", "wheel of cheese")["results"][0]["title"] != "Cheese"
    for path in place.docs.glob("*.pdf"):
        path.unlink()
    done = place.json("sync", "notes", "--window", "2026-01-07")
    assert [(run["window"], run["success"]) for run in done["runs"]] == [
        ("2026-01-06", True),
        ("2026-01-07", True),
    ]
    assert place.json("search", "wheel of cheese")["results"][0]["title"] == "Cheese"

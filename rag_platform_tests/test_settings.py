"""Settings: values, errors that name the place, overrides, masking, the reference."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rag_platform.documents.sources.registry import options_by_scheme
from rag_platform.errors import PlatformError
from rag_platform.settings import PROJECT_ROOT, Settings, SettingsError, SourceSettings, load
from rag_platform.settings_reference import reference_markdown

FULL = """\
storage: s3://bucket/state/
catalog: postgresql+psycopg://ann:pa55@db:5432/platform
vector_store: http://qdrant:6333/
s3: {endpoint_url: "http://localhost:8333", region: eu-central-1, profile: dev}
llm:
  base_url: http://localhost:11434/v1
  budget: {daily_usd: 2.5, run_usd: 0.1}
  prices:
    gpt-4o-mini: {input_per_million: 0.15, output_per_million: 0.6}
sources:
  manuals:
    url: ./docs
    start: 2026-06-30
  feed:
    url: s3://bucket/feed
    cadence: hourly
    start: 2026-06-30T06:45:00+02:00
    dated_by: path
    include: ["**/*.md", "*.pdf"]
    exclude: ["drafts/**"]
    max_deletion_share: 0
    max_dead_letter_share: 1.0
    schedule: "*/15 6-18 * * 1-5"
limits:
  {max_bytes: 1000, max_inflated_bytes: 2000, max_pages: 3, parse_seconds: 1.5, parse_memory_mb: 64}
indexes:
  docs_v1: {chunker: {strategy: document, max_tokens: 100, overlap: 49}, embedder: wordllama}
  docs_oai: {embedder: {model: text-embedding-3-small, dimensions: 512, batch_size: 64}}
live: docs_oai
lock_timeout_s: 5
automation: false
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes platform.yaml into the working directory, which is a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "platform.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


# Settings of a source that have tests of their own.
DEPTHS = {"options", "tenant", "acl", "safety", "near_duplicates", "translate"}


def test_every_setting_is_read(write: Write, tmp_path: Path) -> None:
    settings = load(write(FULL), {"RAG_PLATFORM_HOME": str(tmp_path / "state")})
    assert settings.storage == "s3://bucket/state"
    assert settings.catalog_url == "postgresql+psycopg://ann:pa55@db:5432/platform"
    assert settings.vector_store == "http://qdrant:6333"
    assert settings.s3.model_dump() == {
        "endpoint_url": "http://localhost:8333",
        "region": "eu-central-1",
        "profile": "dev",
    }
    assert settings.llm.base_url == "http://localhost:11434/v1"
    assert settings.llm.budget.model_dump() == {
        "daily_usd": Decimal("2.5"),
        "run_usd": Decimal("0.1"),
    }
    assert settings.llm.prices["gpt-4o-mini"].input_per_million == Decimal("0.15")
    feed = settings.sources["feed"]
    assert feed.model_dump(exclude=DEPTHS) == {
        "url": "s3://bucket/feed",
        "cadence": "hourly",
        "start": datetime(2026, 6, 30, 4, tzinfo=UTC),
        "dated_by": "path",
        "include": ("**/*.md", "*.pdf"),
        "exclude": ("drafts/**",),
        "max_deletion_share": 0.0,
        "max_dead_letter_share": 1.0,
        "schedule": "*/15 6-18 * * 1-5",
    }
    assert settings.limits.model_dump() == {
        "max_bytes": 1000,
        "max_inflated_bytes": 2000,
        "max_pages": 3,
        "parse_seconds": 1.5,
        "parse_memory_mb": 64,
    }
    chunker = settings.indexes["docs_v1"].chunker
    assert (chunker.strategy, chunker.max_tokens, chunker.overlap) == ("document", 100, 49)
    embedder = settings.indexes["docs_oai"].embedder
    assert (embedder.model, embedder.dimensions) == ("text-embedding-3-small", 512)
    assert (embedder.base_url, embedder.batch_size) == (None, 64)
    assert (settings.live, settings.lock_timeout_s, settings.automation) == ("docs_oai", 5.0, False)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "\ufeffautomation: true"])
def test_defaults_need_no_server(write: Write, tmp_path: Path, text: str) -> None:
    settings = load(write(text), {"RAG_PLATFORM_HOME": "a state"})
    home = tmp_path / "a state"
    assert settings.home == home
    assert settings.storage == f"file://{tmp_path}/a%20state/storage"
    assert settings.catalog_url == f"sqlite:///{home}/catalog.db"
    assert settings.vectors_dir == home / "vectors"
    assert settings.vector_store == "embedded"
    assert settings.sources == {}
    assert settings.live == "docs_v1"
    index = settings.indexes["docs_v1"]
    assert (index.chunker.strategy, index.chunker.max_tokens, index.chunker.overlap) == (
        "recursive",
        400,
        40,
    )
    assert index.embedder.model == "wordllama"
    assert settings.llm.budget.daily_usd == Decimal(5)
    assert settings.llm.budget.run_usd == Decimal(1)
    assert settings.limits.max_bytes == 50_000_000
    assert (settings.lock_timeout_s, settings.automation) == (60.0, True)


def test_source_defaults(write: Write, tmp_path: Path) -> None:
    manuals = load(write(FULL), {}).sources["manuals"]
    assert manuals.tenant == "default"
    assert (manuals.acl, manuals.translate) == (None, None)
    assert (manuals.safety.secrets, manuals.safety.pii) == ("mask", "count")
    assert manuals.near_duplicates == 0.9
    assert manuals.model_dump(exclude=DEPTHS) == {
        "url": f"file://{tmp_path}/docs",
        "cadence": "daily",
        "start": datetime(2026, 6, 30, tzinfo=UTC),
        "dated_by": "seen",
        "include": ("**",),
        "exclude": (".*",),
        "max_deletion_share": 0.5,
        "max_dead_letter_share": 0.2,
        "schedule": None,
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("docs", "file://{folder}/docs"),
        ("./docs/", "file://{folder}/docs"),
        ("../docs", "file://{parent}/docs"),
        (".", "file://{folder}"),
        ("/data/ä b", "file:///data/%C3%A4%20b"),
        ("~/docs", "file://{home}/docs"),
        ("file:///data/a%20b/", "file:///data/a%20b"),
        ("file://./docs", "file://{folder}/docs"),
        ("file://~/docs", "file://{home}/docs"),
        ("s3://bucket", "s3://bucket"),
        ("s3://my.bucket-1/a/b/", "s3://my.bucket-1/a/b"),
    ],
)
def test_locations_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "conf").mkdir()
    path = tmp_path / "conf" / "platform.yaml"
    path.write_text(f"sources: {{manuals: {{url: '{written}', start: 2026-06-30}}}}")
    places = {"folder": path.parent, "parent": tmp_path, "home": "/home/ann"}
    assert load(path, {}).sources["manuals"].url == expected.format(**places)


def test_relative_storage_and_catalog_start_from_the_file(write: Write, tmp_path: Path) -> None:
    settings = load(write("storage: ./s\ncatalog: sqlite:///c.db\n"), {})
    assert settings.storage == f"file://{tmp_path}/s"
    assert settings.catalog_url == f"sqlite:///{tmp_path}/c.db"


def test_a_source_may_lie_in_the_state_folder(write: Write, tmp_path: Path) -> None:
    text = "sources: {demo: {url: $RAG_PLATFORM_HOME/demo/../source, start: 2026-06-30}}"
    settings = load(write(text), {"RAG_PLATFORM_HOME": str(tmp_path / "state")})
    assert settings.sources["demo"].url == (tmp_path / "state" / "source").as_uri()


def test_a_link_stays_the_address(write: Write, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "current").symlink_to("v1")
    path = write("sources: {a: {url: ./current, start: 2026-06-30}}")
    assert load(path, {}).sources["a"].url == f"file://{tmp_path}/current"


@pytest.mark.parametrize(
    ("cadence", "written", "expected"),
    [
        ("daily", "2026-06-30", datetime(2026, 6, 30, tzinfo=UTC)),
        ("daily", "'2026-06-30'", datetime(2026, 6, 30, tzinfo=UTC)),
        ("daily", "2026-06-30 23:59:59", datetime(2026, 6, 30, tzinfo=UTC)),
        ("daily", "2026-06-30T23:30:00-05:00", datetime(2026, 7, 1, tzinfo=UTC)),
        ("hourly", "2026-06-30T23:30:00-05:00", datetime(2026, 7, 1, 4, tzinfo=UTC)),
        ("hourly", "'2026-06-30T05:59:59Z'", datetime(2026, 6, 30, 5, tzinfo=UTC)),
        ("hourly", "2026-06-30", datetime(2026, 6, 30, tzinfo=UTC)),
    ],
)
def test_start_is_utc_on_the_cadence(
    write: Write, cadence: str, written: str, expected: datetime
) -> None:
    path = write(f"sources: {{a: {{url: ., start: {written}, cadence: {cadence}}}}}")
    start = load(path, {}).sources["a"].start
    assert start == expected
    assert start.tzinfo is UTC


@given(
    moment=st.datetimes(
        min_value=datetime(2000, 1, 1),
        max_value=datetime(2100, 1, 1),
        timezones=st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours))),
    ),
    cadence=st.sampled_from(["daily", "hourly"]),
)
def test_start_is_the_window_that_holds_it(moment: datetime, cadence: str) -> None:
    source = SourceSettings.model_validate({"url": "/d", "start": moment, "cadence": cadence})
    seconds = 86400 if cadence == "daily" else 3600
    assert source.start.timestamp() % seconds == 0
    assert 0 <= moment.timestamp() - source.start.timestamp() < seconds


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"chunks", "embeddings"}
)
GLOBS = st.text(min_size=1).filter(lambda text: "!" not in text and "\\" not in text)
SOURCES = st.fixed_dictionaries(
    {"url": st.just("s3://bucket/a"), "start": st.dates()},
    optional={
        "cadence": st.sampled_from(["daily", "hourly"]),
        "include": st.lists(GLOBS, min_size=1, max_size=3),
        "exclude": st.lists(GLOBS, max_size=3),
        "max_deletion_share": st.floats(0, 1),
    },
)
INDEXES = st.fixed_dictionaries(
    {
        "chunker": st.integers(100, 9000).flatmap(
            lambda size: st.fixed_dictionaries(
                {"max_tokens": st.just(size), "overlap": st.integers(0, (size - 1) // 2)}
            )
        ),
        "embedder": st.one_of(
            st.just("wordllama"),
            st.fixed_dictionaries({"model": st.just("m"), "dimensions": st.integers(1, 4096)}),
        ),
    }
)


@given(
    sources=st.dictionaries(NAMES, SOURCES, max_size=3),
    indexes=st.dictionaries(NAMES, INDEXES, min_size=1, max_size=1),
)
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Any], indexes: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("round") / "platform.yaml"
    text = yaml.safe_dump({"sources": sources, "indexes": indexes})
    path.write_text(text, encoding="utf-8")
    read = load(path, {})
    assert list(read.sources) == sorted(sources)
    for name, written in sources.items():
        source = read.sources[name]
        assert source.start.date() == written["start"]
        assert list(source.include) == written.get("include", ["**"])
        assert list(source.exclude) == written.get("exclude", [".*"])
        assert source.max_deletion_share == written.get("max_deletion_share", 0.5)
    ((name, written),) = indexes.items()
    assert read.live == name
    assert read.indexes[name].chunker.overlap == written["chunker"]["overlap"]
    embedder = read.indexes[name].embedder
    given_embedder = written["embedder"]
    assert embedder.model == ("wordllama" if given_embedder == "wordllama" else "m")
    # The tree written out and validated again is the same tree.
    assert Settings.model_validate(read.model_dump()) == read


SOURCE = "sources:\n  manuals:\n    url: ./docs\n    start: 2026-06-30\n"
INDEX = "indexes:\n  docs_v1:\n    chunker: {"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SOURCE + "    cadnce: daily\n",
            "5:5: sources.manuals.cadnce: unknown setting; did you mean 'cadence'?",
        ),
        (
            "zzz: 1\n",
            "1:1: zzz: unknown setting; known here: storage, catalog, vector_store, s3, llm, "
            "mlflow, sources, limits, ocr, enrichment, rides, models, notifications, indexes, "
            "live, golden, promotion, search, compute, console, lock_timeout_s, show_content, "
            "automation",
        ),
        (
            "llm: {openai_api_key: sk-123}\n",
            "1:7: llm.openai_api_key: unknown setting; secrets come from the environment only: "
            "OPENAI_API_KEY, AWS_*, QDRANT_API_KEY",
        ),
        (
            "sources:\n  rides: {url: ./docs, start: 2026-06-30}\nrides: {url: ./rides}\n",
            "3:1: rides: there is a source of this name; give the source another",
        ),
        (
            SOURCE + "enrichment: {sources: [manual], labels: [a, b]}\n",
            "5:1: enrichment: sources: 'manual' is no source; there are: manuals",
        ),
        (
            SOURCE + "enrichment: {sources: [manuals], labels: [a]}\n",
            "5:34: enrichment.labels: needs at least two categories, such as "
            "[billing, cards, other]",
        ),
        (
            "llm: {tiers: {small: a}, fallbacks: {small: [large]}}\n",
            "1:26: llm.fallbacks: 'large' is no tier; there are: small",
        ),
        (
            "home: /x\n",
            "1:1: home: unknown setting; the state folder is set by RAG_PLATFORM_HOME",
        ),
        (
            "sources:\n  manuals: {url: ./docs}\n",
            "2:3: sources.manuals.start: missing; set it: Start of the first window: a date or a "
            "time, taken as UTC where no zone is given and moved back to the start of its day or "
            "hour.",
        ),
        (
            SOURCE + "    cadence: weekly\n",
            "5:5: sources.manuals.cadence: must be 'daily' or 'hourly', not 'weekly'",
        ),
        (
            SOURCE + "    max_deletion_share: 1.5\n",
            "5:5: sources.manuals.max_deletion_share: must be less than or equal to 1, not 1.5",
        ),
        (
            SOURCE + "    max_deletion_share: .nan\n",
            "5:5: sources.manuals.max_deletion_share: must be a finite number, not nan",
        ),
        (
            SOURCE + "    include: '*.md'\n",
            "5:5: sources.manuals.include: must be a list ([a, b])",
        ),
        (
            SOURCE + "    include:\n      - a\n      - 5\n",
            "7:9: sources.manuals.include.1: must be text, put it in quotes",
        ),
        (
            SOURCE + "    schedule: every day\n",
            "5:5: sources.manuals.schedule: must be a cron line of five fields in numbers, such as "
            "'0 6 * * 1-5'",
        ),
        (
            "sources:\n  Manuals: {url: ., start: 2026-06-30}\n",
            "2:3: sources.Manuals: a name is lower-case letters, digits and _, and begins with a "
            "letter",
        ),
        (
            "sources:\n  m: {url: ftp://ann:pw@host/docs, start: 2026-06-30}\n",
            "2:7: sources.m.url: must not hold a user or password; they come from the environment",
        ),
        (
            "sources:\n  m: {url: ., start: 20260630}\n",
            "2:15: sources.m.start: must be a date (2026-06-30) or a time (2026-06-30T06:00:00Z)",
        ),
        (
            "sources:\n  m: {url: ., start: tomorrow}\n",
            "2:15: sources.m.start: is no date or time; write 2026-06-30 or 2026-06-30T06:00:00Z",
        ),
        (
            "sources:\n  m: {url: ., start: 2026-06-31}\n",
            "2:15: sources.m.start: not a valid timestamp; quote it if it is text",
        ),
        ("sources: [a]\n", "1:1: sources: must be a mapping (key: value)"),
        ("limits: {max_pages: 2.5}\n", "1:10: limits.max_pages: must be a valid integer, not 2.5"),
        (
            "limits: {max_pages: true}\n",
            "1:10: limits.max_pages: must be a valid integer, not True",
        ),
        (
            "limits: {max_pages: 0x" + "9" * 9000 + "}\n",
            "1:10: limits.max_pages: not a valid int; quote it if it is text",
        ),
        (
            f"limits: {{max_pages: {'x' * 900}}}\n",
            "1:10: limits.max_pages: must be a valid integer, not 'xxxxxxxxxxxx...xxxxxxxxxxxxx'",
        ),
        (
            "automation: sometimes\n",
            "1:1: automation: must be a valid boolean, not 'sometimes'",
        ),
        (
            "llm: {budget: {daily_usd: -1}}\n",
            "1:16: llm.budget.daily_usd: must be greater than or equal to 0, not -1",
        ),
        (
            "llm: {base_url: api.openai.com}\n",
            "1:7: llm.base_url: must be a URL that begins with http:// or https://",
        ),
        (
            "vector_store: https://user:pw@host:6333\n",
            "1:1: vector_store: must not hold a user or password; keys come from the environment",
        ),
        (
            "vector_store: qdrant\n",
            "1:1: vector_store: must be 'embedded' or the URL of a Qdrant server, "
            "http(s)://host:6333",
        ),
        (
            "catalog: mysql://host/db\n",
            "1:1: catalog: must be sqlite:///file.db or "
            "postgresql+psycopg://user:***@host/database",
        ),
        (
            "sources: {a: {url: ., start: 2026-06-30, exclude: ['!']}}",
            "1:52: sources.a.exclude.0: is no pattern as in .gitignore",
        ),
        (
            "indexes: {a: {embedder: {model: wordllama, dimensions: 128}}}",
            "1:44: indexes.a.embedder.dimensions: wordllama's vectors have 256 dimensions; leave "
            "this out",
        ),
        (
            "indexes: {a: {chunker: {max_tokens: 31, overlap: 0}}}",
            "1:25: indexes.a.chunker.max_tokens: must be greater than or equal to 32, not 31",
        ),
        ("catalog: 5\n", "1:1: catalog: must be text, put it in quotes"),
        (
            "indexes:\n  chunks: {}\n",
            "2:3: indexes.chunks: reserved: raw_docs, parsed_docs, clean_docs, translated_docs, "
            "chunks, embeddings, vector_index are names of stages; choose another",
        ),
        (
            INDEX + "max_tokens: 100, overlap: 50}\n",
            "3:32: indexes.docs_v1.chunker.overlap: 50 is not under half of max_tokens, 100",
        ),
        (
            INDEX + "max_tokens: 60}\n",
            "3:5: indexes.docs_v1.chunker.overlap: 40 is not under half of max_tokens, 60",
        ),
        (
            "indexes:\n  docs_v1: {embedder: ada}\n",
            "2:13: indexes.docs_v1.embedder: must be 'wordllama', 'minilm', {model: transformer, "
            "transformer: {path: ...}} or {model: ...} of an OpenAI-compatible service",
        ),
        (
            "indexes:\n  a: {embedder: {model: wordllama, base_url: 'http://h'}}\n",
            "2:36: indexes.a.embedder.base_url: wordllama runs in process; leave base_url out",
        ),
        ("live: docs_v2\n", "1:1: live: must name one of the indexes: docs_v1"),
        ("indexes: {a: {}, b: {}}\n", "1:1: live: must name one of the indexes: a, b"),
        ("- a\n", "1:1: settings must be a mapping (key: value)"),
        ("live: docs_v1\nlive: docs_v1\n", "2:1: live: written twice; the first is on line 1"),
        ("yes: 1\n", "1:1: yes: a name must be text; put it in quotes"),
        (
            "a: &a [1]\nb: *a\n",
            "2:4: cannot be read as settings: aliases are not read; write the value out, "
            "quote a leading *",
        ),
        (
            "live: !!python/name:os.system x\n",
            "1:1: live: the YAML tag tag:yaml.org,2002:python/name:os.system is not read; "
            "write a plain value",
        ),
        (
            "live: docs_v1\nsources: [a\n",
            "3:1: cannot be read as settings: while parsing a flow sequence, did not find "
            "expected ',' or ']'",
        ),
        ("live: \x07\n", "1:1: cannot be read as settings: control characters are not allowed"),
        ("a: " + "[" * 40, "1:35: cannot be read as settings: nested more than 32 levels deep"),
    ],
)
def test_a_problem_names_place_setting_and_remedy(write: Write, text: str, expected: str) -> None:
    assert problems(write(text)) == (f"platform.yaml:{expected}",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rides: {urrl: ./x}", ["1:9: rides.urrl: unknown setting; did you mean 'url'?"]),
        (
            "indexes: {d: {chunker: {rules: [{match: x, strategy: clause, strateg: y}]}}}",
            ["1:62: indexes.d.chunker.rules.0.strateg: unknown setting; did you mean 'strategy'?"],
        ),
        (
            "sources: {a: {url: ., start: 2026-06-30, acl: {fille: x}}}",
            ["1:48: sources.a.acl.fille: unknown setting; did you mean 'file'?"],
        ),
    ],
)
def test_a_misspelt_setting_of_an_optional_section_or_a_list(
    write: Write, text: str, expected: list[str]
) -> None:
    found = problems(write(text))
    assert [line for line in found if "unknown" in line] == [f"platform.yaml:{e}" for e in expected]


def test_all_problems_are_listed_in_the_order_of_the_file(write: Write) -> None:
    text = (
        "live: nope\nsources:\n  a: {url: ., start: 2026-06-30, dated: seen}\n  b: {}\n"
        "automation: 1\nautomation: 2\n"
    )
    listed = problems(write(text), RAG_PLATFORM__LIVVE="x")
    assert [line.split(": ")[:2] for line in listed] == [
        ["RAG_PLATFORM__LIVVE", "livve"],
        ["platform.yaml:1:1", "live"],
        ["platform.yaml:3:34", "sources.a.dated"],
        ["platform.yaml:4:3", "sources.b.url"],
        ["platform.yaml:4:3", "sources.b.start"],
        ["platform.yaml:5:1", "automation"],
        ["platform.yaml:6:1", "automation"],
    ]


def test_an_alias_bomb_is_refused_at_once(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = problems(write("\n".join(lines)))
    assert problem.startswith("platform.yaml:2:10: cannot be read as settings: aliases")


def test_a_missing_file_says_who_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert problems(Path("a.yaml")) == ("a.yaml: no such settings file; correct the path",)
    with pytest.raises(SettingsError) as caught:
        load(environ={"RAG_PLATFORM_CONFIG": "/nowhere/b.yaml"})
    assert str(caught.value) == (
        "/nowhere/b.yaml: no such settings file; RAG_PLATFORM_CONFIG names it: correct or unset it"
    )
    monkeypatch.setattr("rag_platform.settings.PROJECT_ROOT", tmp_path)
    with pytest.raises(PlatformError) as default:
        load(environ={})
    assert str(default.value) == (
        "platform.yaml: no settings file yet; write it (docs/settings.md lists what it may hold) "
        "or name yours in RAG_PLATFORM_CONFIG"
    )


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert problems(Path("folder")) == ("folder: cannot be read: Is a directory",)
    Path("latin.yaml").write_bytes("live: größe".encode("latin-1"))
    assert problems(Path("latin.yaml")) == (
        "latin.yaml: not UTF-8 text at byte 8; save it as UTF-8",
    )


def test_file_and_home_come_from_the_environment(write: Write, tmp_path: Path) -> None:
    path = write("live: docs_v1")
    settings = load(environ={"RAG_PLATFORM_CONFIG": str(path)})
    assert settings.home == PROJECT_ROOT / ".rag_platform"
    other = tmp_path / "other.yaml"
    other.write_text("automation: false")
    assert not load(other, {"RAG_PLATFORM_CONFIG": str(path)}).automation
    assert problems(path, RAG_PLATFORM_HOME="a?b") == (
        f"RAG_PLATFORM_HOME: {tmp_path}/a?b holds a '?'; choose another folder",
    )


def test_environment_overrides_the_file(write: Write) -> None:
    environ = {
        "RAG_PLATFORM__LIVE": "docs_v1",
        "RAG_PLATFORM__SOURCES__MANUALS__URL": "s3://bucket/p",
        "RAG_PLATFORM__sources__Feed__Max_Deletion_Share": "0.25",
        "RAG_PLATFORM__LLM__PRICES__GPT-4O-MINI__INPUT_PER_MILLION": "7",
        "RAG_PLATFORM__INDEXES__DOCS_V1__CHUNKER": "{max_tokens: 50}",
        "RAG_PLATFORM__INDEXES__DOCS_V1__CHUNKER__OVERLAP": "10",
        "RAG_PLATFORM__S3__PROFILE": "",
        "RAG_PLATFORM__SOURCES__EXTRA": "{url: /e, start: 2026-01-01}",
        "UNRELATED": "x",
    }
    settings = load(write(FULL), environ)
    assert settings.live == "docs_v1"
    assert settings.sources["manuals"].url == "s3://bucket/p"
    assert settings.sources["manuals"].cadence == "daily"
    assert settings.sources["feed"].max_deletion_share == 0.25
    assert settings.llm.prices["gpt-4o-mini"].input_per_million == 7
    chunker = settings.indexes["docs_v1"].chunker
    assert (chunker.strategy, chunker.max_tokens, chunker.overlap) == ("recursive", 50, 10)
    assert settings.s3.profile is None
    assert settings.sources["extra"].start == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LIVVE", "a", "livve: unknown setting; did you mean 'live'?"),
        ("LIVE", "other", "live: must name one of the indexes: docs_v1"),
        (
            "SOURCES__MANUALS__CADENCE",
            "weekly",
            "sources.manuals.cadence: must be 'daily' or 'hourly', not 'weekly'",
        ),
        (
            "SOURCES__MANUALS__CADENCE",
            "[",
            "cannot be read as settings: while parsing a flow node, did not find expected node "
            "content",
        ),
        (
            "SOURCES__MANUALS__URL__X",
            "a",
            "sources.manuals.url: holds a single value; replace it whole with "
            "RAG_PLATFORM__SOURCES__MANUALS__URL",
        ),
        ("SOURCES____URL", "a", "a name is empty; write RAG_PLATFORM__SECTION__KEY"),
        ("", "a", "a name is empty; write RAG_PLATFORM__SECTION__KEY"),
        ("LIVE", "\udcff", "not valid text; save it as UTF-8"),
        ("LIMITS", "{max_pages: 0}", "limits.max_pages: must be greater than or equal to 1, not 0"),
        ("HOME", "/x", "home: unknown setting; the state folder is set by RAG_PLATFORM_HOME"),
    ],
)
def test_a_problem_in_an_override_names_the_variable(
    write: Write, name: str, value: str, expected: str
) -> None:
    variable = f"RAG_PLATFORM__{name}"
    assert problems(write(SOURCE), **{variable: value}) == (f"{variable}: {expected}",)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://ann:s3cr3t@db/p", "postgresql+psycopg://ann:***@db/p"),
        ("postgresql+psycopg://ann:s3cr3t@x@db/p", "postgresql+psycopg://ann:***@db/p"),
        ("postgresql+psycopg://ann:a/s3cr3t@db/p", "postgresql+psycopg://ann:***@db/p"),
        (
            "postgresql+psycopg://db/p?user=ann&password=s3cr3t&sslmode=require",
            "postgresql+psycopg://db/p?user=ann&password=***&sslmode=require",
        ),
    ],
)
def test_the_catalog_password_is_never_shown(write: Write, url: str, shown: str) -> None:
    settings = load(write(f"catalog: '{url}'"), {})
    assert settings.catalog_url == url
    assert str(settings.catalog) == shown
    for text in (
        str(settings),
        repr(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
        repr(settings.catalog),
    ):
        assert "s3cr3t" not in text
        assert shown in text


@pytest.mark.parametrize(
    "text",
    [
        "catalog: postgresql://ann:s3cr3t@db/p",
        "catalog: {url: 'postgresql://ann:s3cr3t@db/p'}",
        "catalog: ['s3cr3t']",
        "catalog: postgresql+psycopg://ann:s3cr3t@db/p\nautomatic: 1",
        "vector_store: http://ann:s3cr3t@h",
        "automation: http://ann:s3cr3t@h",
        "automation: http://ann:s3cr3tandlongerthanwhatisshown@host/and/more",
        "automation: x://a:s3cr3tandlongerthanwhatisshown@host/and/more",
        "s3: {endpoint_url: http://ann:s3cr3t@h}",
        "? 'x://ann:s3cr3t@db/p'\n: 1",
        "llm: {api_key: s3cr3t}",
    ],
)
def test_no_error_shows_a_password(write: Write, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(text), {})
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_settings_are_frozen(write: Write) -> None:
    settings = load(write(SOURCE), {})
    with pytest.raises(ValidationError, match="frozen"):
        settings.sources["manuals"].cadence = "hourly"


def test_the_committed_reference_is_current() -> None:
    written = (PROJECT_ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == reference_markdown(options_by_scheme()), (
        "run python docs/generate_settings.py"
    )


def test_the_reference_shows_every_kind_of_default() -> None:
    lines = reference_markdown(options_by_scheme()).splitlines()
    for line in (
        "| `url` | text | required | Folder (path from the settings file's folder, from "
        "$RAG_PLATFORM_HOME or ~, or file:///...), s3://bucket/prefix, or the address of another "
        "kind of source. |",
        "| `cadence` | `daily`, `hourly` | `daily` | Length of a window, in UTC. |",
        "| `dimensions` | whole number from 1 or null | `null` | Numbers in a vector; null for the "
        "model's own. |",
        "| `automation` | `true` or `false` | `true` | Whether schedules and sensors run from the "
        "start. |",
        "## `indexes.NAME.chunker`",
        "## `llm.prices.NAME`",
    ):
        assert line in lines


def test_settings_import_nothing_heavy() -> None:
    code = "import sys, rag_platform.settings; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT
    )
    heavy = {"dagster", "numpy", "pyarrow", "sqlalchemy", "openai", "pandas", "qdrant_client"}
    assert heavy.isdisjoint(result.stdout.split())

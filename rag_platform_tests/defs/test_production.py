"""The chain on production parts, by configuration alone: S3, PostgreSQL, a paid embedder."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from rag_platform.defs.operations.problems import problems
from rag_platform.storage.schema import documents
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.defs.location import INDEX, SOURCE, Location
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer
from rag_platform_tests.servers.seaweed import S3Server

FIRST, SECOND = "2026-06-01", "2026-06-02"


@pytest.fixture
def instance(tmp_path: Path, postgres_database: str) -> Iterator[dg.DagsterInstance]:
    """Dagster's own storage on PostgreSQL."""
    pytest.importorskip("dagster_postgres", reason="needs the package dagster-postgres")
    # dagster-postgres speaks to psycopg2 only; SQLAlchemy 2.1 would take psycopg by itself.
    url = sa.make_url(postgres_database).set(drivername="postgresql+psycopg2")
    storage = {"postgres": {"postgres_url": url.render_as_string(hide_password=False)}}
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        yaml.safe_dump({"storage": storage, "telemetry": {"enabled": False}}), encoding="utf-8"
    )
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.mark.slow
def test_the_chain_on_s3_postgresql_and_a_paid_embedder(
    location: Location,
    instance: dg.DagsterInstance,
    s3_server: S3Server,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client, bucket, state = s3_server.client(), *(s3_server.make_bucket() for _ in range(2))
    name = "catalog_of_the_platform"
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    engine.dispose()
    catalog = sa.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    client.put_object(Bucket=bucket, Key="in/a b.md", Body=b"# Alpha\n\nA red apple.\n")
    client.put_object(Bucket=bucket, Key="in/c.md", Body=b"# Gamma\n\nA green leaf.\n")
    with OpenAIServer() as server:
        location.instance = instance
        location.configure(
            source={"url": f"s3://{bucket}/in"},
            storage=f"s3://{state}/pages",
            catalog=catalog,
            s3={"endpoint_url": s3_server.endpoint},
            llm={
                "base_url": server.base_url,
                "prices": {"tiny": {"input_per_million": 1, "output_per_million": 0}},
            },
            indexes={INDEX: {"embedder": {"model": "tiny", "dimensions": 8}}},
        )
        outcome = location.run(FIRST)
        assert outcome.success, problems(outcome.result.all_events)
        assert outcome.failed() == {}
        assert sorted(server.texts) == ["# Alpha\n\nA red apple.", "# Gamma\n\nA green leaf."]

        client.put_object(Bucket=bucket, Key="in/d.md", Body=b"# Delta\n\nA grey stone.\n")
        client.delete_object(Bucket=bucket, Key="in/c.md")
        assert location.run(SECOND).success
        assert server.texts[2:] == ["# Delta\n\nA grey stone."]
        uris = {point["uri"] for point in location.contents().values()}
        assert uris == {f"s3://{bucket}/in/a b.md", f"s3://{bucket}/in/d.md"}

        with location.platform() as platform, platform.catalog.read() as connection:
            assert platform.catalog.engine.dialect.name == "postgresql"
            known = connection.execute(sa.select(documents.c.key, documents.c.gone)).all()
            billed = connection.execute(sa.select(ledger.c.input_tokens, ledger.c.status)).all()
            with platform.searcher() as searcher:
                found = searcher.search("leaf stone", 1)
        assert sorted(map(tuple, known)) == [("a b.md", False), ("c.md", True), ("d.md", False)]
        assert sum(row.input_tokens for row in billed) == 5 + 5 + 5
        assert {row.status for row in billed} == {"settled"}
        assert found[0].source == SOURCE
    stored = client.list_objects_v2(Bucket=state)["Contents"]
    assert {item["Key"].split("/")[0] for item in stored} == {"pages"}
    key = dg.AssetKey([SOURCE, INDEX, "vector_index"])
    assert instance.get_materialized_partitions(key) == {FIRST, SECOND}
    assert "postgres" in type(instance.event_log_storage).__name__.lower()

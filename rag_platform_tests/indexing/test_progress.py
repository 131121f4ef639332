"""What an index still has to do."""

import sqlalchemy as sa

from rag_platform.indexing.progress import (
    count_unapplied,
    note_figures,
    unapplied,
    unapplied_passes,
    unfinished_windows,
)
from rag_platform_tests.conformance.harness import SOURCE, V1, WINDOWS, World

FIRST, SECOND = WINDOWS[:2]


def left(world: World, *indexes: str) -> list[str]:
    return unfinished_windows(world.platform.catalog, SOURCE, list(indexes or (V1,)))


def test_from_asked_to_applied(world: World) -> None:
    catalog, parts = world.platform.catalog, world.platform
    world.folder.write("a.md", "a")
    parts.raw(SOURCE).run(FIRST)
    assert left(world) == [FIRST]  # not settled
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    # A run that ends here, killed or stopped by a gate, is not forgotten.
    assert left(world) == [FIRST]
    # An index that came later has no part in it: filling one is nobody's by-product.
    assert left(world, "docs_v2") == []
    assert unapplied_passes(catalog, V1, SOURCE, FIRST) == [1]
    parts.chunks(SOURCE, V1).run(FIRST)
    assert left(world) == [FIRST]
    parts.embeddings(SOURCE, V1).run(FIRST)
    parts.vector_index(SOURCE, V1).run(FIRST)
    assert left(world) == []
    assert unapplied_passes(catalog, V1, SOURCE, FIRST) == []


def test_passes_are_told_apart(world: World) -> None:
    catalog, parts = world.platform.catalog, world.platform
    world.folder.write("a.md", "a")
    world.sync(FIRST)
    for number in (1, 2):
        world.folder.write(f"{number}.md", str(number))
        parts.raw(SOURCE).run(FIRST)
        parts.parsed(SOURCE).run(FIRST)
        parts.clean(SOURCE).run(FIRST)
    assert unapplied_passes(catalog, V1, SOURCE, FIRST) == [2, 3]
    world.folder.write("1.md", "changed")
    world.run(SECOND)
    assert unapplied_passes(catalog, V1, SOURCE, FIRST) == [3]
    assert left(world) == [FIRST]
    world.run(FIRST)
    assert left(world) == []
    world.check()


def test_how_many_documents_an_index_lacks(world: World) -> None:
    parts = world.platform

    def lacking(index: str = V1) -> tuple[int, int]:
        with parts.catalog.read() as connection:
            rows = connection.execute(unapplied(index, SOURCE)).all()
            return int(connection.scalar(count_unapplied(index, SOURCE)) or 0), len(rows)

    for name in ("a", "b", "c"):
        world.folder.write(f"{name}.md", name)
    parts.raw(SOURCE).run(FIRST)
    assert lacking() == (0, 0)  # not settled
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    assert lacking() == (3, 3)
    world.run(FIRST)
    assert lacking() == (0, 0)
    assert lacking("docs_v2") == (3, 3)
    world.folder.remove("a.md")
    world.folder.write("b.md", "b anew")
    for stage in (parts.raw, parts.parsed, parts.clean):
        stage(SOURCE).run(SECOND)
    assert lacking() == (2, 2)


def test_figures_of_earlier_stages_stay(world: World) -> None:
    from rag_platform.storage.schema import index_pages

    catalog = world.platform.catalog
    note_figures(catalog, V1, SOURCE, FIRST, finished=False, figures={"a": 1, "b": 1})
    note_figures(catalog, V1, SOURCE, FIRST, finished=True, figures={"b": 2})
    note_figures(catalog, V1, SOURCE, SECOND, finished=True, figures={"c": 3})
    with catalog.read() as connection:
        rows = connection.execute(sa.select(index_pages).order_by(index_pages.c.window)).all()
    assert [(row.window, row.finished, row.figures) for row in rows] == [
        (FIRST, True, {"a": 1, "b": 2}),
        (SECOND, True, {"c": 3}),
    ]

"""Tables with spans, pages and their offsets."""

from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.parsing.blocks import (
    Block,
    Cell,
    document,
    grid,
    join_blocks,
    join_pages,
    markdown_table,
)
from rag_platform.documents.parsing.result import Kind, ParseLimits


def test_spans_fill_columns_and_rows() -> None:
    rows = [
        [Cell("a", rows=2), Cell("b", columns=2)],
        [Cell("c"), Cell("d")],
        [Cell("e", columns=3)],
        [Cell("f"), Cell("g", columns=0, rows=0), Cell("h")],
    ]
    assert grid(rows) == [["a", "b", "b"], ["a", "c", "d"], ["e"], ["f", "g", "h"]]


@given(st.lists(st.lists(st.text("xyz", max_size=3), max_size=5), max_size=6))
def test_without_spans_the_grid_is_the_table(rows: list[list[str]]) -> None:
    assert grid([[Cell(text) for text in row] for row in rows]) == rows


@given(
    st.lists(
        st.lists(
            st.builds(Cell, st.just("x"), st.integers(-2, 300), st.integers(-2, 99_999)), max_size=4
        ),
        max_size=8,
    )
)
def test_spans_stay_within_bounds(rows: list[list[Cell]]) -> None:
    table = grid(rows)
    assert len(table) == len(rows)
    assert all(len(row) <= 100 * sum(map(len, rows)) for row in table)


def test_tables_in_markdown() -> None:
    assert markdown_table([["a", "b"], ["1|2"]]) == "| a | b |\n| --- | --- |\n| 1\\|2 |  |"
    assert markdown_table([["a"], ["b"]]) == "a\nb"


def test_one_long_row_does_not_fill_the_short_ones() -> None:
    text = markdown_table([["x"] * 2_000, *[["y"]] * 1_000])
    assert len(text) < 2_000 * 10 + 1_000 * 10
    assert text.endswith("| y |")


def test_list_items_stand_close() -> None:
    blocks = [Block("a"), Block("- b", tight=True), Block("- c", tight=True), Block("d")]
    assert join_blocks(blocks) == "a\n\n- b\n- c\n\nd"


@given(st.lists(st.text("ab\u0301\r\n "), min_size=1, max_size=6))
def test_every_page_begins_at_its_offset(pages: list[str]) -> None:
    text, starts = join_pages(pages, ParseLimits())
    ends = [*starts[1:], len(text)]
    joined = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    assert len(joined) == len(pages)
    assert joined == [join_pages([page], ParseLimits())[0] for page in pages]


def test_title_and_hidden_characters() -> None:
    parsed = document(Kind.ODT, "text\n# Head\n", {"author": "A"}, hidden=3)
    assert parsed.title == "Head"
    assert parsed.metadata == {"hidden_characters": "3", "author": "A"}
    assert document(Kind.ODT, "# Head", {"title": " A\ntitle "}).title == "A title"

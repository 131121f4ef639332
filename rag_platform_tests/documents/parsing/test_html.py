"""HTML to Markdown: what stays, what goes, and hostile nesting."""

import pytest

from rag_platform.documents.parsing.html import parse_html, whole_page
from rag_platform.documents.parsing.result import ParseRefused, Reason

PROSE = "Opening an account takes two documents and ten minutes of your time. " * 5
PAGE = f"""<!doctype html><html lang="de-AT"><head><title> The
 page </title><meta name="author" content="A. Writer"><meta property="og:title" content="No">
<script>alert(1)</script><style>p {{}}</style></head><body>
<div class="navheader"><table><tr><td><a href="a">Prev</a></td><td>Up</td></tr></table></div>
<nav><ul><li><a href="/">Home</a></li></ul></nav>
<div id="content"><h1>Accounts</h1><p>{PROSE}</p>
<h2>Fees &amp; <em>charges</em></h2>
<table><caption>Fees</caption><tr><th>Kind</th><th>Price</th></tr>
<tr><td>Basic | small</td><td>1 €</td></tr><tr><td>Plus</td></tr></table>
<ul><li>one</li><li>two<ol><li>deep</li><li>deeper</li></ol></li></ul>
<pre>  if a:
    b</pre><p>Use <code>SELECT</code> now.</p><blockquote><p>Said so.</p></blockquote>
<p hidden>secret</p><p style="display: none">hidden</p>
</div>
<div class="related-posts"><ul><li><a href="x">More of this</a></li></ul></div>
<footer>Imprint</footer></body></html>"""


def test_structure_is_kept_and_boilerplate_goes() -> None:
    parsed = parse_html(PAGE.encode())
    assert parsed.text == (
        f"# Accounts\n\n{PROSE.strip()}\n\n## Fees & charges\n\n"
        "Fees\n\n| Kind | Price |\n| --- | --- |\n| Basic \\| small | 1 € |\n| Plus |  |\n\n"
        "- one\n- two\n  1. deep\n  2. deeper\n\n"
        "```\n  if a:\n    b\n```\n\nUse `SELECT` now.\n\n> Said so."
    )
    assert parsed.title == "The page"
    hidden = len("secret") + len("hidden")
    assert parsed.metadata == {
        "hidden_characters": str(hidden),
        "author": "A. Writer",
        "language": "de-AT",
    }


def test_a_page_that_is_only_links_keeps_them() -> None:
    page = "<body><ul>" + "".join(f"<li><a href=x>Chapter {n}</a>" for n in range(5)) + "</ul>"
    assert parse_html(page.encode()).text == "\n".join(f"- Chapter {n}" for n in range(5))


def test_an_article_inside_a_suspicious_container_is_kept() -> None:
    page = f'<body><div class="widget"><p>{PROSE}</p></div><div class="menu">Menu</div></body>'
    assert parse_html(page.encode()).text == PROSE.strip()


@pytest.mark.parametrize("source", ["", "   ", "<html></html>", "<!doctype html>", "<!-- c -->"])
def test_empty_pages_are_empty_documents(source: str) -> None:
    parsed = parse_html(source.encode())
    assert (parsed.text, parsed.title) == ("", "")


def test_broken_markup_is_read() -> None:
    text = parse_html(b"<p>one<p>two</b></div><table><tr><td>a<td>b<tr><td>c<td>d").text
    assert text == "one\n\ntwo\n\n| a | b |\n| --- | --- |\n| c | d |"


def test_nesting_within_bounds_is_read_and_beyond_is_refused() -> None:
    assert parse_html(("<div>" * 1_500 + "deep").encode()).text == "deep"
    with pytest.raises(ParseRefused) as refused:
        parse_html(("<div>" * 50_000 + "deep").encode())
    assert refused.value.failure.reason == Reason.CORRUPT


def test_charset_of_the_page() -> None:
    page = "<html><head><meta charset='shift_jis'></head><body><p>銀行口座</p></body></html>"
    assert parse_html(page.encode("shift-jis")).text == "銀行口座"
    assert parse_html(page.encode("utf-16")).text == "銀行口座"


def test_local_files_and_entities_are_not_read(tmp_path: object) -> None:
    page = (
        '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        '<body><p>a&x;b</p><img src="file:///etc/passwd"></body>'
    )
    assert "root:" not in parse_html(page.encode()).text


def test_cells_that_span_stand_in_each_column_and_row() -> None:
    page = (
        "<table><tr><th>Kind<th colspan=2>Fees</tr>"
        "<tr><td rowspan=2>Basic<td>one<br>two<td>3</tr><tr><td><p>4</p>5<td>6</tr>"
        "<tr><td colspan=3>All</tr></table>"
    )
    assert parse_html(page.encode()).text == (
        "| Kind | Fees | Fees |\n| --- | --- | --- |\n| Basic | one two | 3 |\n"
        "| Basic | 4 5 | 6 |\n| All |  |  |"
    )


def test_numbered_lists_keep_their_numbers() -> None:
    page = b"<ol start=42><li>a<li>b<li value=7>c<li>d</ol>"
    assert parse_html(page).text == "42. a\n43. b\n7. c\n8. d"


@pytest.mark.parametrize(
    "attribute", ["hidden", "style='DISPLAY : none'", "style='a:b;font-size:0'"]
)
def test_hidden_text_never_replaces_what_is_shown(attribute: str) -> None:
    page = f"<p>shown</p><div {attribute}>{PROSE * 20}</div>"
    parsed = parse_html(page.encode())
    assert parsed.text == "shown"
    assert parsed.metadata == {"hidden_characters": str(len(PROSE * 20) - 1)}


def test_a_page_that_shows_nothing_gives_what_its_script_would_show() -> None:
    parsed = parse_html(f"<body style='display:none'><div hidden><p>{PROSE}</p></div>".encode())
    assert parsed.text == PROSE.strip()
    assert parsed.metadata == {"hidden_characters": str(len(PROSE) - 1)}


def test_small_type_is_not_hidden() -> None:
    assert parse_html(b"<p style='font-size:0.9em;opacity:0.5'>small</p>").text == "small"


def test_whole_page_in_a_charset_that_is_known_from_elsewhere() -> None:
    page = "<nav>Links</nav><p>Größe</p><p hidden>unseen</p>".encode("cp1252")
    assert whole_page(page, "cp1252") == ("Links\n\nGröße", 6)
    assert whole_page(b"") == ("", 0)

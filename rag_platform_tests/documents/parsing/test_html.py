"""HTML to Markdown: what stays, what goes, and hostile nesting."""

import pytest

from rag_platform.documents.parsing.html import parse_html
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
    assert parsed.metadata == {"author": "A. Writer", "language": "de-AT"}


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

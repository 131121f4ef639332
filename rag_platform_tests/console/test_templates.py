"""What holds for every template: nothing that escapes, no form without its token."""

import re

import pytest
from lxml import html

from rag_platform.console import web

TEMPLATES = sorted(path.name for path in (web._FOLDER / "templates").iterdir())


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_keeps_the_rules(name: str) -> None:
    text = (web._FOLDER / "templates" / name).read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)
    assert not re.search(r"\son[a-z]+\s*=|\shx-on|javascript:|\sstyle\s*=|<style|<iframe", text)
    for form in re.findall(r"<form\b.*?</form>", text, re.DOTALL):
        posts = re.search(r'\bmethod="post"', form)
        carries = '<input type="hidden" name="csrf" value="{{ csrf }}">' in form
        assert bool(posts) == carries or 'formmethod="post" name="csrf"' in form
    for script in html.document_fromstring(text or "<p>").iter("script"):
        assert script.get("src", "").startswith("/static/")
        assert not (script.text or "").strip()


def test_templates_escape_and_miss_nothing() -> None:
    render = web.TEMPLATES.from_string("{{ x }} {{ y|href }} {{ z|part }}").render
    assert render(x="<'\">", y="javascript:alert(1)", z="a/b?#") == (
        "&lt;&#39;&#34;&gt; # a%2Fb%3F%23"
    )
    assert render(x="", y="https://example.org/?a=1&b=2", z="") == (
        " https://example.org/?a=1&amp;b=2 "
    )
    assert render(x="", y="http://[", z="") == " # "
    with pytest.raises(Exception, match="undefined"):
        render(x="")

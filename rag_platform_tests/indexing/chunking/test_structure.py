from rag_platform.encoders.tokenizer import reference_tokenizer
from rag_platform.indexing.chunking.structure import Break, Structure

DOCUMENT = """\
Preamble goes first. It has two sentences.

# Guide {#guide}

## Install ##
Run this
on your machine:

```sh
# not a heading

make all
```

| a | b |
|---|---|
| 1 | 2 |
After the table.

#hashtag
### 使い方
文です。次の文です。
"""


def breaks(text: str, longest: int = 50) -> dict[str, int]:
    """The strength of the break before each word, by word; the first of each."""
    spans = reference_tokenizer().spans(text, longest=longest)
    strengths = Structure(text, spans).strengths
    found: dict[str, int] = {}
    for a, b, strength in zip(spans.starts, spans.ends, strengths, strict=True):
        found.setdefault(text[a:b], int(strength))
    return found


def structure(text: str) -> Structure:
    return Structure(text, reference_tokenizer().spans(text, longest=50))


def test_breaks() -> None:
    found = breaks(DOCUMENT)
    assert found["goes"] == Break.WORD
    assert found["It"] == Break.SENTENCE
    assert found["#"] == Break.HEADING + 5
    assert found["##"] == Break.WORD  # directly below another heading
    assert found["Run"] == Break.WORD  # directly below its heading
    assert found["on"] == Break.LINE
    assert found["```sh"] == Break.PARAGRAPH
    assert found["make"] == Break.PROTECTED_LINE
    assert found["```"] == Break.PROTECTED_LINE
    assert found["all"] == Break.WORD
    assert found["|"] == Break.PARAGRAPH
    assert found["|---|---|"] == Break.PROTECTED_LINE
    assert found["After"] == Break.LINE
    assert found["#hashtag"] == Break.PARAGRAPH
    assert found["###"] == Break.HEADING + 3


def test_a_sentence_without_spaces_ends_at_its_full_stop() -> None:
    found = breaks("文です。次の文です。", longest=4)
    assert found["次"] == Break.SENTENCE
    assert found["で"] == Break.CHARACTER


def test_a_run_of_letters_can_be_cut_but_as_a_last_resort() -> None:
    found = breaks("see antidisestablishmentarianism", longest=4)
    assert list(found)[:2] == ["see", "ant"]
    assert list(found.values())[1] == Break.WORD
    assert set(list(found.values())[2:]) == {Break.INSIDE}


def test_heading_paths() -> None:
    found = structure(DOCUMENT)
    assert [(h.level, h.path) for h in found.headings] == [
        (1, "Guide"),
        (2, "Guide > Install"),
        (3, "Guide > Install > 使い方"),
    ]
    assert found.path_at(0) == ""
    assert found.path_at(DOCUMENT.index("# Guide")) == "Guide"
    assert found.path_at(DOCUMENT.index("make all")) == "Guide > Install"


def test_a_heading_closes_those_at_or_below_its_level() -> None:
    text = "# A\n\n### B\n\n## C\n\n#\n\n# D\n\n####### seven\n"
    assert [h.path for h in structure(text).headings] == ["A", "A > B", "A > C", "", "D"]


def test_an_unclosed_fence_runs_to_the_end() -> None:
    text = "start\n\n~~~~\n# code\n\n~~~\n\n# code too"
    assert structure(text).headings == []
    assert breaks(text)["#"] == Break.PROTECTED_LINE


def test_a_title_is_bounded() -> None:
    assert len(structure("# " + "long " * 1000).headings[0].path) == 200

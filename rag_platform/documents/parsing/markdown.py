"""Markdown with optional front matter, YAML or TOML; the front matter becomes metadata."""

import re
from collections.abc import Iterator
from typing import Any, Final

from rag_platform.documents.parsing.result import Kind, Parsed, bounded_metadata
from rag_platform.documents.parsing.text import decode, normalise

MAX_FRONT_MATTER: Final = 64 * 1024
MAX_YAML_EVENTS: Final = 5_000
FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S | re.M)
TOML_FRONT_MATTER: Final = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.S | re.M)
FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
CODE_OR_COMMENT: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})|(?P<ticks>`+)|(?P<comment><!--)", re.MULTILINE
)
MAX_INLINE_CODE: Final = 1_000
TOP_HEADING: Final = re.compile(r"# +(.+?)[ \t#]*(?:\{[^}]*\}[ \t]*)?\Z")


class FrontMatterRefused(Exception):
    """The front matter is not plain YAML or TOML: it stays in the text."""


def parse_markdown(data: bytes) -> Parsed:
    """The body as it stands, without HTML comments, which no reader sees; the top-level scalars of
    the front matter as metadata.

    Front matter that is broken, over 64 KiB or uses aliases stays in the text, and the entry
    `front_matter_error` says why: a document is never lost for it.
    """
    text = normalise(decode(data))
    metadata: dict[str, str] = {}
    is_toml = text.startswith("+++")
    found = (TOML_FRONT_MATTER if is_toml else FRONT_MATTER).match(text)
    if found is not None:
        try:
            metadata = (read_toml if is_toml else read_front_matter)(found[1])
            text = text[found.end() :].lstrip("\n")
        except FrontMatterRefused as refused:
            metadata = {"front_matter_error": str(refused)}
    text, hidden = without_comments(text)
    if hidden:
        metadata = {"hidden_characters": str(hidden), **metadata}
    title = metadata.pop("title", "") or first_heading(text)
    return Parsed(
        text=text,
        title=" ".join(title.split())[:500],
        media_type=Kind.MARKDOWN,
        metadata=bounded_metadata(metadata),
    )


def read_front_matter(yaml_text: str) -> dict[str, str]:
    """Top-level scalars, and sequences of scalars joined with commas, as they are written.

    Reads YAML events and builds no objects: no tag is resolved, nesting costs no stack, and an
    alias is refused before anything could expand. Raises `FrontMatterRefused`.
    """
    if len(yaml_text) > MAX_FRONT_MATTER:
        raise FrontMatterRefused(f"front matter over {MAX_FRONT_MATTER:,} characters")
    import yaml

    try:
        return _scalars(yaml_text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise FrontMatterRefused(f"not YAML: {reason}") from error


def read_toml(text: str) -> dict[str, str]:
    """Top-level scalars, and arrays of scalars joined with commas. Raises `FrontMatterRefused`."""
    import tomllib

    if len(text) > MAX_FRONT_MATTER:
        raise FrontMatterRefused(f"front matter over {MAX_FRONT_MATTER:,} characters")
    try:
        read = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrontMatterRefused(f"not TOML: {' '.join(str(error).split())[:200]}") from error
    listed = {key: value if isinstance(value, list) else [value] for key, value in read.items()}
    return {
        key: ", ".join(str(value).strip() for value in values if not isinstance(value, dict | list))
        for key, values in listed.items()
    }


def _scalars(yaml_text: str) -> dict[str, str]:
    import yaml

    events = _checked_events(yaml_text)
    prologue = (yaml.StreamStartEvent, yaml.DocumentStartEvent)
    first = next(event for event in events if not isinstance(event, prologue))
    if isinstance(first, yaml.StreamEndEvent):
        return {}
    if not isinstance(first, yaml.MappingStartEvent):
        raise FrontMatterRefused("not a YAML mapping")
    entries: dict[str, str] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent):
            raise FrontMatterRefused("a YAML key is not a scalar")
        entries[key.value] = ", ".join(filter(None, _value(next(events), events)))
    for _ in events:  # an error further down counts, too
        pass
    return entries


def _checked_events(yaml_text: str) -> Iterator[Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for count, event in enumerate(yaml.parse(yaml_text, Loader=loader)):
        if count > MAX_YAML_EVENTS:
            raise FrontMatterRefused(f"more than {MAX_YAML_EVENTS:,} YAML events")
        if isinstance(event, yaml.AliasEvent):
            raise FrontMatterRefused("YAML aliases are not read")
        yield event


def _value(first: Any, events: Iterator[Any]) -> list[str]:
    """A scalar, or the scalars directly in a sequence; what is nested deeper is passed over."""
    import yaml

    if isinstance(first, yaml.ScalarEvent):
        return [first.value]
    values: list[str] = []
    depth = 1
    while depth:
        event = next(events)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif depth == 1 and isinstance(first, yaml.SequenceStartEvent):
            values.append(event.value)
    return values


def without_comments(text: str) -> tuple[str, int]:
    """Markdown without the HTML comments outside its code, and how many characters they held.

    A comment that does not end is none; neither is one in a line indented as code.
    """
    if "<!--" not in text:
        return text, 0
    kept: list[str] = []
    hidden = position = 0
    last_end = text.rfind("-->")
    while (mark := CODE_OR_COMMENT.search(text, position)) is not None and mark.start() < last_end:
        end = _end_of_code(text, mark) if mark["comment"] is None else mark.end()
        if mark["comment"] is not None and not _is_indented(text, mark.start()):
            end = text.find("-->", mark.end()) + 3
            if end < 3:
                break
            hidden += len(text[mark.end() : end - 3].strip())
            kept.append(text[position : mark.start()])
        else:
            kept.append(text[position:end])
        position = end
    return "".join([*kept, text[position:]]), hidden


def _end_of_code(text: str, mark: re.Match[str]) -> int:
    """Where a fence or an inline piece of code ends; an inline one that does not end is none."""
    if mark["fence"]:
        closing = re.compile(rf"^ {{0,3}}{re.escape(mark['fence'])}+[ \t]*$", re.MULTILINE)
        found = closing.search(text, mark.end())
        return found.end() if found else len(text)
    line_end = text.find("\n\n", mark.end(), mark.end() + MAX_INLINE_CODE)
    limit = line_end if line_end > 0 else mark.end() + MAX_INLINE_CODE
    closed = re.compile(f"(?<!`){mark['ticks']}(?!`)").search(text, mark.end(), limit)
    return closed.end() if closed else mark.end()


def _is_indented(text: str, position: int) -> bool:
    before = text[text.rfind("\n", 0, position) + 1 : position]
    return before.isspace() and ("\t" in before or len(before) >= 4)


def first_heading(text: str) -> str:
    """The first `# heading` outside code fences among the first 200 lines; empty without one."""
    fence = ""
    for line in text.split("\n", 200)[:200]:
        marker = FENCE.match(line)
        if marker is not None and (not fence or marker[1].startswith(fence)):
            fence = "" if fence else marker[1]
        elif not fence and (heading := TOP_HEADING.match(line[:1_000])):
            return heading[1].strip()
    return ""

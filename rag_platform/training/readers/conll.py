"""Sentences of CoNLL files: a token and its tag a line."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.messages import unit_of
from rag_platform.training.rows import DataFile
from rag_platform.training.tables import read_text
from rag_platform.training.tasks.spans import Span

SUFFIXES = (".conll", ".iob", ".bio")
_DOCUMENT = "-DOCSTART-"
# With fewer documents in a file, whole documents cannot be told apart by: a fifth of five may be
# none, or the half of all sentences, and two folds in three would know no document like theirs.
MIN_DOCUMENTS = 20
# Then so many sentences that follow each other are a group. What they repeat (the parties of a
# contract) is mostly near, so most of it stays on one side; figures are still too good for texts
# from other documents.
BLOCK = 5
# By so many of its first sentences a document is known.
_KNOWN_BY = 5


@dataclass(frozen=True, slots=True)
class Sentence:
    """Tokens, the entities over them (positions of tokens, end exclusive), and their group."""

    tokens: list[str]
    entities: tuple[Span, ...]
    group: str


def is_conll(file: DataFile) -> bool:
    """Whether a file's name says that it is of this form."""
    return file.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def sentences(file: DataFile) -> Iterator[Sentence]:
    """The sentences of a file in their order. Raises `UnusableData` for lines of another form."""
    documents = _documents(file)
    for document in documents:
        start = "\n".join(" ".join(token for token, _ in lines) for lines in document[:_KNOWN_BY])
        name = unit_of(start)
        for at, lines in enumerate(document):
            group = name if len(documents) >= MIN_DOCUMENTS else f"{name}/{at // BLOCK}"
            yield Sentence([token for token, _ in lines], _entities(lines), group)


Lines = list[tuple[str, str]]


def _documents(file: DataFile) -> list[list[Lines]]:
    documents: list[list[Lines]] = [[]]
    lines: Lines = []
    for number, line in enumerate(itertools.chain(read_text(file).split("\n"), [""]), start=1):
        columns = line.split()
        if columns and columns[0] != _DOCUMENT:
            if len(columns) < 2 or not _is_tag(columns[-1]):
                raise UnusableData(
                    f"{file.name[:100]!r}: line {number:,} is no token with a tag (O, I-NAME, "
                    "B-NAME) in the last column."
                )
            lines.append((columns[0], columns[-1]))
            continue
        if lines:
            documents[-1].append(lines)
            lines = []
        if columns and documents[-1]:
            documents.append([])
    return [document for document in documents if document]


def _is_tag(tag: str) -> bool:
    return tag == "O" or (tag[:2] in ("B-", "I-", "E-", "S-") and len(tag) > 2)


def _entities(lines: Lines) -> tuple[Span, ...]:
    """Runs of tokens with one label; a tag B or S begins an entity, E or S ends one."""
    found: list[Span] = []
    is_open = False
    for at, (_, tag) in enumerate(lines):
        label = tag[2:]
        if not label:
            is_open = False
            continue
        if is_open and tag[0] in "IE" and found[-1].label == label:
            found[-1] = Span(found[-1].start, at + 1, label)
        else:
            found.append(Span(at, at + 1, label))
        is_open = tag[0] in "BI"
    return tuple(found)

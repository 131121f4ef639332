"""Precision and recall of people and organizations on texts whose names were marked by people."""

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rag_platform.encoders.sentences import sentences
from rag_platform.enrichment.nlp.names import people_and_organizations

Marked = tuple[str, dict[str, set[str]]]  # a text, and its names by kind

# Tokens as they stand in text.
_WRITTEN = (
    *((f" {mark}", mark) for mark in (",", ".", "'s")),
    *(("( ", "("), (" )", ")"), (" n't", "n't"), (" ;", ";"), (" :", ":")),
    *(("`` ", '"'), (" ''", '"')),
)

PEOPLE, ORGANIZATIONS = "people", "organizations"


def name_scores(folder: Path, reported: Callable[[str], bool]) -> dict[str, Any]:
    """The figures of each set in the folder, on the texts that are `reported`."""
    sets = {
        "ner_sec_filings (WikiGold)": wikigold(folder / "ner_sec_filings" / "wikigold.conll.gz"),
        "ner_fire": fire(folder / "ner_fire" / "dev.jsonl.gz"),
        "ner_finentity": finentity(folder / "ner_finentity" / "finentity_dev.jsonl.gz"),
    }
    return {
        name: _scores(pair for pair in pairs if reported(pair[0])) for name, pairs in sets.items()
    }


def wikigold(path: Path) -> Iterator[Marked]:
    """Articles; a run of tokens with one tag is one name."""
    kinds = {"I-PER": PEOPLE, "I-ORG": ORGANIZATIONS}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        articles = file.read().split("-DOCSTART-")
    for article in articles:
        lines = [
            [tuple(line.split(" ")) for line in sentence.splitlines() if line.count(" ") == 1]
            for sentence in article.split("\n\n")
        ]
        lines = [sentence for sentence in lines if len(sentence) > 1]
        marked: dict[str, set[str]] = {PEOPLE: set(), ORGANIZATIONS: set()}
        for sentence in lines:
            run: list[str] = []
            for (token, tag), (_, after) in zip(sentence, [*sentence[1:], ("", "O")], strict=True):
                run.append(token)
                if tag != after:
                    if tag in kinds:
                        marked[kinds[tag]].add(_joined(run))
                    run = []
        if lines:
            yield "\n\n".join(_joined([token for token, _ in each]) for each in lines), marked


def fire(path: Path) -> Iterator[Marked]:
    """Passages of business text."""
    kinds = {"Person": PEOPLE, "Company": ORGANIZATIONS}
    for row in _rows(path):
        marked: dict[str, set[str]] = {PEOPLE: set(), ORGANIZATIONS: set()}
        for entity in row["entities"]:
            if entity["type"] in kinds:
                tokens = row["tokens"][entity["start"] : entity["end"]]
                marked[kinds[entity["type"]]].add(_joined(tokens))
        yield _joined(row["tokens"]), marked


def finentity(path: Path) -> Iterator[Marked]:
    """Paragraphs of financial news; only companies are marked."""
    for row in _rows(path):
        yield row["content"], {ORGANIZATIONS: {each["value"] for each in row["annotations"]}}


def _scores(pairs: Iterable[Marked]) -> dict[str, Any]:
    counts = {
        kind: {"found": 0, "right": 0, "named": 0, "hit": 0} for kind in (PEOPLE, ORGANIZATIONS)
    }
    for text, marked in pairs:
        found = people_and_organizations(sentences(text))
        for kind, names in zip((PEOPLE, ORGANIZATIONS), found, strict=True):
            if kind not in marked:
                continue
            wanted = {_plain(name) for name in marked[kind]}
            whole = {
                name
                for name in wanted
                if not any(name != other and f" {other} ".endswith(f" {name} ") for other in wanted)
            }
            said = {_plain(name) for name in names}
            count = counts[kind]
            count["found"] += len(said)
            count["right"] += len(said & wanted)
            count["named"] += len(whole)
            count["hit"] += len(said & whole)
    return {
        kind: {
            "precision": count["right"] / count["found"],
            "recall": count["hit"] / count["named"],
            "found": count["found"],
            "named": count["named"],
        }
        for kind, count in counts.items()
        if count["named"]
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _joined(tokens: Iterable[str]) -> str:
    text = " ".join(tokens)
    for token, written in _WRITTEN:
        text = text.replace(token, written)
    return text


def _plain(name: str) -> str:
    """A name without case, punctuation, articles and forms of address."""
    words = re.findall(r"\w+", name.casefold())
    while words and words[0] in ("the", "mr", "mrs", "ms", "dr", "messrs"):
        words = words[1:]
    return " ".join(words)

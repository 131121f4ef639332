"""A folder of documents that tests change, with texts that look like documentation."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

_SUBJECTS = (
    "pump",
    "valve",
    "sensor",
    "gateway",
    "relay",
    "filter",
    "turbine",
    "boiler",
    "meter",
    "controller",
)
_VERBS = (
    "measures",
    "opens",
    "closes",
    "reports",
    "drives",
    "cools",
    "heats",
    "checks",
    "restarts",
    "protects",
)
_OBJECTS = (
    "pressure",
    "flow",
    "voltage",
    "inlet",
    "outlet",
    "drain",
    "casing",
    "bearing",
    "housing",
    "supply",
)
_TAILS = (
    "before the shift ends",
    "when the alarm sounds",
    "twice a day",
    "under full load",
    "as the manual says",
    "without an operator",
    "after each restart",
    "at low temperature",
)
# 2026-06-01, so that every change of a test has a time of its own, in the past and whole.
_FIRST_SECOND = 1_780_272_000


def paragraph(dice: random.Random, sentences: int = 4) -> str:
    """Some sentences on one line."""
    parts = []
    for _ in range(sentences):
        words = (dice.choice(_SUBJECTS), dice.choice(_VERBS), dice.choice(_OBJECTS))
        parts.append(f"The {words[0]} {words[1]} the {words[2]} {dice.choice(_TAILS)}.")
    return " ".join(parts)


def sections(seed: int, count: int = 4, paragraphs: int = 2) -> list[tuple[str, list[str]]]:
    """Headings with their paragraphs; the same for the same seed."""
    dice = random.Random(seed)
    return [
        (
            f"{dice.choice(_SUBJECTS).title()} {seed}.{number}",
            [paragraph(dice) for _ in range(paragraphs)],
        )
        for number in range(1, count + 1)
    ]


def article(seed: int, count: int = 4, paragraphs: int = 2) -> str:
    """A Markdown document of several chunks."""
    lines = [f"# Station {seed}"]
    for heading, texts in sections(seed, count, paragraphs):
        lines += [f"## {heading}", *texts]
    return "\n\n".join(lines) + "\n"


def web_page(seed: int, count: int = 4) -> str:
    """The text of `article(seed)` as a web page, with things around it that are not the text."""
    body = [f"<h1>Station {seed}</h1>"]
    for heading, texts in sections(seed, count):
        body += [f"<h2>{heading}</h2>", *(f"<p>{text}</p>" for text in texts)]
    return (
        f"<!doctype html><html lang=en><head><title>Station {seed}</title></head><body>"
        f"<nav><a href=/>Home</a> <a href=/all>All</a></nav><main>{''.join(body)}</main>"
        "<footer>All rights reserved</footer></body></html>"
    )


def broken_pdf(seed: int) -> bytes:
    """A PDF that no parser can open."""
    return f"%PDF-1.7 broken {seed}".encode()


class Folder:
    """Documents by key. Each write gets a later modification time than the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._second = _FIRST_SECOND
        root.mkdir(parents=True, exist_ok=True)

    def write(self, key: str, content: str | bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.touch(key)

    def touch(self, key: str) -> None:
        self._second += 1
        os.utime(self.root / key, (self._second, self._second))

    def read(self, key: str) -> str:
        return (self.root / key).read_text(encoding="utf-8")

    def replace(self, key: str, old: str, new: str) -> None:
        text = self.read(key)
        assert text.count(old) == 1
        self.write(key, text.replace(old, new))

    def rename(self, old: str, new: str) -> None:
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        (self.root / old).rename(self.root / new)

    def copy(self, old: str, new: str) -> None:
        self.write(new, (self.root / old).read_bytes())

    def remove(self, *keys: str) -> None:
        for key in keys:
            (self.root / key).unlink()

    def names(self) -> list[str]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.root).as_posix() for path in files)

    def files(self) -> Iterator[tuple[str, bytes, int]]:
        """Key, bytes and modification time of every document."""
        for key in self.names():
            path = self.root / key
            yield key, path.read_bytes(), int(path.stat().st_mtime)


def fill(folder: Folder) -> None:
    """A small realistic corpus: long and short, nested, HTML, copies, an empty one."""
    folder.write("guide/start.md", article(1, count=6))
    folder.write("guide/install.md", article(2))
    folder.write("guide/copy-of-install.md", article(2))
    folder.write("reference/pumps.md", article(3, count=3))
    folder.write("reference/valves.html", web_page(4))
    folder.write("notes/short.txt", "One line about the north gate.\n")
    folder.write("notes/empty.md", "")

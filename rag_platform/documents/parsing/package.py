"""The zip archive of an office file or a book: parts read as streams, bombs and entities refused.

Every part is inflated through a counter, so a bomb is refused before a parser holds it. A document
type declaration is refused outright: office programs write none into what is read here, and
without it there are no entities to expand or to fetch.
"""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final
from urllib.parse import unquote

from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform.documents.parsing.text import normalise

MAX_MEMBERS: Final = 20_000
CORE_PROPERTIES: Final = {
    "title": "title",
    "creator": "author",
    "subject": "description",
    "keywords": "keywords",
    "language": "language",
    "created": "date",
    "modified": "modified",
}


@dataclass
class Package:
    """The opened archive, the names in it, and the bytes inflated so far of those allowed."""

    archive: zipfile.ZipFile
    names: frozenset[str]
    limit: int
    inflated: int = 0

    def open(self, name: str) -> "CountingReader":
        """A part as a stream that counts against the limit of the whole archive."""
        return CountingReader(self.archive.open(name), self)

    def read(self, name: str) -> bytes:
        """A whole part."""
        reader = self.open(name)
        return b"".join(iter(lambda: reader.read(1 << 16), b""))


class CountingReader(io.RawIOBase):
    """Inflates a member while counting over all members; refuses beyond the limit."""

    def __init__(self, member: IO[bytes], package: Package) -> None:
        self.member = member
        self.package = package

    def read(self, size: int = -1) -> bytes:
        data = self.member.read(min(size, 1 << 16) if size > 0 else 1 << 16)
        self.package.inflated += len(data)
        if self.package.inflated > self.package.limit:
            raise ParseRefused(
                Reason.INFLATES, f"inflates to over {self.package.limit:,} bytes; refused"
            )
        return data


@contextmanager
def opened(data: bytes, limits: ParseLimits, name: str) -> Iterator[Package]:
    """The package for the time of its parsing; `name` is the format, for messages.

    What goes wrong inside becomes `corrupt` (damaged archive or XML), `encrypted` or `inflates`.
    """
    from lxml import etree

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) > MAX_MEMBERS:
                raise ParseRefused(
                    Reason.INFLATES, f"{len(names):,} members in the archive; refused"
                )
            yield Package(archive, frozenset(names), limits.max_inflated_bytes)
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("libxml2 ran out of memory") from error
        line, column = error.position  # what it says quotes the document
        where = f"line {line:,}, column {column:,}"
        raise ParseRefused(Reason.CORRUPT, f"broken XML in the {name}: {where}") from error
    except zipfile.BadZipFile as error:
        raise ParseRefused(Reason.CORRUPT, f"not readable as {name}: damaged archive") from error
    except (zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise ParseRefused(Reason.CORRUPT, f"not readable as {name}: {error}") from error
    except RuntimeError as error:
        if "encrypted" in str(error) or "password" in str(error):
            raise ParseRefused(Reason.ENCRYPTED, f"the {name} archive needs a password") from error
        raise


def elements(
    package: Package,
    name: str,
    wanted: frozenset[str] | None = None,
    *,
    doctype: bool = False,
) -> Iterator[Any]:
    """Elements of a part as they end; the outermost wanted ones are freed after use.

    With `doctype` a document type may be declared, but no entity in it.
    """
    from lxml import etree

    events = etree.iterparse(
        package.open(name),
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=False,
    )
    open_wanted = 0
    root = None
    for event, element in events:
        part = local(element)
        if event == "start":
            if root is None:
                root = element
                _refuse_entities(element, name, doctype=doctype)
            open_wanted += wanted is not None and part in wanted
        elif wanted is None:
            yield element
        elif part in wanted:
            open_wanted -= 1
            if open_wanted == 0:
                yield element
                _free(element)


def _refuse_entities(root: Any, name: str, *, doctype: bool) -> None:
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and (not doctype or any(True for _ in declared.iterentities())):
        raise ParseRefused(Reason.HOSTILE_XML, f"{name} declares a document type; refused")


def _free(element: Any) -> None:
    """From the leaves up: to clear a large subtree at once takes lxml quadratic time."""
    parent = element.getparent()
    for each in reversed([element, *element.iterdescendants()]):
        each.clear()
    if parent is not None:
        while element.getprevious() is not None:
            parent.remove(element.getprevious())


def local(element: Any) -> str:
    """The name of an element without its namespace; empty for what is no element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """An attribute by local name: transitional and strict files differ in the namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def descend(element: Any, *path: str) -> Any:
    """The first descendant along a path of local names, or None."""
    for name in path:
        element = next((child for child in element if local(child) == name), None)
        if element is None:
            return None
    return element


def value(element: Any, *path: str) -> str:
    """The `val` of the descendant along a path; empty where there is none."""
    found = descend(element, *path)
    return "" if found is None else attribute(found, "val")


@dataclass(frozen=True)
class Relation:
    """What an Office part refers to: the name of a part in the same package."""

    id: str
    type: str
    target: str


def relations(package: Package, part: str) -> list[Relation]:
    """The existing parts that an Office part ("": the package) refers to; `type` is a short name,
    like `slide`."""
    folder, _, base = part.rpartition("/")
    name = posixpath.join(folder, "_rels", f"{base}.rels")
    if name not in package.names:
        return []
    found = [
        Relation(
            attribute(element, "Id"),
            attribute(element, "Type").rpartition("/")[2],
            inside(folder, attribute(element, "Target")),
        )
        for element in elements(package, name)
        if local(element) == "Relationship" and attribute(element, "TargetMode") != "External"
    ]
    return [relation for relation in found if relation.target in package.names]


def inside(folder: str, target: str) -> str:
    """The member that a relative or absolute reference from a folder of the archive names."""
    target = unquote(target.partition("#")[0])
    return posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")


def core_properties(package: Package) -> dict[str, str]:
    """Title, author, dates and the like of an Office package."""
    if "docProps/core.xml" not in package.names:
        return {}
    found: dict[str, str] = {}
    for element in elements(package, "docProps/core.xml"):
        name = CORE_PROPERTIES.get(local(element))
        if name and element.text:
            found[name] = normalise(element.text)
    return found

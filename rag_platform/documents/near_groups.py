"""Groups of texts that are alike, kept right while texts come and go."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

# A text that so many others share a band with, and are not alike enough, is compared with no more:
# thousands of pages made of one template would be compared each with each.
_MOST_FAILURES = 500

Alike = Callable[[str, list[str]], Iterator[bool]]


class Components:
    """Disjoint sets of names that are united pair by pair."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        """One name that stands for the set, until it is united with another."""
        while (parent := self._parent[name]) != name:
            self._parent[name] = self._parent[parent]  # paths are halved on the way
            name = parent
        return name

    def unite(self, names: Collection[str]) -> None:
        """Make one set of the sets of these names."""
        roots = {self.root(name) for name in names}
        if roots:
            least = min(roots)
            for root in roots:
                self._parent[root] = least

    def sets(self) -> list[list[str]]:
        """All sets."""
        found: dict[str, list[str]] = {}
        for name in self._parent:
            found.setdefault(self.root(name), []).append(name)
        return list(found.values())


def unite_alike(
    joined: Components, buckets: Iterable[Collection[str]], unsure: set[str], alike: Alike
) -> None:
    """Unite those of the texts of each bucket that are alike.

    Only the `unsure` are compared, with one text after the other of each other set, until one is
    alike: what is united already is not compared. `alike(text, others)` tells of one after the
    other. Small buckets come first: what few texts share says more than what thousands do.
    """
    failures: Counter[str] = Counter()
    failed: set[tuple[str, str]] = set()
    for bucket in sorted(map(sorted, buckets), key=lambda texts: (len(texts), texts)):
        sets: dict[str, list[str]] = {}
        for text in bucket:
            if text not in unsure:
                sets.setdefault(joined.root(text), []).append(text)
        for text in bucket:
            if text in unsure:
                _place(text, sets, joined, alike, failures, failed)


def _place(
    text: str,
    sets: dict[str, list[str]],
    joined: Components,
    alike: Alike,
    failures: "Counter[str]",
    failed: set[tuple[str, str]],
) -> None:
    """Find the sets of a bucket that an unsure text belongs to, and make one of them."""
    mine = joined.root(text)
    belongs = [mine]
    for root, others in sets.items():
        if root == mine:
            continue
        untried = [other for other in others if (text, other) not in failed]
        for other, is_alike in zip(untried, alike(text, untried), strict=False):
            if is_alike:
                belongs.append(root)
                break
            failed |= {(text, other), (other, text)}
            failures[text] += 1
            if failures[text] >= _MOST_FAILURES:
                break
        if failures[text] >= _MOST_FAILURES:
            break
    joined.unite(belongs)
    together = [text]
    for root in belongs:
        together += sets.pop(root, [])
    sets[joined.root(text)] = together

"""Which keys belong to a source."""

from dataclasses import dataclass


class Patterns:
    """Patterns as in .gitignore, over keys."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        import pathspec

        # Its faster backends, taken where they are installed, refuse names that are not UTF-8.
        self._spec = pathspec.GitIgnoreSpec.from_lines(lines, backend="simple")

    def __contains__(self, key: str) -> bool:
        found: bool = self._spec.match_file(key)
        return found


@dataclass(frozen=True)
class Selection:
    """Which keys belong to a source: patterns as in .gitignore."""

    include: Patterns
    exclude: Patterns
    # Where a pattern takes back what another excludes, nothing is known of a folder as a whole.
    prunes: bool

    @classmethod
    def of(cls, include: tuple[str, ...], exclude: tuple[str, ...]) -> "Selection":
        """Compile the patterns."""
        prunes = not any(pattern.startswith("!") for pattern in exclude)
        return cls(Patterns(include), Patterns(exclude), prunes)

    def __contains__(self, key: str) -> bool:
        return key in self.include and key not in self.exclude

    def may_enter(self, folder: str) -> bool:
        """Whether anything below a folder (its key, with a slash at its end) may belong."""
        return not (self.prunes and folder in self.exclude)

"""Who asks, and what they may find: limits on a search that its filters cannot widen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Reader:
    """A tenant, and the tags of the groups that the reader is in.

    A point is found when it is the tenant's and carries one of the tags, or is for everybody. One
    without tags is found by nobody.
    """

    tenant: str
    groups: tuple[str, ...] = ()

    @property
    def limits(self) -> Mapping[str, Sequence[str]]:
        """The filters that every search of this reader is under."""
        return {"tenant": [self.tenant], "acl": [EVERYBODY, *self.groups]}


@dataclass(frozen=True, slots=True)
class System:
    """The platform itself, where it measures or maintains what it holds for others."""

    @property
    def limits(self) -> Mapping[str, Sequence[str]]:
        """None."""
        return {}


EVERYTHING = System()

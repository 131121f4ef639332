"""A contestant's folder and state between the cases; every step is a process of its own."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from contestant import Contestant, Embedder, Recipe

SIDES = {
    "langchain": ("with_langchain", "LangChain"),
    "llamaindex": ("with_llama_index", "LlamaIndex"),
    "cocoindex": ("with_cocoindex", "CocoIndex"),
}
EVERYTHING = 5000  # more passages than the small corpus has
MARK = "Zanzibar lighthouse keepers calibrate their telemetry at dusk."


Contents = Counter[tuple[str, str]]


class TroubledEmbedder(Embedder):
    """Dies, or takes the process with it, before it has embedded more than `limit` texts."""

    def __init__(self, dimensions: int, *, limit: int, kill: bool, paid: Path) -> None:
        super().__init__(dimensions)
        self._limit = limit
        self._kill = kill
        self._paid = paid

    def before_call(self, texts: int) -> None:
        """Write down what has been paid for; then trouble, if it is time."""
        self._paid.write_text(str(self.texts), encoding="utf-8")
        if self.texts + texts <= self._limit:
            return
        if self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ConnectionError("the embedder is down")


@dataclass(frozen=True)
class Order:
    """What a child process is asked to do: sync (or not) and tell what is searchable."""

    side: str
    folder: str
    state: str
    recipe: Recipe
    sync: bool = True
    limit: int | None = None
    kill: bool = False


@dataclass(frozen=True)
class Answer:
    """What a child process did. `failed` is its error in one line, if it ended in one."""

    embedded: int
    contents: Contents
    failed: str = ""


def contestant_of(side: str) -> type[Contestant]:
    """The class behind a name; imported only in the process that runs it."""
    module, name = SIDES[side]
    found: type[Contestant] = getattr(importlib.import_module(module), name)
    return found


def child(orders: list[Order]) -> None:
    """Run the orders in this process; prints one line of JSON."""
    print("\n" + json.dumps([_obey(order) for order in orders]))


def _obey(order: Order) -> dict[str, object]:
    state = Path(order.state)
    state.mkdir(parents=True, exist_ok=True)
    embedder = _embedder(order, state)
    entrant = contestant_of(order.side)(state, embedder, order.recipe)
    failed = ""
    if order.sync:
        try:
            entrant.sync(Path(order.folder))
        except Exception as error:  # whatever a contestant raises is its answer
            failed = f"{type(error).__name__}: {error}".splitlines()[0][:120]
    hits, lost = _search_all(entrant)
    return {"embedded": embedder.texts, "hits": hits, "failed": failed or lost}


def _embedder(order: Order, state: Path) -> Embedder:
    dimensions = order.recipe.dimensions
    if order.limit is None:
        return Embedder(dimensions)
    paid = _paid_file(state)
    return TroubledEmbedder(dimensions, limit=order.limit, kill=order.kill, paid=paid)


def _search_all(entrant: Contestant) -> tuple[list[tuple[str, str]], str]:
    try:
        return [(hit.path, hit.text) for hit in entrant.search(MARK, EVERYTHING)], ""
    except Exception as error:  # an index that cannot be searched holds nothing
        return [], f"search: {type(error).__name__}: {error}".splitlines()[0][:120]


def _paid_file(state: Path) -> Path:
    return state.with_name(f"{state.name}.paid")


@dataclass
class Stage:
    """A contestant's folder and state between the cases."""

    side: str
    work: Path
    recipe: Recipe = field(default_factory=Recipe)
    embedded_once: set[tuple[int, str]] = field(default_factory=set)
    controls: int = 0

    @property
    def folder(self) -> Path:
        return self.work / "corpus"

    @property
    def state(self) -> Path:
        return self.work / "state"

    def page(self, number: int) -> Path:
        """The page with that number, in the order of their names."""
        return sorted(self.folder.glob("*.md"))[number]

    def order(self, **changes: object) -> Order:
        """What to ask for, the folder, state and recipe being those of the stage."""
        order = Order(self.side, str(self.folder), str(self.state), self.recipe)
        return replace(order, **changes)  # type: ignore[arg-type]

    def control(self) -> Order:
        """A new index of the folder as it is now."""
        self.controls += 1
        return self.order(state=str(self.work / f"control{self.controls}"))

    def ask(self, **changes: object) -> Answer:
        """Let the contestant do it in a process of its own."""
        return ask([self.order(**changes)])[0]

    def fresh(self) -> Contents:
        """What is searchable in a new index of the folder as it is now."""
        return ask([self.control()])[0].contents

    def needed(self, wanted: Contents) -> int:
        """Passages in `wanted` that were never embedded before; they count as embedded now."""
        texts = {(self.recipe.dimensions, text) for _, text in wanted}
        missing = texts - self.embedded_once
        self.embedded_once |= texts
        return len(missing)


def ask(orders: list[Order]) -> list[Answer]:
    """Let one new process obey the orders; a process that is killed answers for the first."""
    told = json.dumps([asdict(order) for order in orders])
    command = [sys.executable, __file__, told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGKILL:
        paid = int(_paid_file(Path(orders[0].state)).read_text(encoding="utf-8"))
        return [Answer(paid, Counter(), "killed")]
    if done.returncode != 0:
        raise RuntimeError(f"{orders[0].side}: {done.stderr[-2000:]}")
    return [
        Answer(
            row["embedded"],
            Counter((path, text) for path, text in row["hits"]),
            row["failed"],
        )
        for row in json.loads(done.stdout.splitlines()[-1])
    ]


def differences(found: Contents, wanted: Contents) -> str:
    """What is wrong with `found`, in words; empty when nothing is."""
    told = []
    lost = {key for key in wanted if key not in found}
    stale = {key for key in found if key not in wanted}
    doubled = {key for key in found if key in wanted and found[key] > wanted[key]}
    for name, keys in (("lost", lost), ("stale", stale), ("doubled", doubled)):
        if keys:
            told.append(f"{len(keys)} {name}")
    return ", ".join(told)


def child_main(told: str) -> None:
    """Obey the orders in `told`, the JSON that `ask` hands to its child."""
    child([Order(**{**order, "recipe": Recipe(**order["recipe"])}) for order in json.loads(told)])


if __name__ == "__main__":
    child_main(sys.argv[1])

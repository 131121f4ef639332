"""A contestant's folder and state between the cases; every step is a process of its own."""

import importlib
import json
import os
import shutil
import signal
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import children
from contestant import Contestant, Embedder, Recipe, versions

OURS = {"rag_platform": ("ours", "RagPlatform")}
PEERS = {
    "langchain": ("with_langchain", "LangChain"),
    "llamaindex": ("with_llama_index", "LlamaIndex"),
    "cocoindex": ("with_cocoindex", "CocoIndex"),
}
SIDES = OURS | PEERS
LIMIT_S = 300.0
EVERYTHING = 5000  # more passages than the small corpus has
MARK = "Zanzibar lighthouse keepers calibrate their telemetry at dusk."

Contents = Counter[tuple[str, str]]


class NoAnswer(Exception):
    """A contestant's process hung or broke down; says so in one line."""


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
    """What a child process is asked to do, in this order, before it tells what is searchable."""

    side: str
    folder: str
    state: str
    recipe: Recipe
    lose_vectors: bool = False
    sync: bool = True
    repair: bool = False
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


def _obey(order: Order) -> dict[str, object]:
    state = Path(order.state)
    state.mkdir(parents=True, exist_ok=True)
    embedder = _embedder(order, state)
    entrant = contestant_of(order.side)(state, embedder, order.recipe)
    failed = ""
    try:
        if order.lose_vectors:
            shutil.rmtree(entrant.vectors)
        if order.sync:
            entrant.sync(Path(order.folder))
        if order.repair:
            entrant.repair()
    except Exception as error:  # whatever a contestant raises is its answer
        failed = _line(error, state)
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
        return [], f"search: {_line(error, entrant.state)}"


def _line(error: Exception, state: Path) -> str:
    """An error in one line, without the folder that the stage happens to stand in."""
    return f"{type(error).__name__}: {error}".replace(f"{state.parent}/", "").splitlines()[0][:150]


def _paid_file(state: Path) -> Path:
    return state.with_name(f"{state.name}.paid")


@dataclass
class Stage:
    """A contestant's folder and state between the cases; `python` is its interpreter."""

    side: str
    work: Path
    python: str
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

    def ask(self, **changes: object) -> Answer:
        """Let the contestant do it in a process of its own."""
        order = self.order(**changes)
        done = _child(self.python, "obey", json.dumps(asdict(order)))
        if done.returncode == -signal.SIGKILL and order.kill:
            paid = int(_paid_file(Path(order.state)).read_text(encoding="utf-8"))
            return Answer(paid, Counter(), "killed")
        row = json.loads(_last_line(done))
        return Answer(row["embedded"], Counter(map(tuple, row["hits"])), row["failed"])

    def fresh(self) -> Contents:
        """What is searchable in a new index of the folder as it is now."""
        self.controls += 1
        answer = self.ask(state=str(self.work / f"control{self.controls}"))
        if answer.failed:
            raise NoAnswer(f"a new index fails: {answer.failed}")
        return answer.contents

    def needed(self, wanted: Contents) -> int:
        """Passages in `wanted` that were never embedded before; they count as embedded now."""
        texts = {(self.recipe.dimensions, text) for _, text in wanted}
        missing = texts - self.embedded_once
        self.embedded_once |= texts
        return len(missing)

    def versions(self) -> dict[str, str]:
        """The contestant's packages as installed."""
        installed: dict[str, str] = json.loads(
            _last_line(_child(self.python, "versions", self.side))
        )
        return installed


def _child(python: str, *arguments: str) -> children.Done:
    try:
        return children.run([python, __file__, *arguments], limit_s=LIMIT_S)
    except children.TimedOut as error:
        raise NoAnswer(str(error)) from None


def _last_line(done: children.Done) -> str:
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        said = done.stderr.splitlines()[-1:] or ["nothing said"]
        raise NoAnswer(f"broke down with exit code {done.returncode}: {said[0][:120]}")
    return done.stdout.splitlines()[-1]


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


def child_main(verb: str, told: str) -> None:
    """What the process that `Stage` starts does: prints its answer as the last line."""
    answer: object
    if verb == "versions":
        answer = versions(contestant_of(told).packages)
    else:
        row = json.loads(told)
        answer = _obey(Order(**{**row, "recipe": Recipe(**row["recipe"])}))
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    child_main(*sys.argv[1:])

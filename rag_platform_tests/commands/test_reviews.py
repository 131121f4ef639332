"""`rag-platform enrich` and `rag-platform reviews`, as a person or a script meets them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.commands.enrich import enrich
from rag_platform.commands.group import Cli
from rag_platform.commands.reviews import reviews
from rag_platform_tests.copies import new_instance
from rag_platform_tests.enrichment.conftest import LABELS, text

SOURCE, WINDOW = "notes", "2026-06-01"
HOSTILE = "Ann Lee \x1b[31mwrites[/]\x07 on [red]2024-03-05[/] of loans \u202eevil"


@click.group(cls=Cli)
@click.option("--debug", is_flag=True)
@click.option("--verbose", is_flag=True)
def main(debug: bool, verbose: bool) -> None:
    """The verbs of this part alone."""


main.add_command(enrich)
main.add_command(reviews)


class Place:
    """Settings, a source folder and a state folder of their own; runs verbs in this process."""

    def __init__(self, root: Path) -> None:
        self.docs = root / "docs"
        self.docs.mkdir(parents=True)
        self.config = root / "platform.yaml"
        self.env = {
            "RAG_PLATFORM_CONFIG": str(self.config),
            "RAG_PLATFORM_HOME": str(root / "home"),
            "DAGSTER_HOME": str(new_instance(root / "home" / "dagster")),
            "USER": "ann",
        }
        self.save()

    def save(self, **rules: Any) -> None:
        source = {"url": str(self.docs), "start": WINDOW, "dated_by": "seen"}
        tree = {
            "sources": {SOURCE: source},
            "automation": False,
            "enrichment": {"sources": [SOURCE], "labels": LABELS, "gate": 1.0, **rules},
        }
        self.config.write_text(yaml.safe_dump(tree), encoding="utf-8")

    def clean(self) -> None:
        """The documents up to clean_docs."""
        with self.platform() as platform:
            platform.raw(SOURCE).run(WINDOW)
            platform.parsed(SOURCE).run(WINDOW)
            platform.clean(SOURCE).run(WINDOW)

    def enrich(self) -> None:
        """All of it, without Dagster."""
        self.clean()
        with self.platform() as platform:
            chain = platform.enrichment(SOURCE)
            for step in chain.steps:
                step.run(WINDOW)
            chain.enriched.run(WINDOW)

    def platform(self) -> Any:
        import contextlib

        from rag_platform.platform import Platform
        from rag_platform.settings import load

        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            return contextlib.closing(Platform(load()))

    def run(self, *args: str, code: int = 0, env: dict[str, str | None] | None = None) -> Result:
        sys.modules.pop("rag_platform.definitions", None)
        result = CliRunner().invoke(main, args, env={**self.env, **(env or {})})
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", code=code).stdout)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Two documents, not yet asked for."""
    made = Place(tmp_path)
    (made.docs / "a[b].md").write_text(text("loans", HOSTILE), encoding="utf-8")
    (made.docs / "b.md").write_text(text("cards", "Her debit card was stolen."), encoding="utf-8")
    yield made
    sys.modules.pop("rag_platform.definitions", None)


@pytest.fixture
def queued(place: Place) -> Place:
    """Both of them in review: the gate lets nothing through."""
    place.enrich()
    return place


def number_of(place: Place, key: str) -> str:
    return next(str(r["id"]) for r in place.json("reviews") if r["key"] == key)


def test_an_empty_queue(place: Place) -> None:
    assert place.run("reviews").stdout == "Nothing waits for a review.\n"
    assert place.json("reviews", "list") == []


def test_the_queue(queued: Place) -> None:
    shown = queued.run("reviews").stdout
    assert "a[b].md" in shown
    assert "2 open: rag-platform reviews show ID" in shown
    found = queued.json("reviews", "--source", SOURCE)
    assert [review["key"] for review in found] == ["a[b].md", "b.md"]
    assert {review["status"] for review in found} == {"open"}
    assert queued.json("reviews", "--overdue") == []
    told = queued.run("reviews", "--source", "other", code=1).stderr
    assert told.startswith("error: source 'other': not in the settings")


def test_one_review_with_its_text(queued: Place) -> None:
    number = number_of(queued, "a[b].md")
    shown = queued.run("reviews", "show", number).stdout
    assert f"Review {number}: About loans" in shown
    assert "notes: a[b].md (window 2026-06-01)" in shown
    assert "open, due 20" in shown
    # Nothing of a document is acted on: neither by the terminal nor as markup.
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "[red]2024-03-05[/]" in shown
    found = queued.json("reviews", "show", number)
    assert found["label"] == "loans"
    assert found["text"].startswith("# About loans")
    told = queued.run("reviews", "show", "99", code=1).stderr
    assert told == "error: review 99: there is none. See `rag-platform reviews list`.\n"


def test_decisions(queued: Place) -> None:
    first, second = number_of(queued, "a[b].md"), number_of(queued, "b.md")
    said = queued.run("reviews", "approve", first, "--note", "clear").stdout
    assert said.startswith(f"Review {first} approved.\nIt takes effect within a minute")
    found = queued.json("reviews", "show", first)
    assert (found["status"], found["decided_by"], found["note"]) == ("approved", "ann", "clear")
    told = queued.run("reviews", "reject", first, code=1).stderr
    assert told.startswith(f"error: review {first}: already approved by ann, 20")
    wrong = ("reviews", "correct", second, "--label", "taxes")
    assert "label 'taxes': there are: billing, cards, loans." in queued.run(*wrong, code=1).stderr
    fields = ("--set", "topics=tax", "--set", "topics=fees", "--set", "author=", "--set", "people=")
    done = queued.json("reviews", "correct", second, "--label", "billing", *fields, "--by", "bob")
    assert done == {"reviews": [int(second)], "decision": "corrected", "applied": False}
    assert queued.json("reviews", "show", second)["decision"] == {
        "label": "billing",
        "topics": ["tax", "fees"],
        "author": None,
        "people": [],
    }
    assert queued.json("reviews") == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("correct", "1"), "say what is right: --label NAME or --set FIELD=VALUE"),
        (("correct", "1", "--set", "topics"), "'topics': write FIELD=VALUE"),
        (("approve", "0"), "0 is not in the range"),
        (("approve", "1"), "Missing option '--by'"),
    ],
)
def test_what_is_asked_wrongly(place: Place, args: tuple[str, ...], message: str) -> None:
    nobody: dict[str, str | None] | None = {"USER": None} if "--by" in message else None
    assert message in place.run("reviews", *args, code=2, env=nobody).stderr


def test_enrich_and_apply_are_recorded_runs(place: Place) -> None:
    told = place.run("enrich", SOURCE, code=1).stderr
    assert "no document with a text. Run `rag-platform sync notes` first." in told
    place.clean()
    shown = place.run("enrich", SOURCE)
    assert "2 documents wait for a person: rag-platform reviews" in shown.stdout
    first, second = number_of(place, "a[b].md"), number_of(place, "b.md")
    assert place.run("reviews", "approve", first, "--apply").stdout == f"Review {first} approved.\n"
    place.run("reviews", "reject", second)
    assert place.json("reviews", "apply")["taken_over"] == 1
    again = place.json("enrich", SOURCE, "--window", WINDOW, "--retry-failed")
    [run] = again["runs"]
    assert run["success"] is True
    assert run["page"] == {
        "window": WINDOW,
        "documents": 2,
        "statuses": {"published": 1, "rejected": 1},
        "labels": {"cards": 1, "loans": 1},
        "open_reviews": 0,
        "overdue": 0,
    }
    told = place.run("enrich", SOURCE, "--to", WINDOW, code=2).stderr
    assert "write --window KEY, or --from KEY [--to KEY]" in told
    told = place.run("enrich", SOURCE, "--from", "2026-06-02", "--to", "2026-06-03", code=1).stderr
    assert "notes: no page from 2026-06-02 to 2026-06-03." in told
    place.save(gate=0.0, labels=LABELS | {"loans": "whatever is lent"})
    [run] = place.json("enrich", SOURCE, "--from", WINDOW)["runs"]
    # People decided; another gate does not change that.
    assert (run["window"], run["page"]["statuses"]) == (WINDOW, {"published": 1, "rejected": 1})
    place.save(sources=[], labels={})
    told = place.run("enrich", SOURCE, code=1).stderr
    assert "not enriched; `enrichment.sources` in platform.yaml has: none" in told

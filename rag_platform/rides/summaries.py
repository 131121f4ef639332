"""ride_summaries: a few sentences on each anomalous ride, worst first, from what is known of it."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rag_platform.errors import PlatformError
from rag_platform.llm.budget import BudgetExceeded
from rag_platform.llm.errors import InvalidAnswer, ModelRefused
from rag_platform.llm.gateway import Ask, Completion, ExtractiveAnswer, Gateway
from rag_platform.rides.days import Days
from rag_platform.rides.tables import CLUSTERS, SUMMARIES, DayTables, Facts
from rag_platform.storage.letters import Letter, WindowLetters, shown
from rag_platform.storage.memo import Memo, memo_key

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

PROMPT = "ride_summary"
MAX_SUMMARY = 600
# Of one text of a ride file, as a prompt may hold it.
_MAX_TEXT = 200
_TYPICAL = ("distance_km", "duration_s", "speed_kmh", "fare")
_TEXTS = ("pickup_zone", "dropoff_zone", "weather", "traffic", "news", "reason")
_FACTS = ("ride_id", "started_at", *_TYPICAL, *_TEXTS, "score", "why")

# What a model made of a ride, which another time will not be better.
_LASTING = (InvalidAnswer, ModelRefused)
# Other failures of one ride; the next may be answered. So many of any other kind, one after the
# other: the service is down, or refuses us, and the rest waits.
_OF_ONE_RIDE = (*_LASTING, BudgetExceeded)
_GIVE_UP = 5

SUMMARIZED, DEFERRED, FAILED = "summarized", "deferred", "failed"

Row = dict[str, Any]


def _bounded(text: str) -> str:
    return shown(text, MAX_SUMMARY)


class RideSummary(BaseModel):
    """What is said about one ride; an answer that is too long is cut."""

    model_config = ConfigDict(extra="forbid")

    summary: Annotated[str, AfterValidator(_bounded), Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class SummaryFigures:
    """What one run did.

    `beyond_cap`: anomalous rides that are not summarized at all; `unexplained`: those that have
    neither a summary nor a reason, of which there should be none.
    """

    anomalies: int
    summarized: int
    from_memo: int
    deferred: int
    failed: int
    beyond_cap: int
    unexplained: int
    microusd: int
    method: str


def summaries_schema() -> "pa.Schema":
    """The columns of `ride_summaries`: a row for each anomalous ride within the cap.

    `status` is summarized, deferred (a later run asks again) or failed; `reason` says why there is
    no summary, and `model` who wrote it: `extractive` stands for a template, not a model.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("ride_id", pa.string()),
            ("rank", pa.int32()),
            ("started_at", pa.timestamp("us", tz="UTC")),
            ("score", pa.float64()),
            ("why", pa.list_(pa.string())),
            ("status", pa.string()),
            ("summary", pa.string()),
            ("reason", pa.string()),
            ("model", pa.string()),
            ("prompt", pa.string()),
        ]
    )


class RideSummaries:
    """Writes the summaries of a day."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        cap: int,
        days: Days,
        tables: DayTables,
        letters: WindowLetters,
        memo: Memo,
    ) -> None:
        self._gateway = gateway
        self._cap = cap
        self._days = days
        self._tables = tables
        self._letters = letters
        self._memo = memo

    def run(self, key: str) -> SummaryFigures:
        """Ask about the worst rides of a day whose summaries the memo does not have.

        Every answer is durable before the next is taken. A ride without one has the reason in its
        row: `deferred` where another run may get it, `failed` with a dead letter where the model
        could not do it. Raises `DayMissing`, `UnknownDay`.
        """
        day = self._days.check(key)
        rides, anomalies, typical = self._worst(day)
        facts = [facts_of(ride, typical, self._days) for ride in rides]
        answers = self._known(facts)
        reused, spent = len(answers), 0
        missing = [text for text in dict.fromkeys(facts) if text not in answers]
        problems: dict[str, PlatformError] = {}
        for text, answer in zip(missing, self._asked(missing), strict=True):
            if isinstance(answer, PlatformError):
                problems[text] = answer
            else:
                answers[text] = self._kept(text, answer)
                spent += answer.microusd
        rows = [
            _row(rank, ride, answers.get(text), problems.get(text))
            for rank, (ride, text) in enumerate(zip(rides, facts, strict=True), start=1)
        ]
        return self._written(day, rows, anomalies, reused, spent)

    def _worst(self, day: date) -> tuple[list[Row], int, dict[str, float]]:
        """The anomalous rides to summarize, how many there are in all, and the day's medians."""
        import pyarrow.compute as pc

        table = self._tables.read(CLUSTERS, day, columns=[*_FACTS, "is_anomaly"])
        typical = {name: pc.approximate_median(table[name]).as_py() for name in _TYPICAL}
        odd = table.filter(table["is_anomaly"])
        order = odd.sort_by([("score", "descending"), ("ride_id", "ascending")])
        worst = order.slice(0, self._cap).to_pylist()
        return worst, odd.num_rows, {name: v for name, v in typical.items() if v is not None}

    def _key(self, facts: str) -> bytes:
        fingerprint = self._gateway.fingerprint(PROMPT, RideSummary)
        return memo_key(PROMPT, fingerprint, facts.encode())

    def _known(self, facts: Sequence[str]) -> dict[str, Row]:
        keys = {self._key(text): text for text in facts}
        found = self._memo.get_many(keys)
        return {keys[key]: json.loads(value) for key, value in found.items()}

    def _asked(self, facts: Sequence[str]) -> Iterator[Completion[RideSummary] | PlatformError]:
        """An answer for each; of a service that is down not all have to wait for theirs."""
        failures: list[PlatformError] = []  # one after the other

        def asks() -> Iterator[Ask[RideSummary]]:
            for text in facts:
                if len(failures) >= _GIVE_UP:
                    return
                yield Ask(PROMPT, {"ride": text}, RideSummary)

        left = len(facts)
        for answer in self._gateway.map(asks()):
            left -= 1
            if isinstance(answer, PlatformError) and not isinstance(answer, _OF_ONE_RIDE):
                failures.append(answer)
            else:
                failures.clear()
            yield answer
        yield from failures[-1:] * left

    def _kept(self, facts: str, answer: Completion[RideSummary]) -> Row:
        value = {
            "summary": answer.value.summary,
            "model": answer.model,
            "prompt": answer.prompt,
        }
        self._memo.put_many({self._key(facts): json.dumps(value).encode()})
        return value

    def _written(
        self, day: date, rows: list[Row], anomalies: int, reused: int, spent: int
    ) -> SummaryFigures:
        import pyarrow as pa

        statuses = Counter(row["status"] for row in rows)
        figures: Facts = {
            "anomalies": anomalies,
            "summarized": statuses[SUMMARIZED],
            "deferred": statuses[DEFERRED],
            "failed": statuses[FAILED],
            "beyond_cap": max(0, anomalies - self._cap),
            "unexplained": sum(not (row.get("summary") or row.get("reason")) for row in rows),
            "method": "extractive" if self._gateway.is_extractive else "model",
        }
        table = pa.Table.from_pylist(rows, schema=summaries_schema())
        self._tables.write(SUMMARIES, day, table, figures)
        failed = [row for row in rows if row["status"] == FAILED]
        self._letters.replace(
            SUMMARIES,
            day.isoformat(),
            [Letter(f"{day}/{row['ride_id']}", "no_summary", row["reason"]) for row in failed],
            fingerprint=self._gateway.fingerprint(PROMPT, RideSummary),
        )
        return SummaryFigures(**figures, from_memo=reused, microusd=spent)


def _row(rank: int, ride: Row, answer: Row | None, problem: PlatformError | None) -> Row:
    about = {name: ride[name] for name in ("ride_id", "started_at", "score", "why")}
    if answer is not None:
        return about | answer | {"rank": rank, "status": SUMMARIZED}
    # What a model made of this ride stays; a budget, a limit or a service may be another tomorrow.
    status = FAILED if isinstance(problem, _LASTING) else DEFERRED
    return about | {"rank": rank, "status": status, "reason": shown(str(problem))}


def facts_of(ride: Mapping[str, Any], typical: Mapping[str, float], days: Days) -> str:
    """What is told about a ride, as JSON. Texts of the files are cut and stay on one line."""
    started = ride["started_at"]
    texts = {
        "from": ride["pickup_zone"],
        "to": ride["dropoff_zone"],
        "weather": ride["weather"],
        "traffic": ride["traffic"],
        "news": ride["news"],
        "reason": ride["reason"],
    }
    found = {
        **({"started": f"{started.astimezone(days.zone):%A %H:%M}"} if started else {}),
        **_measures(ride, _hundredths),
        **{name: shown(text, _MAX_TEXT) for name, text in texts.items() if text},
        "why": ride["why"] or [],
        # Rounded: a late ride or two must not make all of the day's summaries new ones.
        "typical": _measures(typical, _two_digits),
    }
    return json.dumps(found, ensure_ascii=False)


def _measures(values: Mapping[str, Any], rounded: Callable[[float], float]) -> dict[str, float]:
    told = {"distance_km": "distance_km", "speed_kmh": "speed_kmh", "fare": "fare"}
    found = {name: values.get(source) for name, source in told.items()}
    seconds = values.get("duration_s")
    found["duration_min"] = None if seconds is None else seconds / 60
    return {name: rounded(value) for name, value in found.items() if value is not None}


def _hundredths(value: float) -> float:
    return round(value, 2)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


# Without a model


def compose(ask: Ask[Any]) -> ExtractiveAnswer:
    """A summary put together from the facts by a template."""
    facts = json.loads(ask.variables["ride"])
    return ExtractiveAnswer({"summary": " ".join(_sentences(facts))}, None)


def _sentences(facts: Row) -> Iterator[str]:
    way = "".join(f" {word} {facts[word]}" for word in ("from", "to") if word in facts)
    started = f", started {facts['started']}" if "started" in facts else ""
    yield f"{_figures(facts)}{way}{started}."
    if facts.get("reason"):
        yield f"{facts['reason'].rstrip('.')}."
    elif facts["why"]:
        yield f"Stands out: {', '.join(facts['why'])}."
    if typical := facts["typical"]:
        yield f"Typical of the day: {_figures(typical)}."
    context = [f"{name} {facts[name]}" for name in ("traffic", "weather", "news") if name in facts]
    if context:
        yield f"Context: {'; '.join(context)}."


def _figures(measures: Mapping[str, Any]) -> str:
    return (
        f"{measures['distance_km']:g} km in {measures['duration_min']:g} min "
        f"({measures['speed_kmh']:g} km/h)"
    )


EXTRACTIVE = {PROMPT: compose}

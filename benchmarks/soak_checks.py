"""What must be true after every storm, and at the end: asked of the stores, not of the platform."""

import collections
import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dagster as dg
import sqlalchemy as sa
from soak_documents import contents, differences, documents, expected, found
from soak_place import CHAT, EMBEDDER, INDEX, Place, orphans, strays

from rag_platform.platform import Platform
from rag_platform_tests.servers.openai_api import OpenAIServer, Request
from rag_platform_tests.servers.openai_chat import tokens_of

# The model service does its work for these, whether or not its answer arrives whole.
_ARRIVES = ("ok",)
_BREAKS = ("reset", "hang", "malformed", "slow_stream")
_BEGUN = (
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_UNDER_WAY = [*_BEGUN, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
# Longer than any run here waits and works, also where other things are done on the machine.
_TOO_LONG_S = 900.0
_PRICE = {EMBEDDER: (1, 0), CHAT: (1, 2)}  # micro-dollars a token read, and written


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds; `problems` say where it does not."""

    what: str
    problems: tuple[str, ...]
    detail: str = ""


def is_searchable(place: Place, platform: Platform) -> Verdict:
    """Every document of the source as it is now, each text once, and nothing else."""
    source = contents(place.client(), place.documents)
    wanted = expected(source)
    with platform.vectors.open_existing(INDEX) as collection:
        points = [dict(point) for point in collection.payloads({})]
    problems = differences(wanted, found(points))
    said = f"{len(wanted)} documents, {len(points)} points"
    return Verdict("what the source holds is searchable, once", tuple(problems), said)


def searches_find(place: Place, platform: Platform, dice: random.Random) -> Verdict:
    """A word of a document finds the passage that it stands in."""
    wanted = expected(contents(place.client(), place.documents))
    problems = []
    with platform.searcher() as searcher:
        for key in dice.sample(sorted(wanted), 5):
            word = dice.choice(sorted(wanted[key]))
            results = searcher.search(word, 10)
            if not any(word in result.text.lower() for result in results):
                problems.append(f"{key}: {word} is not found")
    return Verdict("a search finds what it must", tuple(problems), "5 searches")


def dead_letters_are_planted(place: Place, platform: Platform) -> Verdict:
    """The documents that cannot be read, and no others."""
    keys = documents(place.client(), place.documents)
    planted = {key for key in keys if not key.endswith(".md")}
    with platform.catalog.read() as connection:
        rows = connection.execute(sa.text("select key, reason from dead_letters")).all()
    said = {row.key: row.reason for row in rows}
    problems = [f"{key}: no dead letter" for key in sorted(planted - said.keys())]
    problems += [f"{key}: {said[key]}" for key in sorted(said.keys() - planted)]
    return Verdict("dead letters are those that were planted", tuple(problems), f"{len(said)}")


def pages_sum(platform: Platform) -> Verdict:
    """Every pass is settled, and its outcomes are as many as were listed."""
    query = """
        select p.window, p.pass_no, p.listed, p.settled, p.unchanged,
               count(c.seq) as changes, count(c.outcome) as decided
        from passes p left join changes c
          on c.source = p.source and c.window = p.window and c.pass_no = p.pass_no
          and c.kind <> 'departed'  -- the other half of a move
        group by p.window, p.pass_no, p.listed, p.settled, p.unchanged
        order by p.window, p.pass_no
    """
    with platform.catalog.read() as connection:
        rows = connection.execute(sa.text(query)).all()
    problems = [
        f"{row.window} pass {row.pass_no}: {row.listed} listed, {row.unchanged} unchanged, "
        f"{row.decided} of {row.changes} changes decided, settled: {row.settled}"
        for row in rows
        if not row.settled
        or row.changes != row.decided
        or row.listed != row.unchanged + row.changes
    ]
    return Verdict("outcomes sum to what was listed", tuple(problems), f"{len(rows)} passes")


def index_agrees(platform: Platform) -> Verdict:
    """The catalog, the memo and the collection say the same of every point."""
    report = platform.reconciler(INDEX).run(repair=False, full=True)
    problems = () if report.agrees else (json.dumps(report.as_json()),)
    return Verdict("index, catalog and memo agree", problems, f"{report.points} points")


def nothing_is_stuck(place: Place, platform: Platform, instance: dg.DagsterInstance) -> Verdict:
    """Whatever is under way: no run or lock for too long, no slot or process of what is gone."""
    query = """
        select extract(epoch from now() - a.state_change) as seconds
        from pg_locks l join pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'advisory' and l.granted
    """
    with platform.catalog.read() as connection:
        held = connection.execute(sa.text(query)).scalars().all()
    problems = [f"a lock is held for {s:.0f} s" for s in held if s > _TOO_LONG_S]
    started = {
        record.dagster_run.run_id: record.create_timestamp.timestamp()
        for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY))
    }
    problems += [
        f"run {run_id[:8]} is under way for {time.time() - at:.0f} s"
        for run_id, at in started.items()
        if time.time() - at > _TOO_LONG_S
    ]
    storage = instance.event_log_storage
    for pool in sorted(storage.get_concurrency_keys()):
        for slot in storage.get_concurrency_info(pool).claimed_slots:
            if slot.run_id not in started:
                problems.append(f"pool {pool}: run {slot.run_id[:8]} has ended and holds a slot")
    problems += [f"process {left.pid} is left: {left.command}" for left in orphans(place)]
    said = f"{len(held)} locks, {len(started)} runs"
    return Verdict("nothing is stuck", tuple(problems), said)


def nothing_is_held(place: Place, platform: Platform, instance: dg.DagsterInstance) -> Verdict:
    """With no run under way: no lock, no slot, no process left behind."""
    problems = []
    with platform.catalog.read() as connection:
        held = connection.scalar(
            sa.text("select count(*) from pg_locks where locktype = 'advisory' and granted")
        )
    if held:
        problems.append(f"{held} locks of the catalog are held")
    storage = instance.event_log_storage
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        if info.claimed_slots:
            problems.append(f"pool {pool}: {len(info.claimed_slots)} slots are held")
    problems += [f"process {left.pid} is left: {left.command}" for left in strays(place)]
    return Verdict("no lock, slot or process is left behind", tuple(problems))


def audit_is_closed(platform: Platform) -> Verdict:
    """Every action of a person has its outcome."""
    with platform.catalog.read() as connection:
        rows = connection.execute(sa.text("select action, subject, outcome from audit_log")).all()
    problems = tuple(f"{row.action} {row.subject}: open" for row in rows if row.outcome is None)
    return Verdict("the audit log is closed", problems, f"{len(rows)} actions")


def every_document_has_a_status(platform: Platform) -> Verdict:
    """Enrichment says of every document that stands what became of it, on its text of now."""
    query = """
        select d.key, e.status, d.text_hash = e.text_hash as fits
        from documents d left join enrichments e on e.source = d.source and e.doc_id = d.doc_id
        where not d.gone and d.text_hash is not null
    """
    with platform.catalog.read() as connection:
        rows = connection.execute(sa.text(query)).all()
    problems = [
        f"{row.key}: {row.status or 'nothing'}{'' if row.fits else ', of an older text'}"
        for row in rows
        if not row.fits or row.status not in ("published", "in_review", "rejected")
    ]
    statuses = collections.Counter(row.status for row in rows)
    said = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items(), key=str))
    return Verdict("every document is enriched", tuple(problems), said)


@dataclass(frozen=True, slots=True)
class Charge:
    """What the service did for one request, and whether its answer arrived whole."""

    at: float
    model: str
    input_tokens: int
    output_tokens: int | None
    texts: tuple[str, ...]
    whole: bool

    @property
    def microusd(self) -> int:
        """Its price; of a completion without what was written."""
        read, written = _PRICE[self.model]
        return read * self.input_tokens + written * (self.output_tokens or 0)


def charges(requests: Iterable[Request]) -> list[Charge]:
    """The requests that the service was paid for, as its own log has them."""
    made = []
    for request in requests:
        if request.status != 200 or request.fault not in (*_ARRIVES, *_BREAKS):
            continue
        body = request.body
        if request.path.endswith("/embeddings"):
            texts = tuple([body["input"]] if isinstance(body["input"], str) else body["input"])
            read, written = sum(map(tokens_of, texts)), 0
        else:
            texts = (json.dumps(body, sort_keys=True),)
            read = sum(tokens_of(message["content"]) for message in body["messages"])
            written = None
        whole = request.fault in _ARRIVES
        made.append(Charge(request.at, body["model"], read, written, texts, whole))
    return made


Span = tuple[float, float]


def paid_twice(made: Sequence[Charge], spans: Sequence[Span]) -> list[str]:
    """Texts that were paid for again although their answer had arrived whole, undisturbed.

    `spans` are the times in which something went wrong: an answer that arrived then may have been
    lost with its process, or with the database that it was to be written to.
    """
    before: dict[tuple[str, str], Charge] = {}
    problems = []
    for charge in sorted(made, key=lambda charge: charge.at):
        for text in charge.texts:
            first = before.get((charge.model, text))
            if first is not None and not any(a <= first.at <= b for a, b in spans):
                problems.append(f"{charge.model}: paid again {charge.at - first.at:.0f} s later")
            # A query is asked as often as somebody searches; it is short.
            if charge.whole and len(text) > 20:
                before[(charge.model, text)] = charge
    return problems


def money_is_right(
    server: OpenAIServer, platform: Platform, spans: Sequence[Span], daily_usd: float
) -> Verdict:
    """The service's own count against the ledger: what was paid, once, and within the budget."""
    requests = list(server.requests)
    made = charges(requests)
    query = """
        select day, model, status, input_tokens,
               coalesce(settled_microusd, reserved_microusd) as cost
        from ledger where status <> 'withdrawn'
    """
    with platform.catalog.read() as connection:
        rows = connection.execute(sa.text(query)).all()
    days: collections.Counter[str] = collections.Counter()
    for row in rows:
        days[row.day] += 0 if row.status == "failed" else row.cost
    counted = days.total()
    by_status = collections.Counter(row.status for row in rows)
    uncertain = by_status["lost"] + by_status["reserved"]
    settled = collections.Counter(
        (row.model, row.input_tokens) for row in rows if row.status == "settled"
    )
    whole = collections.Counter((c.model, c.input_tokens) for c in made if c.whole)
    problems = []
    unsettled = (whole - settled).total()
    if unsettled > uncertain:
        problems.append(f"{unsettled} answers are not settled, {uncertain} can be explained")
    # An answer that could not be used, cut off or without its usage, is settled at its worst case.
    broken = sum(one.status == 200 and one.fault not in _ARRIVES for one in requests)
    strange = (settled - whole).total()
    if strange > broken:
        problems.append(f"{strange} settled rows are of no answer, {broken} can be explained")
    written = sum(charge.output_tokens for charge in server.charged)
    billed = sum(charge.microusd for charge in made) + _PRICE[CHAT][1] * written
    if counted < billed:
        problems.append(f"the service billed {billed} micro-dollars, the ledger has {counted}")
    problems += [
        f"{day}: {cost} micro-dollars are over the budget"
        for day, cost in days.items()
        if cost > daily_usd * 1_000_000
    ]
    problems += paid_twice(made, spans)
    said = (
        f"{len(made)} paid requests, ${billed / 1e6:.4f} billed, ${counted / 1e6:.4f} in the "
        f"ledger, {uncertain} cut off"
    )
    return Verdict("money: the ledger is what was billed, nothing twice", tuple(problems), said)


def runs_have_ended(instance: dg.DagsterInstance) -> Verdict:
    """Every run is over, but for those that nobody has let out of the queue."""
    statuses = collections.Counter(run.status for run in instance.get_runs())
    problems = [f"{n} {s.value}" for s, n in statuses.items() if s in _BEGUN]
    said = ", ".join(f"{n} {status.value.lower()}" for status, n in statuses.most_common())
    return Verdict("every run that began has ended", tuple(problems), said)


def did_not_grow(samples: Sequence[float], *, slack_mb: float = 100) -> bool:
    """Whether the last third is not above the one before by a quarter, and a little."""
    third = len(samples) // 3
    if third < 3:
        return True
    first, last = sorted(samples[third : 2 * third]), sorted(samples[-third:])
    return last[third // 2] <= first[third // 2] * 1.25 + slack_mb

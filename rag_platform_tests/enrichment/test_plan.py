"""The plan: as many questions as the run then asks, and a price near what it pays."""

from rag_platform.enrichment.plan import EnrichmentNeed, enrichment_need
from rag_platform_tests.enrichment.conftest import FIRST, SECOND, Model, World, gateway_of

STEPS = ("entities", "summary", "classification")


def need(world: World, *windows: str) -> EnrichmentNeed:
    catalog = world.platform.catalog
    gateway = gateway_of(catalog, world.service, purpose="plan")
    prompts = world.platform.llm.prompts
    return enrichment_need(world.chain, windows, gateway=gateway, prompts=prompts)


def test_as_many_questions_as_are_then_asked(paid: World, model: Model) -> None:
    paid.folder.write("a.md", "# Loans\n\nAnn Lee asks the bank what loans would cost her.")
    paid.folder.write("copy.md", "# Loans\n\nAnn Lee asks the bank what loans would cost her.")
    paid.folder.write("b.md", "# Cards\n\nJane Smith lost her cards on a train to Berlin.")
    paid.run(FIRST)
    before = need(paid, FIRST)
    assert before.questions == dict.fromkeys(STEPS, 2)
    assert (before.first, before.last) == (FIRST, FIRST)
    assert model.asked == []
    paid.enrich(FIRST)
    assert len(model.asked) == 6
    assert need(paid, FIRST) == EnrichmentNeed(dict.fromkeys(STEPS, 0))


def test_what_waits_is_counted_with_all_its_steps(paid: World, model: Model) -> None:
    paid.folder.write("a.md", "# Loans\n\nAnn Lee asks the bank what loans would cost her.")
    paid.run(FIRST)
    paid.gateway = {"usd": 0.000001}
    paid.enrich(FIRST)
    assert paid.statuses() == {"a.md": "deferred"}
    paid.gateway = {}
    assert need(paid, FIRST).questions == dict.fromkeys(STEPS, 1)
    paid.enrich(FIRST)
    assert len(model.asked) == 3
    assert need(paid, FIRST) == EnrichmentNeed(dict.fromkeys(STEPS, 0))


def test_pages_are_told_by_their_windows(paid: World, model: Model) -> None:
    paid.folder.write("a.md", "Ann Lee asks the bank what loans would cost her.")
    paid.sync(FIRST)
    paid.folder.write("b.md", "Jane Smith lost her cards on a train to Berlin.")
    paid.run(SECOND)
    found = need(paid, FIRST, SECOND)
    assert found.questions == dict.fromkeys(STEPS, 1)
    assert (found.first, found.last) == (SECOND, SECOND)


def test_the_price_grows_with_the_text_up_to_what_is_sent(paid: World) -> None:
    prompts = paid.platform.llm.prompts
    words = "The bank says what a loan costs. "
    costs = []
    for length in (100, 1_000, 100_000, 200_000):
        paid.folder.write("a.md", (words * (length // len(words)))[:length])
        paid.run(FIRST, refresh=True)
        costs.append(need(paid, FIRST).cost_usd)
    assert costs[0] < costs[1] < costs[2] == costs[3]
    # A dollar a million tokens, four bytes each: two steps read the text, one its beginning.
    most = sum(min(200_000, prompts.get(f"document_{s}").max_input_chars) for s in STEPS)
    assert most / 4 / 1e6 < costs[3] < (most / 4 + 3_000) / 1e6


def test_without_a_service_nothing_costs(world: World) -> None:
    world.folder.write("a.md", "Ann Lee asks the bank what loans would cost her.")
    world.run(FIRST)
    found = need(world, FIRST)
    assert found.questions == dict.fromkeys(STEPS, 1)
    assert found.cost_usd == 0

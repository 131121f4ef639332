"""Links from assets to the console."""

from datetime import date

from rag_platform.defs.console import console_link
from rag_platform.defs.operations.costs import cost_metadata
from rag_platform.defs.operations.dead_letters import letters_metadata
from rag_platform_tests.defs.location import INDEX, SOURCE, Location

WINDOW = "2026-06-01"
URL = "https://console.test/rag"


def test_an_address_of_parts_that_are_data(location: Location) -> None:
    assert console_link(location.settings, "indexes") == {}
    location.configure(console={"url": f"{URL}/"})
    [(name, value)] = console_link(location.settings, "a/b", "c d", source="x&y").items()
    assert (name, value.value) == ("console", f"{URL}/a%2Fb/c%20d?source=x%26y")


def test_pages_lead_to_what_a_person_decides_on(location: Location) -> None:
    location.configure(console={"url": URL}, source={"max_dead_letter_share": 1.0})
    location.write("good.md", "# Good\n\nA text about valves and pumps.\n")
    location.write("bad.pdf", "%PDF-1.7 broken")
    found = location.run(WINDOW)
    assert found.metadata("vector_index", WINDOW, INDEX)["console"] == f"{URL}/indexes/{INDEX}"
    clean = found.metadata("clean_docs", WINDOW)
    assert clean["console"] == f"{URL}/dead-letters?source={SOURCE}"
    with location.platform() as platform:
        assert letters_metadata(platform)["console"].value == f"{URL}/dead-letters"
        assert cost_metadata(platform, date(2026, 6, 1))["console"].value == f"{URL}/costs"

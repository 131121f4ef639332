"""Writes docs/settings.md; run it after a change to the settings or the options of a source."""

from pathlib import Path

from rag_platform.documents.sources.registry import options_by_scheme
from rag_platform.settings_reference import reference_markdown

if __name__ == "__main__":
    target = Path(__file__).with_name("settings.md")
    target.write_text(reference_markdown(options_by_scheme()), encoding="utf-8")

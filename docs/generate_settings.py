"""Writes docs/settings.md; run it after a change to rag_platform/settings.py."""

from pathlib import Path

from rag_platform.settings_reference import reference_markdown

if __name__ == "__main__":
    target = Path(__file__).with_name("settings.md")
    target.write_text(reference_markdown(), encoding="utf-8")

"""Processes for tests that start in a moment: forked from one that has imported what they need."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["pytest", "hypothesis", "openai", "httpx2", "genai_prices", "rag_platform_tests.llm.gateways"]
)

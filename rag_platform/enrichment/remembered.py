"""Under which keys the memo has what models said of a document."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rag_platform.enrichment import recipes
from rag_platform.enrichment.chain import Enrichment
from rag_platform.enrichment.fields import canonical
from rag_platform.storage.memo import Memo, memo_key


def memo_keys(
    enrichment: Enrichment, memo: Memo, row: Mapping[str, Any], *, labels: Mapping[str, str]
) -> Iterator[bytes]:
    """The keys of the answers about a clean row, by the models and prompts that are set now."""
    if row["reason"] is not None or row["empty"]:
        return
    asked = (recipes.entities(), recipes.summary(), recipes.classification(labels))
    value: Mapping[str, Any] | None = None
    for step, recipe in zip(enrichment.steps, asked, strict=True):
        variables = recipe.variables(row, value)
        key = memo_key(f"document_{recipe.stage}", step.fingerprint, canonical(dict(variables)))
        yield key
        answer = memo.get_many([key]).get(key)
        value = None
        if answer is not None:
            finished = recipe.finish(json.loads(answer)["value"], row)
            value = json.loads(json.dumps(finished.value))

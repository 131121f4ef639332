"""Names that never change: of a document, and of a chunk within it."""

import uuid

from rag_platform.settings_values import DEFAULT_TENANT

# uuid5(NAMESPACE_URL, "rag_platform"), written out so that ids can be recomputed elsewhere.
NAMESPACE = uuid.UUID("d490ec4e-c7da-53c0-b49a-dc67377a9b65")


def document_id(source: str, key: str, tenant: str = DEFAULT_TENANT) -> str:
    """A document is its address: the source, whose it is, and the key within it."""
    owner = "" if tenant == DEFAULT_TENANT else f"@{len(tenant)}:{tenant}"
    return str(uuid.uuid5(NAMESPACE, f"{owner}{len(source)}:{source}{key}"))


def point_id(doc_id: str, text_hash: str, occurrence: int) -> str:
    """The point of the n-th chunk with this text in the document, in every index version."""
    return str(uuid.uuid5(uuid.UUID(doc_id), f"{text_hash}:{occurrence}"))

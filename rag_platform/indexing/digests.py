"""The digest by which the catalog knows what a document's points are."""

import hashlib
import json

from rag_platform.storage.vectors.base import Payload

_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def digest_of(points: dict[str, Payload]) -> str:
    """A digest over point ids and payloads, whatever their order; "" for no points."""
    if not points:
        return ""
    digest = hashlib.sha256()
    for point in sorted(points):
        payload = _canonical(points[point])
        digest.update(f"{point}{len(payload)}:{payload}".encode())
    return digest.hexdigest()

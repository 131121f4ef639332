"""The labelled texts, and the keys in them, which no scanner of this repository should find."""

import base64
import hashlib
import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    """A text, and what it holds: the kind of a finding, or whether it speaks to a model."""

    text: str
    language: str
    kind: str | None = None
    injection: bool = False

    @property
    def held_out(self) -> bool:
        """Half of the texts were not looked at when the rules were written."""
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 1


def injections() -> list[Case]:
    """Texts that speak to a model, and texts that nearly do."""
    return [Case(**row) for row in _rows("cases_injections.jsonl")]


def findings() -> list[Case]:
    """Texts with one secret or personal datum, and texts with what looks like one."""
    values = _values()
    rows = _rows("cases_findings.jsonl")
    return [Case(**{**row, "text": row["text"].format(**values)}) for row in rows]


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_FOLDER / name).read_text().splitlines()]


def made_up(seed: str, size: int, alphabet: str) -> str:
    """Characters that look drawn by chance, the same each time."""
    digits = int.from_bytes(hashlib.shake_256(seed.encode()).digest(2 * size))
    drawn = []
    for _ in range(size):
        digits, digit = divmod(digits, len(alphabet))
        drawn.append(alphabet[digit])
    return "".join(drawn)


def _values() -> dict[str, str]:
    letters, figures = string.ascii_letters, string.digits
    mixed, hexadecimal = letters + figures, "0123456789abcdef"
    capitals = string.ascii_uppercase + "234567"
    block = base64.b64encode(hashlib.shake_256(b"pem").digest(96)).decode()
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": "u-17", "iat": 1760000000}]
    encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in parts]
    return {
        "aws_id": "AK" + "IA" + made_up("aws", 16, capitals),
        "aws_secret": made_up("aws secret", 40, mixed + "+/"),
        "azure": made_up("azure", 86, mixed + "+/") + "==",
        "google": "AI" + "za" + made_up("google", 35, mixed + "_-"),
        "github": "gh" + "p_" + made_up("github", 36, mixed),
        "gitlab": "gl" + "pat-" + made_up("gitlab", 20, mixed),
        "slack": "xo" + "xb-" + made_up("slack", 24, mixed),
        "slack_hook": f"T{made_up('t', 8, capitals)}/B{made_up('b', 8, capitals)}/"
        + made_up("hook", 24, mixed),
        "stripe": "sk_" + "live_" + made_up("stripe", 24, mixed),
        "openai": "sk" + "-proj-" + made_up("openai", 48, mixed),
        "hf": "h" + "f_" + made_up("hf", 34, letters),
        "npm": "np" + "m_" + made_up("npm", 36, mixed),
        "sendgrid": f"SG.{made_up('sg', 22, mixed)}.{made_up('grid', 43, mixed)}",
        "telegram": f"{made_up('bot', 9, '123456789')}:AA{made_up('telegram', 33, mixed)}",
        "databricks": "dap" + "i" + made_up("databricks", 32, hexadecimal),
        "hex32": made_up("hex", 32, hexadecimal),
        "mixed32": made_up("mixed", 32, mixed),
        "pem": f"-----BEGIN {'PRIVATE'} KEY-----\n{block}\n-----END {'PRIVATE'} KEY-----",
        "age": "AGE-SECRET-" + "KEY-1" + made_up("age", 58, string.ascii_uppercase + figures),
        "jwt": ".".join(each.rstrip("=") for each in encoded) + "." + made_up("jwt", 43, mixed),
        "basic": base64.b64encode(b"svc:Tr0ub4dor").decode(),
    }

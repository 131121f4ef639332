"""Rules for keys, tokens and passwords.

Most services write their keys in a form of their own, which says enough. What is only named (a
password, a token) must look like one: no word of a language, no name in a program, no example.
"""

import base64
import binascii
import json
import math
import re
from collections import Counter

from rag_platform.documents.safety.rules import Candidate, Check, Rule, when

_LEAST_ENTROPY = 3.0  # bits a character: random hexadecimal digits have 3.5 and more
_LEAST_TOKEN = 16
_LEAST_PASSWORD = 6

_EXAMPLE = re.compile(
    r"(?<![a-z0-9])example|placeholder|changeme|change[-_]me|x{4}|\*{3}|\.{3}|0123456789|123456789|abcdefgh"
    r"|^(?:my|your|the|some|this|insert|replace|enter|todo|redacted|masked|removed|dummy|sample)"
    r"[-_ ]?"
    r"|^(?:pass(?:word|wd|wort)?|pwd|secret|token|api[-_]?key|key|test|foo|bar|admin|root|user"
    r"(?:name)?|guest|none|null|nil|true|false|string|required|optional|default|undefined)"
    r"[-_ ]?\d{0,3}$",
    re.IGNORECASE,
)
# Values that a program puts in later: $NAME, ${name}, <name>, {{name}}, %(name)s, f(x), a[b].
_FILLED_IN = re.compile(r"[$%]?[{(<\[]|\$\w|\w[(\[]|%\w+%|@\w+@|[>})\]]$")
# Names in programs and paths, not values: settings.db_password, DB_PASSWORD, dbPassword, a/b.txt.
_NAME = re.compile(
    r"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+|[A-Z]+(?:_[A-Z]+)+|[a-z]+(?:[_-][a-z]+)+"
    r"|[A-Za-z][a-z]*(?:[A-Z][a-z]+)*|[~.]{0,2}/.*|\w+://.*|.*\.(?:txt|json|ya?ml|pem|key|crt|env)"
)
_CLASSES = (r"[a-z]", r"(?<=.)[A-Z]", r"\d", r"[^\w\s.\-/]")


def entropy(text: str) -> float:
    """Shannon's entropy of the characters, in bits a character."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)


def is_example(value: str) -> bool:
    """Whether a value stands for one that is not told: an example, or filled in by a program."""
    return bool(_EXAMPLE.search(value) or _FILLED_IN.search(value)) or len(set(value)) <= 3


def is_token(value: str) -> bool:
    """Whether a named value is as irregular as a token is."""
    return (
        len(value) >= _LEAST_TOKEN
        and any(map(str.isdigit, value))
        and entropy(value) >= _LEAST_ENTROPY
        and not is_example(value)
        and not _NAME.fullmatch(value)
    )


def is_password(value: str) -> bool:
    """Whether a value in a line of settings is a password: two kinds of characters at least."""
    kinds = sum(bool(re.search(kind, value)) for kind in _CLASSES)
    return (
        len(value) >= _LEAST_PASSWORD
        and (kinds >= 2 or value.isdigit())
        and not is_example(value)
        and not _NAME.fullmatch(value)
    )


def _password(candidate: Candidate) -> int:
    value = candidate.value
    if value[:1] in "\"'`" or not value.endswith((".", ":", "|")):
        return len(value) if is_password(value.strip("\"'`")) else 0
    value = value.rstrip(".:|")
    return len(value) if is_password(value) else 0


def _told(candidate: Candidate) -> int:
    """A password in a sentence or a table: with a digit and a letter."""
    value = candidate.value.strip("\"'`").rstrip(".,;:!?")
    fits = re.search(r"\d", value) and re.search(r"[^\W\d]", value) and is_password(value)
    return len(candidate.value.rstrip(".,;:!?")) if fits else 0


def _jwt(value: str) -> bool:
    """Whether the first part of a JSON web token names its algorithm (RFC 7515)."""
    head = value.split(".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(found, dict) and "alg" in found


def _basic(value: str) -> bool:
    """Whether a value is a name and a password in base64 (RFC 7617)."""
    try:
        told = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return False
    return b":" in told and told.isascii() and told.decode().isprintable()


def _key_block(value: str) -> bool:
    """Whether there is a key between the lines, and not only three dots."""
    return len(re.findall(r"[A-Za-z0-9+/=]", value.partition("KEY")[2])) >= 60


_not_example: Check = when(lambda value: not is_example(value))


def _token(candidate: Candidate) -> int:
    """A token by name; what is public is none (a PublicKeyToken of .NET)."""
    if re.search(r"public[ _-]?key", candidate.before[-30:], re.IGNORECASE):
        return 0
    return len(candidate.value) if is_token(candidate.value.strip("\"'`")) else 0


_PASSWORD_NAMES = (
    r"pass(?:word|wd|phrase|wort|code)|kennwort|contrase(?:ñ|n)a|clave|mot[ _]de[ _]passe|senha"
    r"|palavra-passe|wachtwoord|has(?:ł|l)o|парол[ья]|密码|密碼|パスワード|비밀번호"
)
_TOKEN_NAMES = (
    r"api[ _-]?key|(?:access|auth|refresh|bearer|session|private|api|bot|id)[ _-]?token"
    r"|(?:client|app|webhook|shared|consumer|signing|jwt)[ _-]?secret"
    r"|(?:secret|access|account|encryption|signing|master|service|license|subscription)"
    r"(?:[ _-]?access)?[ _-]?key|secret|token|credential"
)
# With the marks of bold type: **Password:** x.
_SEPARATOR = r"[\"'\x60*_]{0,3}[ \t]{0,8}(?::=|=>|=|:|\x{FF1A}|>)[*_]{0,3}[ \t]{0,8}"
_QUOTED = r"\"[^\"\n]+\"|'[^'\n]+'|\x60[^\x60\n]+\x60"

# The body holds no hyphen but in its headers, so that what begins often is not read often.
_BLOCK = (
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*"
    r"(?:[A-Za-z-]{1,30}: [^\n]{1,200}\n){0,4}[A-Za-z0-9+/=\s\\:,._()>|\"']*"
    r"(?:-----END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-----)?"
)


def _rule(kind: str, pattern: str, check: Check = _not_example) -> Rule:
    return Rule("secrets", kind, pattern, check)


SECRET_RULES: tuple[Rule, ...] = (
    _rule("private key", _BLOCK, when(_key_block)),
    _rule("private key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    _rule("AWS key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _rule(
        "AWS key",
        r"(?i)aws.{0,20}?(?:secret|key).{0,20}?[^A-Za-z0-9/+]([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)",
        when(is_token),
    ),
    _rule("Azure key", r"(?i)(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{43,88}={1,2})"),
    _rule("Google key", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    _rule("Google key", r"\b(?:ya29\.[0-9A-Za-z_-]{30,}|GOCSPX-[0-9A-Za-z_-]{28})"),
    _rule("GitHub token", r"\b(?:gh[opusr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{70,})"),
    _rule("GitLab token", r"\bgl(?:pat|ptt|rt|dt|cbt|ft|soat)-[A-Za-z0-9_-]{20,}"),
    _rule(
        "Slack token", r"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|\bxapp-\d-[A-Za-z0-9-]{10,}"
    ),
    _rule(
        "Slack token",
        r"hooks\.slack\.com/services/(T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,})",
    ),
    _rule("Stripe key", r"\b(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,}|\bwhsec_[0-9A-Za-z+/]{24,}"),
    _rule("API key", r"\bsk-(?:[a-z]{3,8}-)*[A-Za-z0-9][A-Za-z0-9_-]{23,}", _token),
    _rule("API key", r"\b(?:hf_[A-Za-z]{34}|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,})"),
    _rule("API key", r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}\b"),
    _rule(
        "API key", r"\b(?:do[opr]_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}|shp(?:at|ca|pa|ss)_[0-9a-f]{32})"
    ),
    _rule("API key", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}|\blin_api_[A-Za-z0-9]{32,}"),
    _rule(
        "API key", r"\bSK[0-9a-f]{32}\b|\bkey-[0-9a-f]{32}\b|\bsq0(?:atp|csp)-[A-Za-z0-9_-]{22,}"
    ),
    _rule("API key", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    _rule("JSON web token", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}", when(_jwt)),
    _rule(
        "connection password",
        r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@\"'<>]*:([^\s/@\"'<>]+)@[A-Za-z0-9\[_$%{.-]",
    ),
    _rule(
        "authorization",
        r"(?i)\b(?:bearer|authorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:token|apikey|key))"
        r"[ \t]+([A-Za-z0-9+/=._~-]{16,})",
        _token,
    ),
    _rule("authorization", r"(?i)\bbasic[ \t]+([A-Za-z0-9+/]{8,}={0,2})", when(_basic)),
    _rule(
        "password",
        rf"(?i)(?:{_PASSWORD_NAMES}|(?-i:\b[Pp]ass|_PASS|[Pp]wd|PWD))s?{_SEPARATOR}({_QUOTED}|[^\s\"'\x60<>,;]+)",
        _password,
    ),
    _rule(
        "password",
        rf"(?i)(?:{_PASSWORD_NAMES})(?: (?:is|was|lautet|ist|es|est|é|är|to)[: ]{{1,2}}"
        rf"|[ \t]*\|[ \t]*|は|是|为)({_QUOTED}|[^\s\"'\x60<>,;|]+)",
        _told,
    ),
    _rule(
        "password",
        rf"(?i)(?:{_PASSWORD_NAMES})[*_]{{0,3}}:[*_]{{0,3}}[ \t]*\n[ \t]*(\S+)[ \t]*(?:\n|\z)",
        _told,
    ),
    _rule(
        "password", r"\bcurl\b[^\n]{0,200}? (?:-u|--user)[ =][\"']?[^\s:\"']+:([^\s\"']+)", _told
    ),
    _rule("password", r"(?i)--?(?:password|passwd|pass|pwd)[ =]([^\s-][^\s]*)", _told),
    _rule(
        "API key", rf"(?i)(?:{_TOKEN_NAMES})s?{_SEPARATOR}({_QUOTED}|[A-Za-z0-9+/=_.~-]+)", _token
    ),
    _rule(
        "API key", rf"(?i)(?:{_TOKEN_NAMES}) (?:is|to)[: ] ?({_QUOTED}|[A-Za-z0-9+/=_~-]+)", _token
    ),
    _rule(
        "API key",
        r"(?i)\bx-(?:api|auth)-(?:key|token)[\"']?[ \t]*[:=][ \t]*([A-Za-z0-9+/=_.~-]+)",
        _token,
    ),
)

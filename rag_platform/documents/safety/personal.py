"""Rules for personal data: addresses, phones, accounts, cards and numbers of national registers.

A number counts only where its check digits hold. Where those are weak, or there are none, a word
in front of it must say what it is.
"""

import ipaddress
import re
from collections.abc import Callable

from rag_platform.documents.safety import checksums
from rag_platform.documents.safety.checksums import digits_of
from rag_platform.documents.safety.rules import Candidate, Check, Rule, always, when

# Names of machines (RFC 6761), and names that are no person's.
_NO_ADDRESS = re.compile(
    r"@(?:.*\.)?(?:test|invalid|localhost|local)$"
    r"|\.(?:png|jpe?g|gif|svg|webp|css|js|json|md|py|html?|so|service|socket|git)$"
    r"|^(?:git|noreply|no-reply|donotreply|do-not-reply|postmaster|mailer-daemon)@",
    re.IGNORECASE,
)
# What stands before four numbers that are a version.
_VERSION = re.compile(
    r"(?:\bv|version|release|build|\bver\.?|section|chapter|clause|article|§)[ :=]{0,2}$"
    r"|[\w.]$|\w/$|[<>=~^\u2264\u2265] ?[\"'`]?$",
    re.IGNORECASE,
)
# Known to everybody: examples, and name servers for all.
_WELL_KNOWN = frozenset({"1.2.3.4", "4.3.2.1", "1.1.1.1", "8.8.8.8", "8.8.4.4", "9.9.9.9"})
_NO_PHONE = re.compile(r"\(?\d{4}-\d\d-\d\d|\d{1,3}(?:\.\d{1,3}){3}(?!\d)|\d\d\.\d\d\.\d{4}")

# Where a national number without a country code may be from, by the document's language.
_REGIONS = {
    "de": ("DE", "AT", "CH"),
    "fr": ("FR", "BE", "CH", "CA"),
    "es": ("ES", "MX", "AR", "CO"),
    "it": ("IT", "CH"),
    "pt": ("PT", "BR"),
    "nl": ("NL", "BE"),
    "pl": ("PL",),
    "sv": ("SE",),
    "da": ("DK",),
    "no": ("NO",),
    "fi": ("FI",),
    "tr": ("TR",),
    "ru": ("RU",),
    "uk": ("UA",),
    "ja": ("JP",),
    "ko": ("KR",),
    "zh": ("CN", "TW", "HK"),
    "hi": ("IN",),
}
_ENGLISH_REGIONS = ("US", "GB", "IN", "AU")


def _e_mail(value: str) -> bool:
    name, _, host = value.rpartition("@")
    return not (_NO_ADDRESS.search(value) or name.startswith(".") or ".." in value or "--." in host)


def _phone(candidate: Candidate) -> int:
    """The longest start of the digits that is a number people can be called under."""
    if _NO_PHONE.match(candidate.value):
        return 0
    regions: tuple[str, ...] = ("ZZ",)
    if not candidate.value.startswith("+"):
        regions = (*_REGIONS.get(candidate.language, ()), *_ENGLISH_REGIONS)
    ends = [len(candidate.value)]
    ends += [found.start() for found in re.finditer(r"[^\d+(]+", candidate.value)][:0:-1]
    for end in ends[:3]:
        value = candidate.value[:end].translate(_PLAIN)
        if len(digits_of(value)) >= 7 and any(_is_phone(value, region) for region in regions):
            return end
    return 0


def _is_phone(value: str, region: str) -> bool:
    import phonenumbers

    try:
        found = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(found)


def _iban(candidate: Candidate) -> int:
    """The number may be followed by other words in capitals: its country tells where it ends."""
    length = checksums.IBAN_LENGTHS.get(candidate.value[:2], 0)
    taken = 0
    for end, character in enumerate(candidate.value, start=1):
        taken += character.isalnum()
        if taken == length:
            return end if checksums.iban("".join(candidate.value[:end].split())) else 0
    return 0


_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|62\d{14,17}"
)
_CARD_GROUPS = re.compile(
    r"\d+|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5}"
)


def _card(value: str) -> bool:
    digits = digits_of(value)
    number = "".join(map(str, digits))
    fits = _CARD_GROUPS.fullmatch(value.translate(_PLAIN)) and _ISSUERS.fullmatch(number)
    return bool(fits) and len(set(digits)) > 2 and checksums.luhn(digits)


def _social_security(value: str) -> bool:
    """Numbers that may be given out (SSA, POMS RM 10201.035), and none that is known from ads."""
    area, group, serial = re.split(r"\D", value)
    known = f"{area}-{group}-{serial}" in ("078-05-1120", "219-09-9999", "123-45-6789")
    return not (
        known or area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"
    )


def _address(candidate: Candidate) -> int:
    """Addresses of hosts on the public Internet; four numbers may also be a version."""
    value = candidate.value
    if value in _WELL_KNOWN or value.endswith(".0") or ".0.0." in value:
        return 0
    if _VERSION.search(candidate.before):
        return 0
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        return 0
    public = found.is_global and not found.is_multicast
    return len(value) if public else 0


def _ipv6(candidate: Candidate) -> int:
    return _address(candidate) if candidate.value[:1] in "23" else 0


def _digits(holds: Callable[[list[int]], bool]) -> Check:
    return when(lambda value: holds(digits_of(value)))


def _compact(holds: Callable[[str], bool]) -> Check:
    return when(lambda value: holds(re.sub(r"[\W_]", "", value)))


def _named(words: str, check: Check) -> Check:
    """What the check takes, if one of the words stands before it."""
    name = re.compile(words, re.IGNORECASE)
    return lambda candidate: check(candidate) if name.search(candidate.before) else 0


def _swedish(value: str) -> bool:
    digits = digits_of(value)[-10:]
    month, day = digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]
    # A day plus 60 is a coordination number.
    return checksums.is_date(2000, month, day - 60 * (day > 60)) and checksums.luhn(digits)


def _finnish(value: str) -> bool:
    day, month = int(value[:2]), int(value[2:4])
    return checksums.is_date(2000, month, day) and checksums.hetu(value)


def _korean(value: str) -> bool:
    digits = digits_of(value)
    check = (11 - checksums.weighted(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    month, day = digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]
    return checksums.is_date(2000, month, day) and check == digits[12]


_PHONE_NAMES = (
    r"(?:^|[^\p{L}\p{N}])(?:tel|tele(?:phone|fon|fono|foon|fone)|t(?:é|e)l(?:é|e)phone|tel(?:é|e)fono"
    r"|phone|fon|mobile?|m(?:ó|o)vil|celular|cell|handy|portable|fax|whatsapp|call|ruf|hotline"
    r"|телефон|тел)(?:nummer|nr|s)?(?:[^\p{L}\d+\n][^\d+\n]{0,14}?)?|(?:電話|电话|手机|전화)[^\d+\n]{0,12}?"
)
_E_MAIL = (
    r"[\p{Latin}\d._%+'-]+@(?:[\p{Latin}\d](?:[\p{Latin}\d-]*[\p{Latin}\d])?\.)+[A-Za-z]{2,24}"
)
# What stands between groups of digits, also where no line may end.
_BLANK = r"[ \x{A0}\x{202F}]"
_APART = r"[ \x{A0}\x{202F}\x{2011}-]"
_PLAIN = str.maketrans("\xa0\u202f\u2011", "  -")
_IBAN = rf"\b[A-Z]{{2}}\d{{2}}(?:{_BLANK}?[A-Z0-9]{{4}}){{2,7}}(?:{_BLANK}?[A-Z0-9]{{1,3}})?\b"


def _rule(kind: str, pattern: str, check: Check) -> Rule:
    return Rule("pii", kind, pattern, check)


def _phones(pattern: str) -> Rule:
    # A check takes up to a millisecond, and a text with so many is a list of numbers.
    return Rule("pii", "phone", pattern, _phone, most_checks=1_000)


PII_RULES: tuple[Rule, ...] = (
    _rule("e-mail", _E_MAIL, when(_e_mail)),
    _rule("IBAN", _IBAN, _iban),
    _rule("card", rf"(?:^|[^\w.-])(\d(?:{_APART}?\d){{11,18}})(?:[^\w-]|$)", when(_card)),
    _rule(
        "social security number",
        rf"\b\d{{3}}{_APART}\d{{2}}{_APART}\d{{4}}\b",
        when(_social_security),
    ),
    _phones(r"\+\d[\d ().\-/\x{A0}\x{202F}\x{2011}]{5,20}\d"),
    _phones(rf"(?i)(?:{_PHONE_NAMES})(\(?\d[\d ().\-/\x{{A0}}\x{{202F}}\x{{2011}}]{{5,18}}\d)"),
    _phones(
        r"(?:^|[^\w.-])(\(\d{3}\)[ \x{A0}]?\d{3}[-. \x{A0}\x{2011}]\d{4}"
        r"|\d{3}[-\x{2011}]\d{3}[-\x{2011}]\d{4})\b"
    ),
    _rule("IP address", r"\b\d{1,3}(?:\.\d{1,3}){3}\b", _address),
    _rule("IP address", r"\b[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}\b", _ipv6),
    # National registers
    _rule(
        "national number",
        r"\b[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        _named(r"national insurance|\bnino\b|\bni (?:no|number)", always),
    ),
    _rule(
        "national number",
        r"\b\d{3} ?\d{3} ?\d{4}\b",
        _named(r"\bnhs\b", _digits(checksums.nhs_number)),
    ),
    _rule(
        "national number",
        r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b",
        _named(r"steuer|identifikationsnummer|\bidnr|tax id", _digits(checksums.tax_number)),
    ),
    _rule(
        "national number",
        r"\b[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b",
        _compact(checksums.nir),
    ),
    _rule(
        "national number",
        r"\b\d{8}[- ]?[A-Z]\b",
        _named(r"\bdni\b|\bnif\b|documento", _compact(checksums.dni)),
    ),
    _rule("national number", r"\b[XYZ]-?\d{7}-?[A-Z]\b", _compact(checksums.dni)),
    _rule(
        "national number",
        r"\b[A-Z]{6}\d{2}[ABCDEHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b",
        _compact(checksums.codice_fiscale),
    ),
    _rule(
        "national number",
        r"\b\d{9}\b",
        _named(r"\bbsn\b|burgerservice|sofi", _digits(checksums.bsn)),
    ),
    _rule("national number", r"\b\d{11}\b", _named(r"pesel", _digits(checksums.pesel))),
    _rule("national number", r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b", _digits(checksums.cpf)),
    _rule("national number", r"\b\d{11}\b", _named(r"\bcpf\b", _digits(checksums.cpf))),
    _rule(
        "national number",
        r"\b\d{3}[ -]?\d{3}[ -]?\d{3}\b",
        _named(r"\bsin\b|social insurance|assurance sociale|\bnas\b", _digits(checksums.luhn)),
    ),
    _rule(
        "national number", r"\b[1-9]\d{5}(?:18|19|20)\d{9}[\dX]\b", _compact(checksums.resident_id)
    ),
    _rule(
        "national number",
        r"\b[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}\b",
        _named(r"a{1,2}dhaa?r|uidai|आधार", _digits(checksums.verhoeff)),
    ),
    _rule(
        "national number",
        r"\d{4}[ -]?\d{4}[ -]?\d{4}",
        _named(r"マイナンバー|個人番号|my number", _digits(checksums.my_number)),
    ),
    _rule("national number", r"\b\d{6}-[1-4]\d{6}\b", when(_korean)),
    _rule("national number", r"\b(?:19|20)?\d{6}[-+]\d{4}\b", when(_swedish)),
    _rule("national number", r"\b\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]\b", when(_finnish)),
)

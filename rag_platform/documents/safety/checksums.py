"""Check digits of numbers that name people, accounts and cards: pure functions of the digits."""

from collections.abc import Sequence
from datetime import date

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Length of an IBAN by country, as in SWIFT's registry.
IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}


def digits_of(text: str) -> list[int]:
    """The ASCII digits of a text."""
    return [int(character) for character in text if character in "0123456789"]


def luhn(digits: Sequence[int]) -> bool:
    """ISO/IEC 7812-1: cards, Canadian SIN, Swedish personal numbers."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(compact: str) -> bool:
    """ISO 13616: length of the country, and mod 97 of the rearranged number is 1."""
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def verhoeff(digits: Sequence[int]) -> bool:
    """Verhoeff's check of the dihedral group D5: Aadhaar."""
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = _d5(check, _permuted(position, digit))
    return check == 0


def _d5(left: int, right: int) -> int:
    """The product in the dihedral group of the pentagon: 0 to 4 turn it, 5 to 9 mirror it."""
    if left < 5:
        return (left + right) % 5 + 5 * (right > 4)
    return (left - right) % 5 + 5 * (right < 5)


def _permuted(times: int, digit: int) -> int:
    for _ in range(times % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def mod_11_10(digits: Sequence[int]) -> bool:
    """ISO/IEC 7064 MOD 11,10: the German tax number."""
    product = 10
    for digit in digits[:-1]:
        product = ((product + digit) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[-1]


def weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    """The sum of digits times weights, as far as there are weights."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def tax_number(digits: Sequence[int]) -> bool:
    """German Identifikationsnummer: of the first ten digits one stands two or three times."""
    most = max(digits[:10].count(digit) for digit in digits[:10])
    return digits[0] != 0 and most in (2, 3) and mod_11_10(digits)


def nhs_number(digits: Sequence[int]) -> bool:
    """British NHS number: weights 10 to 2, mod 11."""
    return -weighted(digits, range(10, 1, -1)) % 11 == digits[9]


def bsn(digits: Sequence[int]) -> bool:
    """Dutch burgerservicenummer: the test of eleven, the last digit counted negative."""
    return any(digits) and weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def pesel(digits: Sequence[int]) -> bool:
    """Polish PESEL: a date of birth, whose month tells the century, and a check digit."""
    year, month, day = digits[0] * 10 + digits[1], digits[2] * 10 + digits[3], digits[4:6]
    century = (1900, 2000, 2100, 2200, 1800)[month // 20]
    if not is_date(century + year, month % 20, day[0] * 10 + day[1]):
        return False
    return -weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10 == digits[10]


def cpf(digits: Sequence[int]) -> bool:
    """Brazilian CPF: two check digits mod 11; all the same digit is none."""
    first = weighted(digits, range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(digits, range(11, 1, -1)) * 10 % 11 % 10
    return len(set(digits)) > 1 and [first, second] == list(digits[9:11])


def nir(compact: str) -> bool:
    """French NIR: 13 characters and a key of two digits; Corsica's 2A and 2B count as 19, 18."""
    body = compact[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(compact[13:15])


def dni(compact: str) -> bool:
    """Spanish DNI and NIE: the letter is the number mod 23; X, Y, Z stand for 0, 1, 2."""
    number = compact[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == compact[-1]


_ODD_LETTERS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22)
_ODD_VALUES = (*_ODD_LETTERS[:10], *_ODD_LETTERS, 25, 24, 23)
_ODD = dict(zip("0123456789" + _LETTERS, _ODD_VALUES, strict=True))


def codice_fiscale(compact: str) -> bool:
    """Italian codice fiscale: the last letter checks the 15 before it."""
    odd = sum(_ODD[each] for each in compact[0:15:2])
    even = sum(int(each) if each.isdigit() else _LETTERS.index(each) for each in compact[1:15:2])
    return _LETTERS[(odd + even) % 26] == compact[15]


def resident_id(compact: str) -> bool:
    """Chinese resident identity number: GB 11643-1999, ISO 7064 MOD 11-2, with a date."""
    if not is_date(int(compact[6:10]), int(compact[10:12]), int(compact[12:14])):
        return False
    total = sum(int(digit) * pow(2, 17 - n, 11) for n, digit in enumerate(compact[:17]))
    return "10X98765432"[total % 11] == compact[17]


def my_number(digits: Sequence[int]) -> bool:
    """Japanese individual number: weights 6 to 2 and 7 to 2, mod 11."""
    rest = weighted(digits, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return digits[11] == (0 if rest <= 1 else 11 - rest)


def hetu(compact: str) -> bool:
    """Finnish henkilötunnus: date and number mod 31 give the last character."""
    number = int(compact[:6] + compact[7:10])
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[number % 31] == compact[10]


def is_date(year: int, month: int, day: int) -> bool:
    """Whether there is such a day."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True

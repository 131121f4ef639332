"""Check digits: numbers that their issuers publish as examples, and errors that must be found."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rag_platform.documents.safety import checksums
from rag_platform.documents.safety.checksums import digits_of

DIGITS = st.integers(0, 9)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        # ISO/IEC 7812-1, annex B.
        (checksums.luhn, "49927398716", "49927398717"),
        # Of the German federal tax office (BZSt).
        (checksums.tax_number, "86095742719", "86095742718"),
        (checksums.tax_number, "47036892816", "47036892861"),
        (checksums.nhs_number, "9434765919", "9434765918"),
        (checksums.bsn, "111222333", "111222334"),
        (checksums.pesel, "44051401359", "44051401358"),
        (checksums.cpf, "52998224725", "52998224752"),
        (checksums.verhoeff, "2363", "2364"),
        (checksums.my_number, "123456789018", "123456789019"),
    ],
)
def test_numbers_of_digits(check: object, good: str, bad: str) -> None:
    assert callable(check)
    assert check(digits_of(good))
    assert not check(digits_of(bad))


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checksums.iban, "DE89370400440532013000", "DE89370400440532013001"),
        (checksums.iban, "GB29NWBK60161331926819", "GB29NWBK6016133192681"),
        (checksums.iban, "NO9386011117947", "ZZ9386011117947"),
        (checksums.nir, "255081416802538", "255081416802537"),
        (checksums.dni, "12345678Z", "12345678A"),
        (checksums.dni, "X1234567L", "Y1234567L"),
        (checksums.codice_fiscale, "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
        (checksums.resident_id, "11010519491231002X", "110105194912310021"),
        (checksums.resident_id, "11010519491231002X", "11010519491331002X"),
        (checksums.hetu, "131052-308T", "131052-308U"),
    ],
)
def test_numbers_with_letters(check: object, good: str, bad: str) -> None:
    assert callable(check)
    assert check(good)
    assert not check(bad)


def test_corsica_counts_as_a_number() -> None:
    key = 97 - 2_550_819_168_025 % 97  # 2A counts as 19
    assert checksums.nir(f"255082A168025{key:02d}")
    assert not checksums.nir(f"255082B168025{key:02d}")


def test_what_fits_by_its_digits_and_is_no_number() -> None:
    assert not checksums.cpf([1] * 11)
    assert not checksums.bsn([0] * 9)
    assert not checksums.is_date(2026, 2, 29)


@given(st.lists(DIGITS, min_size=2, max_size=20), st.data())
def test_luhn_finds_one_wrong_digit(digits: list[int], data: st.DataObject) -> None:
    check = next(d for d in range(10) if checksums.luhn([*digits, d]))
    place = data.draw(st.integers(0, len(digits) - 1))
    wrong = data.draw(DIGITS)
    assume(wrong != digits[place])
    assert not checksums.luhn([*digits[:place], wrong, *digits[place + 1 :], check])


@given(st.lists(DIGITS, min_size=2, max_size=20), st.data())
def test_verhoeff_finds_one_wrong_digit_and_two_that_changed_places(
    digits: list[int], data: st.DataObject
) -> None:
    number = next([*digits, d] for d in range(10) if checksums.verhoeff([*digits, d]))
    place = data.draw(st.integers(0, len(digits) - 1))
    swapped = number.copy()
    swapped[place : place + 2] = number[place + 1], number[place]
    assert swapped == number or not checksums.verhoeff(swapped)
    wrong = data.draw(DIGITS)
    assume(wrong != number[place])
    number[place] = wrong
    assert not checksums.verhoeff(number)

"""Which language a text is in: by itself, by what it declares, and neither."""

# ruff: noqa: RUF001

import pytest

from rag_platform.encoders.languages import DENSE_SHARE, code, detect, guesses

# Article 1 of the Universal Declaration of Human Rights, in the public domain.
ARTICLE = {
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft "
    "und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with "
    "reason and conscience and should act towards one another in a spirit of brotherhood.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como "
    "están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont "
    "doués de raison et de conscience et doivent agir les uns envers les autres.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "
    "разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana "
    "sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
}


@pytest.mark.parametrize("language", ARTICLE)
def test_a_text_alone(language: str) -> None:
    assert detect(ARTICLE[language]) == language


@pytest.mark.parametrize("text", ["", "   ", "1234", "?!", "`print(x)`", "flow"])
def test_uncertain(text: str) -> None:
    assert detect(text) == ""
    assert detect(text, "de-AT") == "de"


def test_what_is_declared_counts_unless_the_text_says_otherwise() -> None:
    assert detect(ARTICLE["de"], "en") == "de"
    # Malay and Indonesian are hard to tell apart: the text bears out either.
    text = "Saya tidak tahu"
    assert {detect(text, "ms"), detect(text, "id")} == {"ms", "id"}


def test_han_without_kana_is_chinese() -> None:
    assert detect("東京") == "zh"
    assert detect("東京です") == "ja"


def test_code_and_addresses_do_not_count() -> None:
    code_ = "```python\nfor item in all_the_items:\n    print(item)\n```\n" * 20
    assert detect(f"{code_}{ARTICLE['fr']}\n\nhttps://example.org/how/to/install") == "fr"


def test_a_long_document_is_judged_by_all_of_it() -> None:
    quoted = f"{ARTICLE['en']}\n\n" + f"{ARTICLE['de']}\n\n" * 40
    assert detect(quoted) == "de"


def test_guesses_are_likelihoods_best_first() -> None:
    found = guesses("La casa de la familia")
    assert [likely for _, likely in found] == sorted((p for _, p in found), reverse=True)
    assert 0 < sum(likely for _, likely in found) <= 1.001
    assert guesses("42") == []


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        *[("en", "en"), ("DE-at", "de"), ("zh_Hans_CN", "zh"), (" pt-BR ", "pt"), ("nb", "no")],
        *[("arz", "ar"), ("yue", "zh"), ("", ""), ("english", ""), ("x-klingon", ""), ("ceb", "")],
    ],
)
def test_codes(tag: str, expected: str) -> None:
    assert code(tag) == expected


def test_shares_are_shares_by_code() -> None:
    assert all(each == "" or code(each) == each for each in DENSE_SHARE)
    assert all(0 < share < 1 for share in DENSE_SHARE.values())
    assert "" in DENSE_SHARE

from decimal import Decimal

import pytest

from rag_platform.llm.prices import Prices, UnknownPrice
from rag_platform.settings_llm import PriceSettings


def price(input_per_million: str, output_per_million: str = "0") -> PriceSettings:
    return PriceSettings(
        input_per_million=Decimal(input_per_million),
        output_per_million=Decimal(output_per_million),
    )


def test_public_price_of_an_embedding_model_is_rounded_up() -> None:
    # OpenAI's published price: 0.02 dollars a million tokens.
    prices = Prices()
    assert prices.microusd("text-embedding-3-small", input_tokens=1_000_000) == 20_000
    assert prices.microusd("text-embedding-3-small", input_tokens=51) == 2  # 1.02
    assert prices.microusd("text-embedding-3-small", input_tokens=50) == 1
    assert prices.microusd("text-embedding-3-small", input_tokens=1) == 1
    assert prices.microusd("text-embedding-3-small", input_tokens=0) == 0


def test_output_tokens_have_their_own_price() -> None:
    prices = Prices({"local": price("0.5", "2")})
    assert prices.microusd("local", input_tokens=3, output_tokens=2) == 6  # 1.5 + 4
    # gpt-4o-mini: 0.15 and 0.60 dollars a million tokens.
    assert Prices().microusd("gpt-4o-mini", input_tokens=1_000, output_tokens=1_000) == 750


def test_exact_decimals_are_not_pushed_over_by_floats() -> None:
    # In binary floating point, 3 * 0.1 is more than 0.3 and 30 times that would round up to 10.
    prices = Prices({"m": price("0.1")})
    assert prices.microusd("m", input_tokens=90) == 9
    assert prices.microusd("m", input_tokens=30) == 3


def test_a_price_set_by_hand_wins_and_zero_is_a_price() -> None:
    prices = Prices({"text-embedding-3-small": price("7"), "free": price("0")})
    assert prices.microusd("text-embedding-3-small", input_tokens=10) == 70
    assert prices.microusd("free", input_tokens=10_000_000) == 0


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "http://127.0.0.1:8000/v1"])
def test_unknown_model_is_refused_with_what_to_do(base_url: str) -> None:
    with pytest.raises(UnknownPrice) as caught:
        Prices(base_url=base_url).microusd("our-own-model", input_tokens=1)
    message = str(caught.value)
    assert "our-own-model" in message
    assert base_url in message
    assert "llm.prices" in message
    assert "\n" not in message


def test_another_server_needs_a_price_only_for_unknown_models() -> None:
    prices = Prices(base_url="http://127.0.0.1:8000/v1")
    assert prices.microusd("text-embedding-3-large", input_tokens=1_000_000) == 130_000


def test_a_known_provider_is_not_given_the_prices_of_another() -> None:
    with pytest.raises(UnknownPrice):
        Prices(base_url="https://api.mistral.ai/v1").microusd("gpt-4o-mini", input_tokens=1)

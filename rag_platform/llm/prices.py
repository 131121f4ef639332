"""What a request costs, in integer micro-dollars rounded up; an unknown price is refused."""

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from rag_platform.errors import PlatformError
from rag_platform.settings_llm import PriceSettings

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

OPENAI_URL = "https://api.openai.com/v1"


class UnknownPrice(PlatformError):
    """No price is known for a model, so nothing may be sent to it."""


class Prices:
    """Prices by model: those set by hand first, then the public ones of `base_url`'s provider.

    The public prices come with the genai-prices package; nothing is fetched.
    """

    def __init__(
        self, overrides: Mapping[str, PriceSettings] | None = None, *, base_url: str = OPENAI_URL
    ) -> None:
        self._overrides = dict(overrides or {})
        self._base_url = base_url

    def microusd(self, model: str, *, input_tokens: int, output_tokens: int = 0) -> int:
        """The price of one request, rounded up. Raises `UnknownPrice`."""
        if price := self._overrides.get(model):
            # Dollars per million tokens are micro-dollars per token.
            return math.ceil(
                input_tokens * price.input_per_million + output_tokens * price.output_per_million
            )
        return _public_microusd(model, self._base_url, input_tokens, output_tokens)


def _public_microusd(model: str, base_url: str, input_tokens: int, output_tokens: int) -> int:
    if not _is_listed(model, base_url):
        raise UnknownPrice(
            f"{model} at {base_url}: no price is known, so nothing was sent. Add it under "
            f"`llm.prices` in platform.yaml, as {model}: "
            "{input_per_million: 0.02, output_per_million: 0}; 0 if it is free."
        )
    calculation = _calculate(model, base_url, input_tokens, output_tokens)
    return math.ceil(calculation.total_price * 1_000_000)


@cache
def _is_listed(model: str, base_url: str) -> bool:
    """Whether the public list has a price for the model; an empty entry is not a price."""
    try:
        return _calculate(model, base_url, 1_000_000, 0).total_price > Decimal(0)
    except LookupError:
        return False


def _calculate(
    model: str, base_url: str, input_tokens: int, output_tokens: int
) -> "PriceCalculation":
    """Raises `LookupError` where the list has no such model."""
    from genai_prices import Usage, calc_price
    from genai_prices.data_snapshot import get_snapshot

    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    try:
        get_snapshot().find_provider(None, None, base_url)
    except LookupError:
        # A proxy or a server of one's own: its models are priced as OpenAI's of the same name.
        return calc_price(usage, model, provider_id="openai")
    return calc_price(usage, model, provider_api_url=base_url)

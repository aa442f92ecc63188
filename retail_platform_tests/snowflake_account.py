"""An environment of the account as tests set it up: rendered from values made up here."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from retail_platform.contract import FeedContract, load_contracts
from retail_platform.countries import CountryRegistry, load_countries
from retail_platform.operate.account.environments import AccountEnvironment, read_environment
from retail_platform.operate.account.scripts import Rendered, render

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_KEY = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
VARIABLES = {
    "RETAIL_LAKE_URL": "s3://bucket/lake",
    "RETAIL_LAKE_ROLE_ARN": "arn:aws:iam::123456789012:role/lake",
    "RETAIL_FAILURES_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:retail",
    "RETAIL_FAILURES_ROLE_ARN": "arn:aws:iam::123456789012:role/failures",
    "RETAIL_SETUP_PUBLIC_KEY": PUBLIC_KEY,
    "RETAIL_PLATFORM_PUBLIC_KEY": PUBLIC_KEY,
    "RETAIL_BI_PUBLIC_KEY": PUBLIC_KEY,
}
CONTRACTS = load_contracts()


@cache
def registry() -> CountryRegistry:
    return load_countries()


@cache
def environment(name: str) -> AccountEnvironment:
    return read_environment(name, variable=VARIABLES.__getitem__)


def rendered(
    name: str = "prod",
    contracts: Iterable[FeedContract] = CONTRACTS.values(),
    countries: CountryRegistry | None = None,
    **changed: Any,
) -> Rendered:
    """Scripts of an environment with some of its values changed."""
    env = environment(name).model_copy(update=changed)
    return render(name, env, countries or registry(), contracts)

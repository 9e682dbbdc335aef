"""The proxy's settings, from the environment: ``STRIPE_PROXY_DATABASE_URL`` and so on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from stripe_proxy.errors import WrongSettingError
from tap_stripe_events.object_table import API_VERSION

PREFIX = "STRIPE_PROXY_"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person can set.

    Attributes:
        database_url: libpq URI of the database; unset: the embedded Postgres.
        default_target_schema: The schema that holds the tables.
        hard_delete: Remove deleted rows, as the target does if it is told to.
        host: The address to listen on.
        port: The port.
        api_url: Where `api.stripe.com` is.
        files_url: Where `files.stripe.com` is.
        api_key: The sync's own key; reads again what answers do not hold as the rows do.
        api_version: The version that rows are in.
        token: What the status page, the wait endpoint and the metrics ask for; unset: nothing.
        wake_socket: The tap's setting of that name, so that those who wait have it read at once.
        wait_timeout_seconds: How long the wait endpoint waits if the caller does not say.
        upstream_timeout_seconds: How long Stripe may take between two bytes.
        apply_timeout_seconds: How long an answer waits for Postgres before it goes out without.
    """

    database_url: str = ""
    default_target_schema: str = "stripe"
    hard_delete: bool = False
    host: str = "127.0.0.1"
    port: int = 8787
    api_url: str = "https://api.stripe.com"
    files_url: str = "https://files.stripe.com"
    api_key: str = ""
    api_version: str = API_VERSION
    token: str = ""
    wake_socket: str = ""
    wait_timeout_seconds: float = 30.0
    upstream_timeout_seconds: float = 80.0
    apply_timeout_seconds: float = 10.0

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Settings(host={self.host!r}, port={self.port}, api_url={self.api_url!r})"

    @property
    def hosts(self) -> dict[str, str]:
        """The hosts that requests are passed on to, and where they are."""
        return {"api.stripe.com": self.api_url, "files.stripe.com": self.files_url}


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings that an environment holds; what is empty counts as unset.

    Raises:
        WrongSettingError: One of them is not what it should be.
    """
    values: dict[str, Any] = {}
    for each in fields(Settings):
        text = environment.get(PREFIX + each.name.upper(), "").strip()
        if text:
            values[each.name] = _value(each.name, text, type(each.default))
    settings = Settings(**values)
    for name in ("api_url", "files_url"):
        parts = urlsplit(getattr(settings, name))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise WrongSettingError(setting=name, problem="it is no URL", way_out="Write https://api.stripe.com.")
    return settings


def _value(name: str, text: str, kind: type) -> object:
    if kind is bool:
        if text.lower() in {"true", "1", "yes", "on"}:
            return True
        if text.lower() in {"false", "0", "no", "off"}:
            return False
        raise WrongSettingError(setting=name, problem="it is neither true nor false", way_out="Write true or false.")
    if kind is str:
        return text.rstrip("/") if name.endswith("_url") and name != "database_url" else text
    try:
        number = kind(text)
    except ValueError:
        number = 0
    if number <= 0:
        raise WrongSettingError(setting=name, problem="it is no number above 0", way_out="Write a number such as 30.")
    return number

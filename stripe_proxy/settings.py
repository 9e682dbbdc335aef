"""The proxy's settings, from the environment: ``STRIPE_PROXY_DATABASE_URL`` and so on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import urlsplit

from stripe_proxy.errors import WrongSettingError
from tap_stripe_events.keys import api_key
from tap_stripe_events.object_table import API_VERSION

PREFIX = "STRIPE_PROXY_"


def _setting(default: Any, description: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"description": description, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person can set; each says what it is, for people and for Meltano."""

    database_url: str = _setting(
        "", "libpq URI of the database. If it is not set, the embedded Postgres is used.", secret=True
    )
    database_url_file: str = _setting("", "A file that holds the database URL, in place of database_url.")
    default_target_schema: str = _setting("stripe", "The schema that holds the tables.")
    hard_delete: bool = _setting(default=False, description="Remove deleted rows, as the target does if told to.")
    host: str = _setting("127.0.0.1", "The address to listen on.")
    port: int = _setting(8787, "The port to listen on.")
    api_url: str = _setting("https://api.stripe.com", "Where api.stripe.com is.")
    files_url: str = _setting("https://files.stripe.com", "Where files.stripe.com is.")
    api_key: str = _setting(
        "",
        "The sync's own key: reads again what an answer does not hold as the rows do. "
        "Without it, that is left to the feed.",
        secret=True,
    )
    api_key_file: str = _setting("", "A file that holds the API key, in place of api_key.")
    api_version: str = _setting(API_VERSION, "The Stripe API version that the rows are in, as the tap's setting.")
    token: str = _setting(
        "",
        "What the status page, the metrics and the wait endpoint ask for; if it is not set, nothing.",
        secret=True,
    )
    follow: bool = _setting(
        default=False, description="Also run the sync, and again whenever it ends, as --follow does."
    )
    wake_socket: str = _setting(
        "", "The tap's setting of that name, so that those who wait have the feed read at once."
    )
    wait_timeout_seconds: float = _setting(30.0, "How long the wait endpoint waits if a call does not say.")
    upstream_timeout_seconds: float = _setting(80.0, "How long Stripe may take between two bytes.")
    apply_timeout_seconds: float = _setting(10.0, "How long an answer waits for Postgres before it goes out without.")

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


def with_key_read(settings: Settings) -> Settings:
    """Return the settings with the key that ``api_key_file`` holds, if it is set.

    Raises:
        TapError: What is to be the key cannot be one.
    """
    if not settings.api_key and not settings.api_key_file:
        return settings
    return replace(settings, api_key=api_key(settings.api_key, settings.api_key_file), api_key_file="")


def about() -> dict[str, Any]:
    """Return what ``--about`` tells, in the form of the SDK's plugins: each setting's JSON Schema."""
    properties: dict[str, Any] = {}
    for each in fields(Settings):
        default: Any = each.default
        kind = {bool: "boolean", int: "integer", float: "integer", str: "string"}[type(default)]
        shown = int(default) if kind == "integer" else default  # Meltano cannot pass decimals
        properties[each.name] = {"type": [kind], "description": each.metadata["description"]}
        if shown != "":
            properties[each.name]["default"] = shown
        if each.metadata["secret"]:
            properties[each.name]["secret"] = True
    return {"name": "stripe-proxy", "settings": {"type": "object", "properties": properties}}


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

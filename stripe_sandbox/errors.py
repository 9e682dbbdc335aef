"""Errors: those that the sandbox answers as Stripe would, and those of somebody who starts it wrongly."""

from __future__ import annotations

from typing import Any


class SandboxError(Exception):
    """The sandbox was asked for something it cannot be; the message says what it has and what to ask instead."""


class StripeError(Exception):
    """An answer other than 2xx, in Stripe's form.

    Args:
        status: The HTTP status.
        message: What went wrong, in Stripe's words where they are known.
        type: Stripe's error type, such as ``invalid_request_error`` or ``card_error``.
        code: Stripe's error code, such as ``resource_missing``.
        param: The request parameter at fault.
        headers: More headers for the answer.
        details: More members of the error, such as ``decline_code`` or ``payment_intent``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - Stripe's own name for it
        code: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = headers
        self.details = details or {}

    def body(self, request_log_url: str) -> dict[str, Any]:
        """The answer's JSON: ``{"error": {...}}``, without the members that do not apply."""
        error: dict[str, Any] = {}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        error["message"] = self.message
        if self.param is not None:
            error["param"] = self.param
        error["request_log_url"] = request_log_url
        error["type"] = self.type
        error.update(self.details)
        return {"error": error}


def no_such(object_type: str, key: str, *, param: str = "id") -> StripeError:
    """404: the object does not exist."""
    return StripeError(404, f"No such {_spoken(object_type)}: '{key}'", code="resource_missing", param=param)


def no_such_reference(object_type: str, key: str, param: str) -> StripeError:
    """400: a parameter names an object that does not exist."""
    return StripeError(400, f"No such {_spoken(object_type)}: '{key}'", code="resource_missing", param=param)


def _spoken(object_type: str) -> str:
    """A type as Stripe's messages call it: ``tax id`` for ``tax_id``, ``session`` for ``checkout.session``."""
    return object_type.rpartition(".")[2].replace("_", " ")


def unrecognized_url(method: str, path: str) -> StripeError:
    """404: there is nothing at this path."""
    return StripeError(
        404,
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/.",
    )


def unknown_parameter(name: str) -> StripeError:
    """400: the endpoint has no such parameter."""
    return StripeError(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def missing_parameter(name: str) -> StripeError:
    """400: the endpoint cannot do without this parameter."""
    return StripeError(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def invalid_parameter(name: str, message: str, *, code: str | None = None) -> StripeError:
    """400: a parameter has a value that cannot be used."""
    return StripeError(400, message, code=code, param=name)


def wrong_state(message: str, code: str | None = None) -> StripeError:
    """400: the object is not in a state in which this can be done."""
    return StripeError(400, message, code=code)

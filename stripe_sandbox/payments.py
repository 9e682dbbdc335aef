"""Rules for money: payment intents, charges, refunds, disputes, payouts, transfers, and the balance they all move.

Every movement has a balance transaction; ``net`` is ``amount - fee``, a payout is the sum of the nets that it pays
out. Funds become available two days after they came in, without an event, as at Stripe.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand, existing, named
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import StripeError, invalid_parameter, wrong_state
from stripe_sandbox.forms import Params, as_bool, as_int
from stripe_sandbox.payment_methods import attach, charged_card, payment_method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

SETTLEMENT_SECONDS: Final = 2 * 86_400
DISPUTE_FEE: Final = 1_500
_CONFIRM_EXTRAS: Final = frozenset(
    {"confirm", "error_on_requires_action", "mandate_data", "off_session", "return_url", "use_stripe_sdk"}
)


def fee(amount: int) -> int:
    """Stripe's price for a European card: 1.5 % and 25 in the smallest unit."""
    return round(amount * 0.015) + 25


def move_money(
    account: Account,
    *,
    amount: int,
    currency: str,
    kind: str,
    source: str,
    fee_amount: int = 0,
    settled: bool = False,
    description: str | None = None,
) -> Record:
    """Write a balance transaction and move the account's balance with it.

    Args:
        account: The account.
        amount: What comes in, negative for what goes out, in the smallest currency unit.
        currency: Lower case.
        kind: The transaction's type: charge, refund, adjustment, payout, transfer, topup.
        source: The id of the object that moves the money.
        fee_amount: Stripe's fee.
        settled: Available at once, as payouts are.
        description: What the dashboard shows.
    """
    now = account.now()
    details = [
        {
            "amount": fee_amount,
            "application": None,
            "currency": currency,
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    transaction = account.create(
        "balance_transaction",
        {
            "amount": amount,
            "available_on": now if settled else now - now % 86_400 + SETTLEMENT_SECONDS,
            "balance_type": "payments",
            "currency": currency,
            "description": description,
            "fee": fee_amount,
            "fee_details": details if fee_amount else [],
            "net": amount - fee_amount,
            "reporting_category": "dispute" if kind == "adjustment" else kind,
            "source": source,
            "status": "available" if settled else "pending",
            "type": kind,
        },
        verb=None,
    )
    account.ledger.note(transaction)
    if not settled:
        account.agenda.note(transaction.body["available_on"], "settlement", "")
    show_balance(account)
    return transaction


def settle(account: Account, *, at_most: int | None = None) -> bool:
    """What is due becomes available, which only the balance announces; whether more than ``at_most`` is due."""
    transactions = account.store.table("balance_transaction").records
    due = account.ledger.due(account.now())
    for key in due[:at_most]:
        transaction = transactions.get(key)
        if transaction is not None:
            account.change(transaction, {"status": "available"}, verb=None)
            account.ledger.settled(transaction)
    if not due:
        return False
    show_balance(account)
    more = at_most is not None and len(due) > at_most
    balance = account.store.get("balance", "balance")
    if balance is not None and not more:
        account.announce(balance, "available")
    return more


def create_intent(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_intents``, confirmed at once if wanted."""
    demand(params, "amount", "currency")
    if as_int("amount", params["amount"]) < 1:
        raise invalid_parameter(
            "amount", "This value must be greater than or equal to 1.", code="parameter_invalid_integer"
        )
    confirm = as_bool("confirm", params.get("confirm", "false"))
    method = (
        payment_method(account, params["payment_method"], "payment_method") if params.get("payment_method") else None
    )
    rest = {name: value for name, value in params.items() if name not in _CONFIRM_EXTRAS and name != "payment_method"}
    intent = new_intent(account, values_from_params(account, "payment_intent", rest), method)
    return pay(account, intent) if confirm else intent


def new_intent(account: Account, values: Body, method: Record | None) -> Record:
    """A payment intent that waits for a payment method or a confirmation."""
    secret = account.ids.token()
    intent_id = account.ids.next("payment_intent")
    return account.create(
        "payment_intent",
        {
            "id": intent_id,
            "amount_capturable": 0,
            "amount_received": 0,
            "capture_method": "automatic_async",
            "client_secret": f"{intent_id}_secret_{secret}",
            "confirmation_method": "automatic",
            "metadata": {},
            "payment_method_types": ["card"],
            **values,
            "payment_method": method.key if method is not None else None,
            "status": "requires_confirmation" if method is not None else "requires_payment_method",
        },
    )


def change_intent(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_intents/{intent}``: without an event, as at Stripe."""
    intent = existing(account, "payment_intent", path["intent"], "intent")
    method = params.pop("payment_method", None)
    values = values_from_params(account, "payment_intent", params, intent.body)
    if method is not None:
        values["payment_method"] = payment_method(account, method, "payment_method").key
        values["status"] = "requires_confirmation"
    return account.change(intent, values)


def confirm_intent(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_intents/{intent}/confirm``."""
    rest = {name: value for name, value in params.items() if name not in _CONFIRM_EXTRAS}
    return pay(account, change_intent(account, path, rest))


def pay(account: Account, intent: Record, *, description: str | None = None) -> Record:
    """Confirm an intent: charge its payment method.

    Raises:
        StripeError: 400 in a wrong state, 402 where the card is declined; the intent and the failed charge are kept.
    """
    if intent.body["status"] not in ("requires_confirmation", "requires_payment_method"):
        raise wrong_state(
            f"You cannot confirm this PaymentIntent because it has a status of {intent.body['status']}.",
            "payment_intent_unexpected_state",
        )
    method = account.store.get("payment_method", intent.body["payment_method"] or "")
    if method is None:
        raise wrong_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            "payment_intent_unexpected_state",
        )
    decline_code = method.facts.get("decline_code")
    charge = new_charge(account, intent.body, method, description=description)
    if decline_code is not None:
        raise _declined(account, intent, method, charge, decline_code)
    customer = account.store.get("customer", intent.body["customer"] or "")
    if intent.body["setup_future_usage"] is not None and customer is not None and method.body["customer"] is None:
        attach(account, method, customer)
    if intent.body["capture_method"] == "manual":
        values = {"status": "requires_capture", "amount_capturable": intent.body["amount"], "latest_charge": charge.key}
        return account.change(intent, values, verb="amount_capturable_updated")
    values = {
        "amount_received": intent.body["amount"],
        "last_payment_error": None,
        "latest_charge": charge.key,
        "status": "succeeded",
    }
    return account.change(intent, values, verb="succeeded")


def new_charge(account: Account, intent: Body, method: Record, *, description: str | None = None) -> Record:
    """A charge for an intent, with its balance transaction unless it fails or waits for its capture."""
    decline_code = method.facts.get("decline_code")
    captured = decline_code is None and intent["capture_method"] != "manual"
    charge_id = account.ids.next("charge")
    transaction = None
    if captured:
        transaction = move_money(
            account,
            amount=intent["amount"],
            currency=intent["currency"],
            kind="charge",
            source=charge_id,
            fee_amount=fee(intent["amount"]),
            description=description or intent["description"],
        )
    verb = "failed" if decline_code is not None else "succeeded"
    return account.create(
        "charge",
        {
            "id": charge_id,
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if captured else 0,
            "balance_transaction": transaction.key if transaction is not None else None,
            "billing_details": method.body["billing_details"],
            "calculated_statement_descriptor": "SANDBOX",
            "captured": captured,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": description or intent["description"],
            "failure_code": None if decline_code is None else "card_declined",
            "failure_message": None if decline_code is None else "Your card was declined.",
            "fraud_details": {},
            "metadata": intent["metadata"],
            "outcome": _outcome(decline_code),
            "paid": decline_code is None,
            "payment_intent": intent.get("id"),
            "payment_method": method.key,
            "payment_method_details": {
                "card": charged_card(account, method, intent["amount"]),
                "type": "card",
            },
            "receipt_email": intent["receipt_email"],
            "receipt_url": f"https://pay.example.com/receipts/{charge_id}",
            "shipping": intent["shipping"],
            "status": "failed" if decline_code is not None else "succeeded",
            "transfer_group": intent["transfer_group"],
        },
        verb=verb,
    )


def create_charge(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/charges``: the old way, with a payment method or the customer's card."""
    demand(params, "amount", "currency")
    key = params.pop("source", None)
    customer = named(account, "customer", params["customer"], "customer") if params.get("customer") else None
    capture = as_bool("capture", params.pop("capture", "true"))
    values = values_from_params(account, "payment_intent", params)
    method_key = str(key).replace("tok_", "pm_card_") if key is not None else _default_method(account, customer)
    if method_key is None:
        raise wrong_state("Must provide source or customer.", "parameter_missing")
    body: Body = {
        "description": None,
        "receipt_email": None,
        "shipping": None,
        "transfer_group": None,
        "customer": None,
        "metadata": {},
    }
    method = payment_method(account, method_key, "source")
    charge = new_charge(account, {**body, **values, "capture_method": "automatic" if capture else "manual"}, method)
    if charge.body["status"] == "failed":
        raise StripeError(
            402,
            "Your card was declined.",
            type="card_error",
            code="card_declined",
            details={"charge": charge.key, "decline_code": method.facts["decline_code"]},
        )
    return charge


def capture_charge(account: Account, charge: Record, amount: int) -> Record:
    """Capture an authorised charge."""
    transaction = move_money(
        account,
        amount=amount,
        currency=charge.body["currency"],
        kind="charge",
        source=charge.key,
        fee_amount=fee(amount),
    )
    values = {"amount_captured": amount, "balance_transaction": transaction.key, "captured": True}
    return account.change(charge, values, verb="captured")


def capture_by_request(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/charges/{charge}/capture``; its intent follows."""
    charge = existing(account, "charge", path["charge"], "charge")
    if charge.body["captured"] or charge.body["status"] != "succeeded":
        raise wrong_state(f"Charge {charge.key} has already been captured.", "charge_already_captured")
    amount = as_int("amount", params.get("amount", charge.body["amount"]))
    capture_charge(account, charge, amount)
    intent = account.store.get("payment_intent", charge.body["payment_intent"] or "")
    if intent is not None:
        values = {"amount_capturable": 0, "amount_received": amount, "status": "succeeded"}
        account.change(intent, values, verb="succeeded")
    return charge


def capture_intent(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_intents/{intent}/capture``."""
    intent = existing(account, "payment_intent", path["intent"], "intent")
    if intent.body["status"] != "requires_capture":
        raise wrong_state(
            f"This PaymentIntent could not be captured because it has a status of {intent.body['status']}.",
            "payment_intent_unexpected_state",
        )
    amount = as_int("amount_to_capture", params.get("amount_to_capture", intent.body["amount_capturable"]))
    capture_charge(account, existing(account, "charge", intent.body["latest_charge"]), amount)
    return account.change(
        intent, {"amount_capturable": 0, "amount_received": amount, "status": "succeeded"}, verb="succeeded"
    )


def cancel_intent(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_intents/{intent}/cancel``."""
    intent = existing(account, "payment_intent", path["intent"], "intent")
    if intent.body["status"] in ("succeeded", "canceled"):
        raise wrong_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent.body['status']}.",
            "payment_intent_unexpected_state",
        )
    reason = values_from_params(account, "payment_intent", params).get("cancellation_reason")
    values = {"amount_capturable": 0, "canceled_at": account.now(), "cancellation_reason": reason, "status": "canceled"}
    return account.change(intent, values, verb="canceled")


def expire_authorization(account: Account, intent: Record) -> None:
    """Nobody captured it in time: the charge expires and the intent is canceled."""
    charge = account.store.get("charge", intent.body["latest_charge"] or "")
    if charge is not None:
        account.change(charge, {"amount_refunded": charge.body["amount"], "refunded": True}, verb="expired")
    values = {"amount_capturable": 0, "canceled_at": account.now(), "cancellation_reason": "automatic"}
    account.change(intent, {**values, "status": "canceled"}, verb="canceled")


def create_refund(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/refunds`` of a charge or a payment intent, whole or in part."""
    if params.get("payment_intent"):
        intent = named(account, "payment_intent", params["payment_intent"], "payment_intent")
        key = intent.body["latest_charge"]
    else:
        demand(params, "charge")
        key = params["charge"]
    charge = named(account, "charge", key, "charge")
    amount = as_int("amount", params.get("amount", charge.body["amount_captured"] - charge.body["amount_refunded"]))
    values = values_from_params(
        account, "refund", {name: params[name] for name in ("metadata", "reason") if name in params}
    )
    return refund(account, charge, amount, values)


def refund(account: Account, charge: Record, amount: int, values: Body) -> Record:
    """Give back part of a charge or all of it; the charge tells how much.

    Raises:
        StripeError: 400 for more than is left, or nothing left.
    """
    left = charge.body["amount_captured"] - charge.body["amount_refunded"]
    if left == 0:
        raise wrong_state(f"Charge {charge.key} has already been refunded.", "charge_already_refunded")
    if not 0 < amount <= left:
        raise invalid_parameter(
            "amount", f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        )
    refund_id = account.ids.next("refund")
    transaction = move_money(
        account,
        amount=-amount,
        currency=charge.body["currency"],
        kind="refund",
        source=refund_id,
        description="REFUND FOR CHARGE",
    )
    refunded = account.create(
        "refund",
        {
            "id": refund_id,
            "amount": amount,
            "balance_transaction": transaction.key,
            "charge": charge.key,
            "currency": charge.body["currency"],
            "destination_details": {
                "card": {
                    "reference_status": "pending",
                    "reference_type": "acquirer_reference_number",
                    "type": "refund",
                },
                "type": "card",
            },
            "metadata": {},
            "payment_intent": charge.body["payment_intent"],
            "status": "succeeded",
            **values,
        },
    )
    total = charge.body["amount_refunded"] + amount
    account.change(
        charge, {"amount_refunded": total, "refunded": total == charge.body["amount_captured"]}, verb="refunded"
    )
    return refunded


def open_dispute(account: Account, charge: Record, reason: str) -> Record:
    """The cardholder's bank takes a charge back: the amount and a fee leave the balance."""
    dispute_id = account.ids.next("dispute")
    transaction = move_money(
        account,
        amount=-charge.body["amount"],
        currency=charge.body["currency"],
        kind="adjustment",
        source=dispute_id,
        fee_amount=DISPUTE_FEE,
        description=f"Chargeback withdrawal for {charge.key}",
    )
    dispute = account.create(
        "dispute",
        {
            "id": dispute_id,
            "amount": charge.body["amount"],
            "balance_transactions": [transaction.key],
            "charge": charge.key,
            "currency": charge.body["currency"],
            "evidence_details": {
                "due_by": account.now() + 14 * 86_400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
                "submission_method": "manual",
            },
            "payment_intent": charge.body["payment_intent"],
            "payment_method_details": {
                "card": {"brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10"},
                "type": "card",
            },
            "reason": reason,
            "status": "needs_response",
        },
    )
    account.announce(dispute, "funds_withdrawn")
    account.change(charge, {"disputed": True}, verb="updated")
    return dispute


def close_dispute(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/disputes/{dispute}/close``: give in."""
    dispute = existing(account, "dispute", path["dispute"], "dispute")
    if dispute.body["status"] in ("won", "lost"):
        raise wrong_state("This dispute is already closed.")
    return account.change(dispute, {"is_charge_refundable": False, "status": "lost"}, verb="closed")


def create_payout(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payouts`` by hand, of an amount that is available."""
    demand(params, "amount", "currency")
    values = values_from_params(account, "payout", params)
    settle(account)
    if values["amount"] > account.ledger.available(values["currency"]):
        raise wrong_state(
            "You have insufficient funds in your Stripe account for this transfer.", "balance_insufficient"
        )
    return _payout(account, {"automatic": False, **values}, [])


def pay_out(account: Account, currency: str) -> Record | None:
    """Stripe's own payout of all that is available: exactly the nets of the transactions not paid out before."""
    settle(account)
    due = [
        transaction
        for key in sorted(account.ledger.unpaid)
        if (transaction := account.store.table("balance_transaction").records[key]).body["status"] == "available"
        and transaction.body["currency"] == currency
    ]
    amount = sum(transaction.body["net"] for transaction in due)
    if amount <= 0:
        return None
    return _payout(account, {"amount": amount, "automatic": True, "currency": currency}, due)


def arrive(account: Account, payout: Record) -> Record:
    """The bank has the money."""
    account.change(payout, {"status": "paid"}, verb="paid")
    if payout.body["automatic"]:
        account.change(payout, {"reconciliation_status": "completed"}, verb="reconciliation_completed")
    return payout


def _payout(account: Account, values: Body, paid: list[Record]) -> Record:
    bank = next(iter(account.store.linked("bank_account", "account", account.id)), None)
    payout_id = account.ids.next("payout")
    transaction = move_money(
        account,
        amount=-values["amount"],
        currency=values["currency"],
        kind="payout",
        source=payout_id,
        settled=True,
        description="STRIPE PAYOUT",
    )
    payout = account.create(
        "payout",
        {
            "id": payout_id,
            "arrival_date": account.now() - account.now() % 86_400 + 86_400,
            "balance_transaction": transaction.key,
            "destination": bank.key if bank is not None else None,
            "method": "standard",
            "metadata": {},
            "reconciliation_status": "in_progress" if values["automatic"] else "not_applicable",
            "source_type": "card",
            "status": "in_transit",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
            **values,
        },
    )
    for member in (*paid, transaction):
        member.facts["payout"] = payout_id
        account.store.put(member)
        account.ledger.unpaid.discard(member.key)
    account.schedule(payout)
    return payout


def create_topup(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/topups``: succeeds at once."""
    demand(params, "amount", "currency")
    values = values_from_params(account, "topup", params)
    topup_id = account.ids.next("topup")
    transaction = move_money(
        account, amount=values["amount"], currency=values["currency"], kind="topup", source=topup_id, settled=True
    )
    topup = account.create(
        "topup", {"id": topup_id, "balance_transaction": transaction.key, "status": "succeeded", **values}
    )
    account.announce(topup, "succeeded")
    return topup


def create_transfer(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/transfers`` to a connected account."""
    demand(params, "amount", "currency", "destination")
    values = values_from_params(account, "transfer", params)
    transfer_id = account.ids.next("transfer")
    transaction = move_money(
        account,
        amount=-values["amount"],
        currency=values["currency"],
        kind="transfer",
        source=transfer_id,
        settled=True,
    )
    return account.create(
        "transfer", {"id": transfer_id, "balance_transaction": transaction.key, "source_type": "card", **values}
    )


def reverse_transfer(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/transfers/{id}/reversals``."""
    transfer = existing(account, "transfer", path["id"])
    left = transfer.body["amount"] - transfer.body["amount_reversed"]
    amount = as_int("amount", params.get("amount", left))
    if not 0 < amount <= left:
        raise invalid_parameter(
            "amount", f"Reversal amount ({amount}) is greater than what is left of the transfer ({left})"
        )
    reversal_id = account.ids.next("transfer_reversal")
    currency = transfer.body["currency"]
    transaction = move_money(
        account, amount=amount, currency=currency, kind="transfer_refund", source=reversal_id, settled=True
    )
    reversal = account.create(
        "transfer_reversal",
        {
            "id": reversal_id,
            "amount": amount,
            "balance_transaction": transaction.key,
            "currency": currency,
            "metadata": {},
            "transfer": transfer.key,
        },
        verb=None,
    )
    total = transfer.body["amount_reversed"] + amount
    account.change(transfer, {"amount_reversed": total, "reversed": total == transfer.body["amount"]}, verb="reversed")
    return reversal


def create_setup_intent(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/setup_intents``, confirmed at once if wanted."""
    confirm = as_bool("confirm", params.get("confirm", "false"))
    method = (
        payment_method(account, params["payment_method"], "payment_method") if params.get("payment_method") else None
    )
    rest = {name: value for name, value in params.items() if name not in _CONFIRM_EXTRAS and name != "payment_method"}
    key = account.ids.next("setup_intent")
    intent = account.create(
        "setup_intent",
        {
            "id": key,
            "client_secret": f"{key}_secret_{account.ids.token()}",
            "metadata": {},
            "payment_method_types": ["card"],
            "usage": "off_session",
            **values_from_params(account, "setup_intent", rest),
            "payment_method": method.key if method is not None else None,
            "status": "requires_confirmation" if method is not None else "requires_payment_method",
        },
    )
    return confirm_setup_intent(account, {"intent": key}, {}) if confirm else intent


def confirm_setup_intent(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/setup_intents/{intent}/confirm``: attaches the payment method, and leaves an attempt."""
    intent = existing(account, "setup_intent", path["intent"], "intent")
    key = params.get("payment_method", intent.body["payment_method"])
    if key is None:
        raise wrong_state(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            "setup_intent_unexpected_state",
        )
    method = payment_method(account, key, "payment_method")
    customer = account.store.get("customer", intent.body["customer"] or "")
    attempt = account.create(
        "setup_attempt",
        {
            "customer": intent.body["customer"],
            "payment_method": method.key,
            "payment_method_details": {"card": {}, "type": "card"},
            "setup_intent": intent.key,
            "status": "succeeded",
            "usage": "off_session",
        },
        verb=None,
    )
    if customer is not None and method.body["customer"] is None:
        attach(account, method, customer)
    values = {"latest_attempt": attempt.key, "payment_method": method.key, "status": "succeeded"}
    return account.change(intent, values, verb="succeeded")


def cancel_setup_intent(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/setup_intents/{intent}/cancel``."""
    intent = existing(account, "setup_intent", path["intent"], "intent")
    if intent.body["status"] in ("succeeded", "canceled"):
        raise wrong_state(
            f"You cannot cancel this SetupIntent because it has a status of {intent.body['status']}.",
            "setup_intent_unexpected_state",
        )
    return account.change(intent, {"status": "canceled"}, verb="canceled")


def _default_method(account: Account, customer: Record | None) -> str | None:
    if customer is None:
        return None
    chosen = customer.body["invoice_settings"]["default_payment_method"]
    methods = account.store.linked("payment_method", "customer", customer.key)
    return chosen or (methods[-1].key if methods else None)


def _declined(account: Account, intent: Record, method: Record, charge: Record, decline_code: str) -> StripeError:
    error = {
        "charge": charge.key,
        "code": "card_declined",
        "decline_code": decline_code,
        "doc_url": "https://stripe.com/docs/error-codes/card-declined",
        "message": "Your card was declined.",
        "payment_method": method.key,
        "type": "card_error",
    }
    values = {
        "last_payment_error": error,
        "latest_charge": charge.key,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    account.change(intent, values, verb="payment_failed")
    return StripeError(
        402,
        "Your card was declined.",
        type="card_error",
        code="card_declined",
        details={
            "charge": charge.key,
            "decline_code": decline_code,
            "payment_intent": account.renderer.body(intent),
            "payment_method": account.renderer.body(method),
        },
    )


def _outcome(decline_code: str | None) -> Body:
    if decline_code is None:
        seller_message, kind, status, risk = "Payment complete.", "authorized", "approved_by_network", 12
    else:
        seller_message, kind, status, risk = (
            "The bank did not return any further details with this decline.",
            "issuer_declined",
            "declined_by_network",
            31,
        )
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": status,
        "reason": decline_code,
        "risk_level": "normal",
        "risk_score": risk,
        "seller_message": seller_message,
        "type": kind,
    }


def show_balance(account: Account) -> None:
    """Bring the balance object in line with the ledger. Nobody announces it."""
    balance = account.store.get("balance", "balance")
    if balance is not None:
        amounts = {status: account.ledger.amounts(status) for status in ("available", "pending")}
        account.change(balance, amounts, verb=None)


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/payment_intents"): create_intent,
            ("POST", "/v1/payment_intents/{intent}"): change_intent,
            ("POST", "/v1/payment_intents/{intent}/confirm"): confirm_intent,
            ("POST", "/v1/payment_intents/{intent}/capture"): capture_intent,
            ("POST", "/v1/payment_intents/{intent}/cancel"): cancel_intent,
            ("POST", "/v1/charges"): create_charge,
            ("POST", "/v1/charges/{charge}/capture"): capture_by_request,
            ("POST", "/v1/refunds"): create_refund,
            ("POST", "/v1/disputes/{dispute}/close"): close_dispute,
            ("POST", "/v1/payouts"): create_payout,
            ("POST", "/v1/topups"): create_topup,
            ("POST", "/v1/transfers"): create_transfer,
            ("POST", "/v1/transfers/{id}/reversals"): reverse_transfer,
            ("POST", "/v1/setup_intents"): create_setup_intent,
            ("POST", "/v1/setup_intents/{intent}/confirm"): confirm_setup_intent,
            ("POST", "/v1/setup_intents/{intent}/cancel"): cancel_setup_intent,
        }
    )
)

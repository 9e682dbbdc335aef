"""A program of some years ago, in the terms that all versions of the official Python library have.

Run with the library's own interpreter: ``python old_python_library.py API_BASE UPLOAD_BASE VERSION``. It prints, as one
line of JSON, what Stripe answered, without what belongs to a request alone.
"""

import io
import json
import sys

import stripe

stripe.api_base, stripe.upload_api_base, stripe.api_version = sys.argv[1:4]
stripe.api_key = "sk_test_sandbox"
stripe.max_network_retries = 0
told = []


def tell(value):
    told.append(json.loads(str(value)))
    return value


def refused(call, *arguments, **parameters):
    try:
        call(*arguments, **parameters)
    except stripe.error.StripeError as error:
        told.append([type(error).__name__, error.http_status, error.code, error.user_message])


customer = tell(stripe.Customer.create(name="Zoë", metadata={"a.b": "1 & 2"}, payment_method="pm_card_visa"))
tell(stripe.Customer.modify(customer.id, name="Søn", metadata={"a.b": ""}))
tell(stripe.Customer.create(name="once", idempotency_key="once"))
tell(stripe.Customer.create(name="once", idempotency_key="once"))
product = tell(stripe.Product.create(name="Box"))
tiers = [{"up_to": 10, "unit_amount": 5}, {"up_to": "inf", "unit_amount": 4}]
price = tell(
    stripe.Price.create(
        product=product.id, currency="eur", recurring={"interval": "month"}, billing_scheme="tiered",
        tiers_mode="volume", tiers=tiers,
    )
)  # fmt: skip
subscription = tell(
    stripe.Subscription.create(
        customer=customer.id, items=[{"price": price.id}], collection_method="send_invoice", days_until_due=7,
        expand=["latest_invoice"],
    )
)  # fmt: skip
tell(stripe.SubscriptionItem.create(subscription=subscription.id, price=price.id, quantity=2))
invoice = tell(stripe.Invoice.retrieve(subscription.latest_invoice.id, expand=["customer"]))
refused(stripe.Customer.retrieve, "cus_none")
refused(stripe.Customer.create, nonsense=1)
refused(stripe.PaymentIntent.create, amount=5, currency="eur", confirm=True, payment_method="pm_card_chargeDeclined")
file = io.BytesIO(bytes(range(256)))
file.name = "beleg.png"
tell(stripe.File.create(purpose="dispute_evidence", file=file))
told.append([each.id for each in stripe.Customer.list(limit=1).auto_paging_iter()])
tell(stripe.Price.list(limit=3))
gone = tell(stripe.Coupon.create(percent_off=5, duration="once"))
tell(gone.delete())
sys.stdout.write(json.dumps(told))

"""Stripe → Singer messages: a tap that reads every list of the Stripe API."""

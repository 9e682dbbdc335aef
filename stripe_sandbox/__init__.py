"""A Stripe to try things on: an HTTP server that behaves like Stripe's API v1, without a Stripe account.

Start it with ``python -m stripe_sandbox``, or in process with :class:`stripe_sandbox.sandbox.Sandbox`. A request
passes, in this order, ``server`` (bytes), ``faults`` (what is made to go wrong), ``api`` (keys, routes, errors), and
then ``lists`` and ``rendering`` for what is read or ``writes`` for what is changed. ``account`` owns the state.
"""

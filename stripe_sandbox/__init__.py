"""A Stripe to try things on: an HTTP server that behaves like Stripe's API v1, without a Stripe account.

Start it with ``python -m stripe_sandbox``, or in process with :class:`stripe_sandbox.sandbox.Sandbox`. A request
passes, in this order, ``server`` (bytes), ``faults`` (what is made to go wrong), ``api`` (keys, routes, errors), and
then ``lists`` and ``rendering`` for what is read or ``writes`` for what is changed. ``account`` owns the state.

Time passes in it: before a request is answered ``occurrences`` lets happen what is due, which ``due`` tells of objects
and ``agenda`` keeps. What changes is announced by ``account``; ``feed`` decides how late and in which order the event
shows, ``old_versions`` how it looks in an older API version. ``control`` is what one can do to the sandbox itself.

The account may be a platform: ``platforms`` has the accounts that are connected to it and says how they come and go.
They share its clock and its keys and nothing else. With ``--connected-accounts N`` every ``account`` object of a new
sandbox is one that ``Stripe-Account`` may name; without, those of a ``full`` account are made up, and nobody can act
for them. One that comes of ``POST /v1/accounts`` can be acted for in any case.
"""

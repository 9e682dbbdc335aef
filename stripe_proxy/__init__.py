"""A proxy to Stripe that has what it answers in Postgres before it answers."""

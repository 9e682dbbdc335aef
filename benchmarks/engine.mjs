// One backfill of customers and charges: node engine.mjs PACKAGE, with DATABASE_URL and STRIPE_KEY set.
// stripe-experiment-sync is 1.0.19: what came later gets Stripe's OpenAPI description from the network at its start.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const name = process.argv[2]
const engines = {
  '@supabase/stripe-sync-engine': async ({ StripeSync, runMigrations }) => {
    await runMigrations({ databaseUrl: process.env.DATABASE_URL, schema: 'stripe' })
    const sync = new StripeSync({
      poolConfig: { connectionString: process.env.DATABASE_URL, max: 10 },
      stripeSecretKey: process.env.STRIPE_KEY,
      stripeWebhookSecret: 'whsec_none',
      schema: 'stripe',
      backfillRelatedEntities: false,
    })
    await sync.syncBackfill({ object: 'customer' })
    await sync.syncBackfill({ object: 'charge' })
  },
  'stripe-experiment-sync': async ({ StripeSync, runMigrations }) => {
    await runMigrations({ databaseUrl: process.env.DATABASE_URL })
    const sync = new StripeSync({
      poolConfig: { connectionString: process.env.DATABASE_URL, max: 10 },
      stripeSecretKey: process.env.STRIPE_KEY,
    })
    await sync.processUntilDone({ object: 'customer' })
    await sync.processUntilDone({ object: 'charge' })
  },
}
const packages = createRequire(join(process.env.ENGINES, 'package.json'))
await engines[name](packages(name))
process.exit(0)

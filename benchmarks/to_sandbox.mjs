// Preloaded (node --import): what is meant for api.stripe.com goes to the sandbox that SANDBOX_PORT names.
import http from 'node:http'
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'

const agent = new http.Agent({ keepAlive: true })
const request = https.request
https.request = (options, ...others) => {
  if (options?.host !== 'api.stripe.com') return request(options, ...others)
  const made = http.request(
    { ...options, agent, host: '127.0.0.1', port: Number(process.env.SANDBOX_PORT), protocol: 'http:' }, ...others)
  // Stripe's library sends nothing before a new connection is secure, which this one never says of itself.
  return made.once('socket', (socket) => socket.once('connect', () => socket.emit('secureConnect')))
}
syncBuiltinESMExports()

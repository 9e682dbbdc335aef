// Makes calls of the official Node library against a sandbox. The first line of standard input is {"url", "key"}, or
// {"proxy", "key"} to make them through a proxy, each further one a call: {"operation", "values", "params", "options", "pages"}, an operation being `GET /v1/customers/{}`.
// Each line of standard output answers one. Which method asks what is found by calling every one with a transport that
// only notes what it was to send.

import Stripe from "stripe";
import { createInterface } from "node:readline";

const MANY = 400; // more than any list has, so that one without an end is noticed
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { url, proxy, key } = JSON.parse((await lines.next()).value);

class Noted extends Error {}

const noted = [];
const notes = {
  getClientName: () => "notes",
  async makeRequest(host, port, path, method) {
    noted.push([method, decodeURIComponent(path.split("?")[0])]);
    throw new Noted();
  },
};

const recorder = new Stripe("sk_test_none", { httpClient: notes, maxNetworkRetries: 0, telemetry: false });
// The library takes a host, but no path before its own: what is sent elsewhere is sent there by the transport.
const there = proxy
  ? { httpClient: Stripe.createFetchHttpClient((to, init) => fetch(to.replace("https://", `${proxy}/`), init)) }
  : { host: new URL(url).hostname, port: new URL(url).port, protocol: "http" };
const stripe = new Stripe(key, { ...there, maxNetworkRetries: 0, telemetry: false });

// All methods of all resources, by name: `billing.alerts.list`.
function* methods(owner, name, seen) {
  for (const key of Object.keys(owner)) {
    const member = owner[key];
    if (key.startsWith("_") || key === "v2" || typeof member !== "object" || member === null || seen.has(member)) continue;
    seen.add(member);
    if (member instanceof Stripe.StripeResource) {
      for (const each of Object.getOwnPropertyNames(Object.getPrototypeOf(member))) {
        if (!each.startsWith("_") && each !== "constructor") yield [[...name, key, each], member[each]];
      }
    }
    yield* methods(member, [...name, key], seen);
  }
}

async function operations() {
  const found = new Map();
  for (const [name, method] of methods(recorder, [], new Set([recorder]))) {
    const names = method.toString().match(/^[^(]*\(([^)]*)\)/)[1].split(",").map((each) => each.trim());
    const ids = names.filter((each) => !["params", "options", ""].includes(each)).map(() => "{}");
    noted.length = 0;
    try {
      await method.call(name.slice(0, -1).reduce((owner, each) => owner[each], recorder), ...ids);
    } catch {
      // what was noted is all that counts
    }
    if (noted.length > 0) found.set(noted[0].join(" "), name);
  }
  return found;
}

function method(name) {
  const owner = name.slice(0, -1).reduce((each, key) => each[key], stripe);
  return owner[name.at(-1)].bind(owner);
}

async function walk(call, values, params) {
  const ids = [];
  for await (const each of call(...values, params)) {
    ids.push(each.id);
    if (ids.length === MANY) break;
  }
  return ids;
}

// A value as TypeScript source. Decimals are objects of the library's by then.
function literal(value) {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Object.getPrototypeOf(value) !== Object.prototype) return `decimal(${JSON.stringify(String(value))})`;
  const members = Object.entries(value).filter(([, each]) => typeof each !== "function");
  return `{${members.map(([key, each]) => `${JSON.stringify(key)}: ${literal(each)}`).join(", ")}}`;
}

async function answer(known, { operation, values, params, options, pages }) {
  const name = known.get(operation);
  if (name === undefined) return { operation, missing: true };
  try {
    const call = method(name);
    const body = await call(...values, params, options);
    const told = body.lastResponse.headers;
    const headers = told instanceof Headers ? Object.fromEntries(told) : told; // it depends on the transport
    const result = { operation, name: name.join("."), body, headers };
    result.source = (body.object === "list" ? body.data : [body]).map(literal);
    if (pages !== undefined) {
      result.walks = [];
      for (const each of pages) result.walks.push(await walk(call, values, { ...params, ...each }));
    }
    return result;
  } catch (error) {
    const { type, code, message, statusCode, param } = error;
    return { operation, name: name.join("."), error: { type, code, message, statusCode, param } };
  }
}

const known = await operations();
console.log(JSON.stringify({ known: [...known.keys()].sort() }));
for await (const line of lines) console.log(JSON.stringify(await answer(known, JSON.parse(line))));

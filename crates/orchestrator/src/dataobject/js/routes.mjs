// Which request is answered by what.

import { isObject } from './json.mjs';
import { finding, Problem } from './problem.mjs';
import { etag, shape } from './records.mjs';
import { validate, withDefaults } from './schema.mjs';

/** An answer: status, JSON value (none when undefined) and headers. */
export class Reply {
  constructor(status, body, headers = {}) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** The table of routes: `{method, parts, types, run(request)}`, what is written out before what is a parameter. */
export function routes(definition, records, openapi, store) {
  const { path } = definition;
  const json = ['application/json'];
  const table = [];
  const add = (method, at, run, types) => table.push({ method, parts: at.split('/').slice(1), run, types });

  add('GET', '/health', () => health(definition, store));
  add('GET', '/openapi.json', () => new Reply(200, openapi));
  for (const endpoint of definition.endpoints) {
    const reads = !['GET', 'DELETE'].includes(endpoint.method);
    add(endpoint.method, path + endpoint.path, (request) => custom(endpoint, records, request), reads ? json : undefined);
    Object.assign(table.at(-1), { optionalBody: endpoint.body === undefined });
  }
  add('GET', path || '/', ({ query }) => new Reply(200, records.list(query)));
  add('POST', path || '/', async ({ body, address }) => {
    const record = await records.create(body);
    return new Reply(201, shape(record), { etag: etag(record), location: `${address}${path}/${record.id}` });
  }, json);
  add('GET', `${path}/{id}`, ({ params }) => found(records.find(params.id)));
  add('PUT', `${path}/{id}`, async ({ params, body, headers }) => found(await records.update(params.id, body, headers['if-match'])), json);
  add('PATCH', `${path}/{id}`, async ({ params, body, headers }) => found(await records.patch(params.id, body, headers['if-match'])),
    ['application/merge-patch+json', 'application/json']);
  add('DELETE', `${path}/{id}`, ({ params, headers }) => {
    records.delete(params.id, headers['if-match']);
    return new Reply(204);
  });
  // Stable, and literal segments first: `/stats` is not a record.
  const parameters = (route) => route.parts.map((part) => (part.startsWith('{') ? '1' : '0')).join('');
  return table.sort((left, right) => parameters(left).localeCompare(parameters(right)));
}

/** The route of a request and the parameters in its path; 404 and 405 otherwise. */
export function match(table, method, path) {
  const segments = split(path);
  const fitting = table.map((route) => ({ route, params: fit(route.parts, segments) })).filter(({ params }) => params);
  if (fitting.length === 0) throw new Problem(404, `There is nothing at \`${path}\`.`);
  // Methods of the most literal path only: `DELETE /stats` is no record's.
  const best = fitting[0].route.parts.join('/');
  const same = fitting.filter(({ route }) => route.parts.join('/') === best);
  const wanted = method === 'HEAD' ? 'GET' : method;
  const hit = same.find(({ route }) => route.method === wanted);
  if (hit) return hit;
  const methods = [...new Set(same.map(({ route }) => route.method)), 'OPTIONS'];
  if (methods.includes('GET')) methods.push('HEAD');
  const allow = { allow: methods.sort().join(', ') };
  if (method === 'OPTIONS') return { route: { run: () => new Reply(204, undefined, allow) }, params: {} };
  throw new Problem(405, 'This resource does not take this method; the Allow header lists those that it takes.', [], allow);
}

function split(path) {
  try {
    return path.split('/').slice(1).map(decodeURIComponent);
  } catch {
    throw new Problem(400, 'The path is not percent-encoded UTF-8.');
  }
}

function fit(parts, segments) {
  // `/tasks/` is `/tasks`: it is what relative links start from.
  const given = segments.length === parts.length + 1 && segments.at(-1) === '' ? segments.slice(0, -1) : segments;
  const isRecord = parts.at(-1)?.startsWith('{');
  if (given.length !== parts.length || (isRecord && given !== segments)) return undefined;
  const params = {};
  for (const [index, part] of parts.entries()) {
    if (part.startsWith('{') && given[index] !== '') params[part.slice(1, -1)] = given[index];
    else if (part !== given[index]) return undefined;
  }
  return params;
}

function found(record) {
  return new Reply(200, shape(record), { etag: etag(record) });
}

function health(definition, store) {
  try {
    store.ping();
  } catch (error) {
    console.error(`the data cannot be read: ${error.message}`);
    throw new Problem(503, 'The data cannot be read.');
  }
  return new Reply(200, { status: 'healthy', resource: definition.name, timestamp: new Date().toISOString() });
}

/** Calls the author's handler; what it returns is the answer. */
async function custom(endpoint, records, request) {
  let { body } = request;
  if (endpoint.body !== undefined) {
    body = withDefaults(endpoint.body, body);
    const findings = [];
    validate(endpoint.body, body, '', findings);
    if (findings.length > 0) throw new Problem(422, `The body does not fit the schema of \`${endpoint.method} ${endpoint.path}\`.`, findings);
  }
  const context = {
    method: request.method,
    params: request.params,
    query: request.query,
    headers: request.headers,
    body,
    records: {
      list: async (parameters) => records.list(parameters),
      get: async (id) => shape(records.find(id)),
      create: async (given) => shape(await records.create(given)),
      update: async (id, given) => shape(await records.update(id, given)),
      patch: async (id, given) => shape(await records.patch(id, given)),
      delete: async (id) => records.delete(id),
    },
    reply: (status, value, headers) => checkedReply(status, value, headers),
    fail: (status, detail, errors = []) => {
      if (!Number.isInteger(status) || status < 400 || status > 599) throw new TypeError(`fail() takes a status from 400 to 599, not ${status}`);
      throw new Problem(status, String(detail), errors.map(({ pointer = '', message }) => finding(pointer, String(message))));
    },
  };
  const answer = await endpoint.handler(context);
  if (answer instanceof Reply) return answer;
  return answer === undefined ? new Reply(204) : new Reply(200, answer);
}

function checkedReply(status, value, headers = {}) {
  if (!Number.isInteger(status) || status < 200 || status > 599) throw new TypeError(`reply() takes a status from 200 to 599, not ${status}`);
  if (!isObject(headers)) throw new TypeError('the headers of reply() have to be an object');
  return new Reply(status, value, headers);
}

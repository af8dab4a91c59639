// HTTP: bodies in, JSON out, and an end that cuts off nobody.

import { createServer, STATUS_CODES } from 'node:http';

import { parseJson } from './json.mjs';
import { Problem } from './problem.mjs';
import { match } from './routes.mjs';

/** Milliseconds. Idle connections outlive those that the gateway keeps. */
const HEADERS_TIMEOUT = 10_000;
const REQUEST_TIMEOUT = 30_000;
const KEEP_ALIVE_TIMEOUT = 75_000;

/** A server of `table`, not listening yet; `isStopping` tells it to end connections. */
export function server(table, bodyLimit, isStopping) {
  const options = { headersTimeout: HEADERS_TIMEOUT, requestTimeout: REQUEST_TIMEOUT, keepAliveTimeout: KEEP_ALIVE_TIMEOUT };
  const http = createServer(options, async (request, response) => {
    const end = () => {
      // Asked now, not before: a connection that stays open would keep the server from ending.
      if (isStopping()) response.setHeader('connection', 'close');
    };
    try {
      const reply = await answer(table, bodyLimit, request);
      end();
      send(request, response, reply);
    } catch (error) {
      end();
      refuse(request, response, error);
    }
  });
  // Says whether to go on before the body comes.
  http.on('checkContinue', (request, response) => {
    if (Number(request.headers['content-length']) <= bodyLimit) response.writeContinue();
    http.emit('request', request, response);
  });
  http.on('clientError', malformed);
  return http;
}

async function answer(table, bodyLimit, request) {
  const url = readUrl(request.url);
  const { route, params } = match(table, request.method, url.pathname);
  const { headers, method } = request;
  const body = route.types ? await readBody(request, route, bodyLimit) : undefined;
  return route.run({ method, params, query: url.searchParams, headers, body, address: prefix(headers) });
}

function readUrl(text) {
  // Only a path: what a proxy would be asked for is not for us.
  if (!text.startsWith('/')) throw new Problem(400, 'The request has to name a path.');
  try {
    return new URL(`http://service${text.startsWith('//') ? `/.${text}` : text}`);
  } catch {
    throw new Problem(400, 'The path cannot be read.');
  }
}

/** What the gateway took off the front of the path, for links. */
function prefix(headers) {
  const given = headers['x-forwarded-prefix'] ?? '';
  return /^(\/[A-Za-z0-9._~-]+)+$/.test(given) ? given : '';
}

async function readBody(request, route, limit) {
  const given = request.headers['content-type'];
  const length = request.headers['content-length'];
  const isEmpty = length === '0' || (length === undefined && request.headers['transfer-encoding'] === undefined);
  if (isEmpty) {
    if (route.optionalBody) return undefined;
    throw new Problem(400, 'The request has no body.');
  }
  const [type, ...parameters] = (given ?? '').toLowerCase().split(';').map((part) => part.trim());
  const charset = parameters.find((part) => part.startsWith('charset='))?.slice(8).replaceAll('"', '');
  if (!route.types.includes(type) || (charset !== undefined && charset !== 'utf-8')) {
    throw new Problem(415, `The Content-Type has to be ${route.types.join(' or ')}, in UTF-8.`, [], { accept: route.types.join(', ') });
  }
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw new Problem(415, 'Compressed bodies are not taken.', [], { 'accept-encoding': 'identity' });
  const bytes = await collect(request, limit);
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Problem(400, 'The body is not UTF-8 text.');
  }
  return parseJson(text);
}

async function collect(request, limit) {
  const tooLarge = () => new Problem(413, `The body may have at most ${limit} bytes.`, [], { connection: 'close' });
  if (Number(request.headers['content-length']) > limit) throw tooLarge();
  const chunks = [];
  let size = 0;
  // Not `for await`, which would destroy the connection before it is answered.
  return new Promise((resolve, reject) => {
    request.on('data', (chunk) => {
      size += chunk.length;
      // What comes on top is thrown away: a connection that is reset loses the answer.
      if (size > limit) reject(tooLarge());
      else chunks.push(chunk);
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', () => reject(new Problem(400, 'The body broke off.')));
    request.on('aborted', () => reject(new Problem(400, 'The body broke off.')));
  });
}

function send(request, response, { status, body, headers }) {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (body === undefined) {
    response.writeHead(status).end();
    return;
  }
  const text = JSON.stringify(body);
  if (text === undefined) throw new TypeError('the answer of a handler is not JSON');
  if (!response.hasHeader('content-type')) response.setHeader('content-type', 'application/json; charset=utf-8');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.writeHead(status).end(request.method === 'HEAD' ? undefined : text);
}

function refuse(request, response, error) {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  let problem = error;
  if (!(problem instanceof Problem)) {
    // The caller learns nothing of it; the log of the workload has it.
    console.error(`${request.method} ${request.url} failed:`, error);
    problem = new Problem(500, 'Something went wrong inside; the log of the service has it.');
  }
  for (const name of response.getHeaderNames()) if (name !== 'connection') response.removeHeader(name);
  send(request, response, {
    status: problem.status,
    body: problem,
    headers: { ...problem.headers, 'content-type': 'application/problem+json' },
  });
}

/** What is not even HTTP. */
function malformed(error, socket) {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, detail] = {
    HPE_HEADER_OVERFLOW: [431, 'The headers may have at most 16 KiB.'],
    ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request did not arrive in time.'],
  }[error.code] ?? [400, 'The request is not HTTP as it should be.'];
  const body = JSON.stringify(new Problem(status, detail));
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\n`
    + `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`);
}

// Serves one resource over HTTP.
//
//   node main.mjs check RESOURCE.ts           the definition is right, or every finding as JSON
//   node main.mjs serve RESOURCE.ts DATA.db   on 127.0.0.1:$PORT until SIGTERM
//
// Environment: PORT; HOST (127.0.0.1); MILLRACE_SERVICE, the service's name;
// MILLRACE_GATEWAY_URL and MILLRACE_PROJECT_KEY, where the project's other
// services are; MILLRACE_API_KEY, which the gateway is shown.

import { basename, dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { DefinitionError, readDefinition } from './definition.mjs';
import { server } from './http.mjs';
import { openapi } from './openapi.mjs';
import { finding } from './problem.mjs';
import { Records } from './records.mjs';
import { References } from './references.mjs';
import { routes } from './routes.mjs';
import { Store } from './store.mjs';

/** The exit code of a service that cannot be served as it is written (EX_CONFIG). */
const BAD_DEFINITION = 78;
/** How long requests that run may take to end, in milliseconds: less than the 10 s until it is killed. */
const DRAIN = 8_000;
/** How long connections that are open stay so when the server is told to end, in milliseconds. */
const LINGER = 250;

const [verb, file, data] = process.argv.slice(2);
if (verb === 'check' && file) await check();
else if (verb === 'serve' && file && data) await serve();
else {
  console.error('usage: main.mjs check RESOURCE.ts | serve RESOURCE.ts DATA.db');
  process.exitCode = 64;
}

async function load() {
  const name = process.env.MILLRACE_SERVICE || basename(dirname(resolve(file)));
  let module;
  try {
    module = await import(pathToFileURL(resolve(file)));
  } catch (error) {
    const message = error?.stack ?? String(error);
    throw new DefinitionError([finding('', `cannot be loaded: ${message}`)]);
  }
  return readDefinition(module.default, name);
}

/** Below which the services of this project are; undefined where nobody says. */
function servicesUrl() {
  const { MILLRACE_GATEWAY_URL: gateway, MILLRACE_PROJECT_KEY: project } = process.env;
  return gateway && project ? `${gateway.replace(/\/+$/, '')}/services/${project}` : undefined;
}

async function check() {
  let findings = [];
  try {
    await load();
  } catch (error) {
    if (!(error instanceof DefinitionError)) throw error;
    findings = error.findings;
  }
  // The module's own timers and sockets must not keep it from ending.
  process.stdout.write(`\n${JSON.stringify({ findings })}\n`, () => process.exit(findings.length > 0 ? BAD_DEFINITION : 0));
}

async function serve() {
  let definition;
  try {
    definition = await load();
  } catch (error) {
    if (!(error instanceof DefinitionError)) throw error;
    console.error(`${file} is not a resource that can be served:\n${error.message}`);
    process.exit(BAD_DEFINITION);
  }
  const store = new Store(data, definition);
  const references = new References(definition.references, servicesUrl(), process.env.MILLRACE_API_KEY);
  const records = new Records(definition, store, references);
  const table = routes(definition, records, openapi(definition), store);
  let stopping = false;
  const http = server(table, definition.bodyLimit, () => stopping);
  http.on('error', (error) => {
    console.error(`cannot listen: ${error.message}`);
    process.exit(1);
  });
  http.listen(Number(process.env.PORT), process.env.HOST || '127.0.0.1', () => {
    const { address, port } = http.address();
    console.log(`${definition.name} is served on http://${address}:${port}${definition.path || '/'}`);
  });

  // Takes no more, and waits for requests that run.
  const close = () => http.close(() => {
    store.close();
    process.exit(0);
  });
  const stop = (signal) => {
    if (stopping) process.exit(1);
    stopping = true;
    console.log(`${signal}: ending`);
    // From now on each answer ends its connection. Those that are idle are closed a little later:
    // a request may be on its way on one, and its sender could not tell whether it was taken.
    http.getConnections((_, count) => setTimeout(close, count > 0 ? LINGER : 0));
    setTimeout(() => http.closeAllConnections(), DRAIN).unref();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

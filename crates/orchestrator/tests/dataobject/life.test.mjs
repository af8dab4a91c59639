import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';

import { findings, run, serve, service } from './harness.mjs';

const NOTES = `export default { schema: { properties: { text: { type: 'string' } } } };`;

test('what was answered is there after kill -9', async (t) => {
  let server = await serve(t, NOTES);
  const at = { directory: server.directory, file: server.file, data: server.data };
  const ids = [];
  for (let round = 0; round < 3; round += 1) {
    const written = [];
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let count = 0; ; count += 1) {
        let answer;
        try {
          answer = await server.ask('POST', '/', { text: `${round} ${writer} ${count}` });
        } catch {
          return;
        }
        written.push(answer.json.id);
        if (written.length === 100) server.child.kill('SIGKILL');
      }
    });
    await Promise.all(writers);
    await server.ended;
    ids.push(...written);
    server = await serve(t, at);
  }
  const kept = new Set();
  let cursor = '';
  do {
    const page = await server.ask('GET', `/?limit=1000&cursor=${cursor}`);
    for (const { id } of page.json.items) kept.add(id);
    cursor = page.json.next;
  } while (cursor);
  assert.ok(ids.length >= 300);
  assert.deepEqual(ids.filter((id) => !kept.has(id)), []);
});

test('two servers share the data while one replaces the other', async (t) => {
  const first = await serve(t, NOTES);
  const second = await serve(t, first);
  const ids = await Promise.all(Array.from({ length: 40 }, async (_, index) => {
    const answer = await (index % 2 ? first : second).ask('POST', '/', { text: String(index) });
    assert.equal(answer.status, 201, answer.text);
    return answer.json.id;
  }));
  const { items } = (await first.ask('GET', '/?limit=100')).json;
  assert.equal(new Set(items.map(({ id }) => id)).size, ids.length);
});

test('SIGTERM lets a request that runs end, and takes no other', async (t) => {
  const server = await serve(t, `
    export default {
      schema: { properties: {} },
      endpoints: { 'GET /slow/wait': async ({ reply }) => {
        console.log('begun');
        await new Promise((resolve) => setTimeout(resolve, 300));
        return reply(200, 'done');
      } },
    };`);
  const begun = new Promise((resolve) => server.child.stdout.on('data', (text) => String(text).includes('begun') && resolve()));
  const slow = server.ask('GET', '/slow/wait');
  await begun;
  server.child.kill('SIGTERM');
  assert.equal((await slow).json, 'done');
  assert.deepEqual(await server.ended, { code: 0, signal: null });
});

test('health and the description of the API are there', async (t) => {
  const { ask } = await serve(t, `export default { name: 'note', path: '/notes', schema: { required: ['text'], properties: { text: { type: 'string' } } },
    endpoints: { 'POST /{id}/copy': { description: 'Copies', handler: () => 1 } } };`);
  const health = await ask('GET', '/health');
  assert.equal(health.status, 200);
  assert.equal(health.json.status, 'healthy');
  const { json } = await ask('GET', '/openapi.json');
  assert.deepEqual(Object.keys(json.paths), ['/health', '/notes', '/notes/{id}', '/notes/{id}/copy']);
  assert.deepEqual(json.components.schemas.Note.required, ['id', 'createdAt', 'updatedAt', 'text']);
  assert.equal((await ask('GET', '/')).status, 404);
  const created = await ask('POST', '/notes', { text: 'a' }, { 'x-forwarded-prefix': '/services/TODO/note' });
  assert.equal(created.headers.get('location'), `/services/TODO/note/notes/${created.json.id}`);
  assert.equal((await ask('GET', `/notes/${created.json.id}`)).status, 200);
});

test('endpoints of the author answer, under the rules of the records', async (t) => {
  const server = await serve(t, `
    export default {
      schema: { required: ['text'], properties: { text: { type: 'string' }, stars: { type: 'integer', default: 0 } } },
      endpoints: {
        'POST /{id}/star': {
          body: { type: 'object', required: ['by'], properties: { by: { type: 'integer' } } },
          handler: async ({ params, body, records }) => {
            const { stars } = await records.get(params.id);
            return records.patch(params.id, { stars: stars + body.by });
          },
        },
        'GET /stats': async ({ records, query }) => ({ count: (await records.list({ limit: 1000, ...Object.fromEntries(query) })).items.length }),
        'POST /bad': ({ records }) => records.create({}),
        'POST /refuse': ({ fail }) => fail(403, 'Not on Sundays.', [{ pointer: '/day', message: 'is a Sunday' }]),
        'POST /break': () => { throw new Error('the password is hunter2'); },
        'DELETE /stats': () => undefined,
        'GET /made': ({ reply }) => reply(203, { a: 1 }, { 'x-made': 'here' }),
      },
    };`);
  const { ask } = server;
  const { id } = (await ask('POST', '/', { text: 'a' })).json;
  assert.equal((await ask('POST', `/${id}/star`, { by: 2 })).json.stars, 2);
  assert.deepEqual(findings(await ask('POST', `/${id}/star`, { by: 'x' })), ['/by has to be an integer']);
  assert.equal((await ask('POST', '/nobody/star', { by: 1 })).status, 404);
  assert.deepEqual((await ask('GET', '/stats?stars[gte]=1')).json, { count: 1 });
  assert.equal((await ask('DELETE', '/stats')).status, 204);
  assert.equal((await ask('PUT', '/stats', {})).status, 405);
  assert.deepEqual(findings(await ask('POST', '/bad')), ['/text is missing']);
  const refused = await ask('POST', '/refuse', {});
  assert.deepEqual([refused.status, refused.json.detail, findings(refused)], [403, 'Not on Sundays.', ['/day is a Sunday']]);
  const broken = await ask('POST', '/break', {});
  assert.equal(broken.status, 500);
  assert.doesNotMatch(broken.text, /hunter2/);
  assert.match(server.stderr(), /POST \/break failed: Error: the password/);
  const made = await ask('GET', '/made');
  assert.deepEqual([made.status, made.json, made.headers.get('x-made')], [203, { a: 1 }, 'here']);
});

test('references are asked of the other service, and only when they change', async (t) => {
  const asked = [];
  const projects = createServer((request, response) => {
    asked.push(request.url);
    const status = { '/services/TODO/project-dataobject/p1': 200, '/services/TODO/project-dataobject/broken': 500 }[request.url] ?? 404;
    response.writeHead(status).end('{}');
  });
  await new Promise((resolve) => { projects.listen(0, '127.0.0.1', resolve); });
  t.after(() => projects.close());
  const definition = `export default {
    schema: { properties: { projectId: { type: 'string' }, title: { type: 'string' } } },
    references: { projectId: { service: 'project-dataobject' } },
  };`;
  const { ask } = await serve(t, definition, { MILLRACE_GATEWAY_URL: `http://127.0.0.1:${projects.address().port}/`, MILLRACE_PROJECT_KEY: 'TODO' });
  const created = await ask('POST', '/', { projectId: 'p1' });
  assert.equal(created.status, 201, created.text);
  assert.equal((await ask('PATCH', `/${created.json.id}`, { title: 'x' })).status, 200);
  assert.equal(asked.length, 1);
  const unknown = await ask('PATCH', `/${created.json.id}`, { projectId: '../p1' });
  assert.equal(unknown.status, 422);
  assert.deepEqual(findings(unknown), ['/projectId refers to a record that project-dataobject does not have']);
  const unsure = await ask('POST', '/', { projectId: 'broken' });
  assert.equal(unsure.status, 503);
  assert.equal(unsure.headers.get('retry-after'), '1');
  assert.equal((await ask('POST', '/', { title: 'of none' })).status, 201);
  const lonely = await serve(t, definition);
  assert.match((await lonely.ask('POST', '/', { projectId: 'p1' })).json.detail, /MILLRACE_GATEWAY_URL/);
});

test('the key of the service is shown to the gateway when a reference is asked for', async (t) => {
  const gateway = createServer((request, response) => {
    response.writeHead(request.headers['x-millrace-key'] === 'mlr_ours' ? 200 : 401).end('{}');
  });
  await new Promise((resolve) => { gateway.listen(0, '127.0.0.1', resolve); });
  t.after(() => gateway.close());
  const definition = `export default {
    schema: { properties: { projectId: { type: 'string' } } },
    references: { projectId: { service: 'project-dataobject' } },
  };`;
  const env = { MILLRACE_GATEWAY_URL: `http://127.0.0.1:${gateway.address().port}`, MILLRACE_PROJECT_KEY: 'TODO' };
  const trusted = await serve(t, definition, { ...env, MILLRACE_API_KEY: 'mlr_ours' });
  const created = await trusted.ask('POST', '/', { projectId: 'p1' });
  assert.equal(created.status, 201, created.text);
  const stranger = await serve(t, definition, env);
  const refused = await stranger.ask('POST', '/', { projectId: 'p1' });
  assert.equal(refused.status, 503);
  assert.match(refused.json.detail, /401 to the key in MILLRACE_API_KEY/);
});

test('a definition that is wrong is told about, with all that is wrong with it', async (t) => {
  const { file } = service(t, `export default {
    schema: { properties: { id: {}, a: { type: 'text' }, b: { type: 'array', items: { minimun: 1 } }, c: { type: 'integer', default: 'x' } } },
    unique: ['b'], references: { a: { service: 'x/y' } }, colour: 'red',
    endpoints: { 'FETCH /x': () => 1, 'GET /{id}': () => 1, 'GET /y': 7 },
  };`);
  const { code, stdout } = await run(['check', file]);
  assert.equal(code, 78);
  const pointers = JSON.parse(stdout).findings.map(({ pointer }) => pointer);
  assert.deepEqual(pointers, ['/colour', '/schema/properties/id', '/schema/properties/a/type', '/schema/properties/b/items/minimun',
    '/unique/0', '/references/a', '/references/a/service', '/endpoints/FETCH ~1x', '/endpoints/GET ~1{id}', '/endpoints/GET ~1y']);
  const served = await run(['serve', file, `${file}.db`], { PORT: '0' });
  assert.equal(served.code, 78);
  assert.match(served.stderr, /\/colour is not known/);
  const broken = await run(['check', service(t, 'export default {').file]);
  assert.match(JSON.parse(broken.stdout).findings[0].message, /cannot be loaded: .*SyntaxError/s);
  const right = await run(['check', service(t, `${NOTES} setInterval(() => {}, 1000);`).file]);
  assert.deepEqual([right.code, JSON.parse(right.stdout)], [0, { findings: [] }]);
});

test('data that is there and a definition that wants more of it are not forced together', async (t) => {
  const first = await serve(t, NOTES);
  await first.ask('POST', '/', { text: 'a' });
  await first.ask('POST', '/', { text: 'a' });
  first.child.kill('SIGTERM');
  await first.ended;
  const unique = service(t, `export default { schema: { properties: { text: { type: 'string' } } }, unique: ['text'] };`);
  const refused = await run(['serve', unique.file, first.data], { PORT: '0' });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /are not unique by text/);
});

test('what is not HTTP gets an answer all the same', async (t) => {
  const { url } = await serve(t, NOTES);
  const said = await new Promise((resolve) => {
    let text = '';
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write('GET / HTP/1.1\r\n\r\n'));
    socket.on('data', (bytes) => { text += bytes; }).on('close', () => resolve(text));
  });
  assert.match(said, /^HTTP\/1.1 400 Bad Request\r\ncontent-type: application\/problem\+json/);
});

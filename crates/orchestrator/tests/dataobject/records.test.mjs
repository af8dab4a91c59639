import assert from 'node:assert/strict';
import { test } from 'node:test';

import { findings, serve } from './harness.mjs';

const TASKS = `
  type Status = 'open' | 'done';
  const initial: Status = 'open';
  export default {
    name: 'task',
    schema: {
      required: ['title'],
      properties: {
        title: { type: 'string', minLength: 1, maxLength: 20 },
        status: { enum: ['open', 'done'], default: initial },
        priority: { type: ['integer', 'null'], minimum: 1, maximum: 5 },
        urgent: { type: 'boolean' },
        tags: { type: 'array', items: { type: 'string' }, uniqueItems: true },
        code: { type: 'string' },
      },
    },
    unique: ['code', ['title', 'priority']],
    indexes: ['status'],
  };`;

test('a record is created, read, replaced, patched and deleted', async (t) => {
  const { ask } = await serve(t, TASKS);
  const created = await ask('POST', '/', { title: 'Paint', priority: 2 });
  assert.equal(created.status, 201);
  const { id } = created.json;
  assert.deepEqual(Object.keys(created.json), ['id', 'title', 'priority', 'status', 'createdAt', 'updatedAt']);
  assert.equal(created.json.status, 'open');
  assert.equal(created.headers.get('location'), `/${id}`);

  const read = await ask('GET', `/${id}`);
  assert.deepEqual(read.json, created.json);
  assert.equal(read.headers.get('etag'), created.headers.get('etag'));

  const replaced = await ask('PUT', `/${id}`, { ...created.json, title: 'Paint it', status: 'done' });
  assert.equal(replaced.status, 200, replaced.text);
  assert.equal(replaced.json.createdAt, created.json.createdAt);

  const patched = await ask('PATCH', `/${id}`, { priority: null, urgent: true }, { 'content-type': 'application/merge-patch+json' });
  assert.equal(patched.status, 200, patched.text);
  assert.deepEqual(patched.json, { id, title: 'Paint it', status: 'done', urgent: true, createdAt: created.json.createdAt, updatedAt: patched.json.updatedAt });

  assert.equal((await ask('DELETE', `/${id}`)).status, 204);
  for (const [method, body] of [['GET'], ['DELETE'], ['PUT', { title: 'x' }], ['PATCH', {}]]) {
    assert.equal((await ask(method, `/${id}`, body)).status, 404, method);
  }
});

test('everything that is wrong with a body is said at once, with its place', async (t) => {
  const { ask } = await serve(t, TASKS);
  const refused = await ask('POST', '/', { id: 'mine', status: 'lost', priority: 9, tags: ['a', 7, 'a'], colour: 'red' });
  assert.equal(refused.status, 422);
  assert.equal(refused.headers.get('content-type'), 'application/problem+json');
  assert.deepEqual(findings(refused), [
    '/id is set by the server',
    '/title is missing',
    '/status has to be one of "open", "done"',
    '/priority may be at most 5',
    '/tags/2 is there more than once',
    '/tags/1 has to be a string',
    '/colour is not known here; known are title, status, priority, urgent, tags, code',
  ]);
  const { id } = (await ask('POST', '/', { title: 'a' })).json;
  assert.deepEqual(findings(await ask('PATCH', `/${id}`, { title: null, createdAt: '2020-01-01T00:00:00Z' })),
    ['/createdAt is set by the server and cannot be changed', '/title is missing']);
  assert.deepEqual(findings(await ask('POST', '/', [])), [' has to be an object']);
});

test('what is not JSON, too large, of another type or another method is refused as such', async (t) => {
  const { ask } = await serve(t, `export default { schema: { properties: { a: {} } }, bodyLimit: 1000 }`);
  const broken = await ask('POST', '/', '{"a":\n 1,}');
  assert.equal(broken.status, 400);
  assert.equal(broken.json.errors[0].line, 2);
  assert.equal(broken.json.errors[0].column, 4);
  assert.deepEqual(findings(await ask('POST', '/', '{"a": [9007199254740993]}')),
    ['/a/0 is a number beyond ±(2^53 − 1), which would be rounded; send it as a string']);
  assert.equal((await ask('POST', '/', '{"__proto__": {"a": 1}}')).status, 400);
  assert.equal((await ask('POST', '/', `{"a":${'['.repeat(300)}${']'.repeat(300)}}`)).status, 400);
  assert.equal((await ask('POST', '/', '')).status, 400);
  assert.equal((await ask('POST', '/', { a: 'x'.repeat(1000) })).status, 413);
  assert.equal((await ask('POST', '/', '{}', { 'content-type': 'text/plain' })).status, 415);
  assert.equal((await ask('POST', '/', '{}', { 'content-type': 'application/json; charset=latin1' })).status, 415);
  const wrong = await ask('PATCH', '/', {});
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.get('allow'), 'GET, HEAD, OPTIONS, POST');
  assert.equal((await ask('GET', '/a/b')).status, 404);
  assert.equal((await ask('GET', '/%ff')).status, 400);
  assert.equal((await ask('HEAD', '/')).text, '');
});

test('a body without a length is refused once it exceeds the limit', async (t) => {
  const { url } = await serve(t, `export default { schema: { properties: { a: {} } }, bodyLimit: 1000 }`);
  const stream = new Blob(['x'.repeat(2000)]).stream();
  const answer = await fetch(`${url}/`, { method: 'POST', body: stream, duplex: 'half', headers: { 'content-type': 'application/json' } });
  assert.equal(answer.status, 413);
});

test('values that have to be unique are', async (t) => {
  const { ask } = await serve(t, TASKS);
  const first = (await ask('POST', '/', { title: 'a', code: 'X', priority: 1 })).json;
  const second = (await ask('POST', '/', { title: 'b' })).json;
  const conflict = await ask('PATCH', `/${second.id}`, { code: 'X' });
  assert.equal(conflict.status, 409);
  assert.deepEqual(findings(conflict), ['/code has a value that another record has']);
  assert.equal((await ask('POST', '/', { title: 'a', priority: 1 })).status, 409);
  assert.equal((await ask('POST', '/', { title: 'a', priority: 2 })).status, 201);
  assert.equal((await ask('PUT', `/${first.id}`, { title: 'c', code: 'X' })).status, 200);
});

test('lists are filtered by what properties hold', async (t) => {
  const { ask } = await serve(t, TASKS);
  for (const [title, priority, status, urgent] of [['ab', 1, 'open', true], ['bc', 2, 'done', false], ['cd', null, 'open', undefined], ["d'e%", 4, 'open', true]]) {
    assert.equal((await ask('POST', '/', { title, priority, status, urgent })).status, 201);
  }
  const titles = async (query) => {
    const answer = await ask('GET', `/?${query}`);
    assert.equal(answer.status, 200, answer.text);
    return answer.json.items.map(({ title }) => title).join();
  };
  assert.equal(await titles(''), "ab,bc,cd,d'e%");
  assert.equal(await titles('status=open&urgent=true'), "ab,d'e%");
  assert.equal(await titles('priority[gte]=2&priority[lt]=4'), 'bc');
  assert.equal(await titles('priority[ne]=1'), "bc,cd,d'e%");
  assert.equal(await titles('priority[exists]=false'), 'cd');
  assert.equal(await titles('title[in]=ab,cd,zz'), 'ab,cd');
  assert.equal(await titles(`title[contains]=${encodeURIComponent("'e%")}`), "d'e%");
  assert.equal(await titles('title[prefix]=b&sort=-title'), 'bc');
  assert.equal(await titles('sort=-priority,title'), "d'e%,bc,ab,cd");
  for (const [query, parameter] of [['colour=red', 'colour'], ['priority=high', 'priority'], ['urgent=1', 'urgent'], ['tags=a', 'tags'],
    ['title[like]=a', 'title[like]'], ['limit=0', 'limit'], ['limit=1&limit=2', 'limit'], ['sort=tags', 'sort'], ['cursor=zz', 'cursor']]) {
    const refused = await ask('GET', `/?${query}`);
    assert.equal(refused.status, 400, query);
    assert.equal(refused.json.errors[0].parameter, parameter);
  }
});

test('pages meet without a gap or a repeat, whatever the order', async (t) => {
  const { ask } = await serve(t, TASKS);
  const all = 60;
  for (let index = 0; index < all; index += 1) {
    await ask('POST', '/', { title: `t${index}`, priority: index % 4 === 0 ? undefined : index % 4, urgent: index % 3 === 0 });
  }
  for (const sort of ['', '-id', 'priority', '-priority', 'urgent,-priority', '-createdAt,title', '-title']) {
    const whole = (await ask('GET', `/?limit=1000&sort=${sort}`)).json;
    assert.equal(whole.items.length, all);
    assert.equal(whole.next, null);
    const seen = [];
    let cursor = '';
    do {
      const page = await ask('GET', `/?limit=7&sort=${sort}&cursor=${cursor ?? ''}`);
      assert.equal(page.status, 200, page.text);
      seen.push(...page.json.items.map(({ id }) => id));
      cursor = page.json.next;
    } while (cursor);
    assert.deepEqual(seen, whole.items.map(({ id }) => id), `sort=${sort}`);
  }
});

test('who changes what has changed since is told so', async (t) => {
  const { ask } = await serve(t, TASKS);
  const created = await ask('POST', '/', { title: 'a' });
  const path = `/${created.json.id}`;
  const tag = created.headers.get('etag');
  assert.equal((await ask('PATCH', path, { title: 'b' }, { 'if-match': tag })).status, 200);
  for (const [method, body] of [['PATCH', { title: 'c' }], ['PUT', { title: 'c' }], ['DELETE']]) {
    assert.equal((await ask(method, path, body, { 'if-match': tag })).status, 412, method);
  }
  assert.equal((await ask('GET', path)).json.title, 'b');
});

test('of concurrent patches to different members none is lost', async (t) => {
  const { ask } = await serve(t, TASKS);
  const { id } = (await ask('POST', '/', { title: 'a' })).json;
  await Promise.all([{ code: 'X' }, { priority: 3 }, { urgent: true }, { tags: ['t'] }].map((patch) => ask('PATCH', `/${id}`, patch)));
  const { code, priority, urgent, tags } = (await ask('GET', `/${id}`)).json;
  assert.deepEqual({ code, priority, urgent, tags }, { code: 'X', priority: 3, urgent: true, tags: ['t'] });
});

// A server of a resource in two lines: the files that the orchestrator writes
// out, run by the Node that runs these tests.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const MAIN = new URL('../../src/dataobject/js/main.mjs', import.meta.url).pathname;
const PATIENCE = 30_000;

/** A directory with `index.ts`; gone when the test ends. */
export function service(t, source, extension = 'ts') {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-dataobject-'));
  const file = join(directory, `index.${extension}`);
  writeFileSync(file, source);
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return { directory, file, data: join(directory, 'data.db') };
}

/** Runs `main.mjs` to its end. */
export function run(args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, ...args], { env: { PATH: process.env.PATH, ...env }, timeout: PATIENCE });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => { stdout += text; });
    child.stderr.on('data', (text) => { stderr += text; });
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** A running server of `source`, or of a `service` that is there. */
export async function serve(t, source, env = {}) {
  const at = typeof source === 'string' ? service(t, source) : source;
  const child = spawn(process.execPath, [MAIN, 'serve', at.file, at.data], {
    env: { PATH: process.env.PATH, PORT: '0', MILLRACE_SERVICE: 'task-dataobject', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (text) => { stderr += text; });
  const ended = new Promise((resolve) => { child.on('close', (code, signal) => resolve({ code, signal })); });
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const found = /is served on (http:\/\/[^/]+)/.exec(line);
      if (found) resolve(found[1]);
    });
    child.on('close', () => reject(new Error(`the server ended: ${stderr}`)));
  });
  const ask = async (method, path, body, headers = {}) => {
    const given = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    const answer = await fetch(url + path, { method, ...given, headers: { ...type, ...headers }, redirect: 'manual' });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, text, json: text === '' ? undefined : JSON.parse(text) };
  };
  return { ...at, url, child, ended, ask, stderr: () => stderr };
}

/** `pointer message` of each finding. */
export function findings(answer) {
  return answer.json.errors.map(({ pointer, parameter, message }) => `${pointer ?? parameter} ${message}`);
}

// What can be done with the records of a resource: the rules that hold for
// requests and for handlers alike.

import { columns, OWN } from './definition.mjs';
import { equal, isObject, mergePatch, segment } from './json.mjs';
import { finding, Problem } from './problem.mjs';
import { readQuery } from './query.mjs';
import { validate, withDefaults } from './schema.mjs';

/** Writers that come between reading and writing make it start again; so often at most. */
const MAX_ATTEMPTS = 20;

export class Records {
  #definition;
  #store;
  #references;
  #columns;

  constructor(definition, store, references) {
    this.#definition = definition;
    this.#store = store;
    this.#references = references;
    this.#columns = columns(definition);
  }

  /** `parameters` as in a query: `{status: 'open', sort: '-createdAt', limit: 10}` or URLSearchParams. */
  list(parameters = {}) {
    const pairs = parameters instanceof URLSearchParams
      ? parameters
      : new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
    const { items, next } = this.#store.list(readQuery(pairs, this.#columns));
    return { items: items.map(shape), next };
  }

  /** The record with its version; 404 when there is none. */
  find(id) {
    const record = this.#store.get(id);
    if (!record) throw new Problem(404, `There is no ${this.#definition.name} \`${id}\`.`);
    return record;
  }

  async create(given) {
    const findings = [];
    for (const name of OWN) {
      if (isObject(given) && Object.hasOwn(given, name)) findings.push(finding(segment(name), 'is set by the server'));
    }
    const body = this.#checked(without(given), findings);
    await this.#references.check(body);
    return this.#store.insert(body);
  }

  /** `given` in the place of what was there. */
  update(id, given, condition) {
    return this.#change(id, condition, () => given);
  }

  /** A merge patch (RFC 7396): members that are null go, others stay or change. */
  patch(id, given, condition) {
    if (!isObject(given)) throw new Problem(422, 'A merge patch of a record is an object.', [finding('', 'has to be an object')]);
    return this.#change(id, condition, (record) => mergePatch(shape(record), given), true);
  }

  async #change(id, condition, compute, isPatch = false) {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const before = this.find(id);
      check(condition, before);
      const given = compute(before);
      const body = this.#checked(without(given), changedOwn(given, before, isPatch));
      // Waits only where there is something to ask, so that most writes have no gap.
      if (this.#definition.references.length > 0) await this.#references.check(body, before.body);
      const after = this.#store.transaction(() => {
        const now = this.find(id);
        return now.version === before.version ? this.#store.replace(now, body) : undefined;
      });
      if (after) return after;
    }
    throw new Problem(503, 'The record is being changed by many others; try again.', [], { 'retry-after': '1' });
  }

  delete(id, condition) {
    this.#store.transaction(() => {
      check(condition, this.find(id));
      this.#store.delete(id);
    });
  }

  /** `given` with its defaults, or a problem with all findings. */
  #checked(given, findings) {
    const body = withDefaults(this.#definition.schema, given);
    validate(this.#definition.schema, body, '', findings);
    if (findings.length > 0) throw new Problem(422, `The body does not fit the schema of \`${this.#definition.name}\`.`, findings);
    return body;
  }
}

/** A record as callers see it. */
export function shape(record) {
  return { id: record.id, ...record.body, createdAt: record.createdAt, updatedAt: record.updatedAt };
}

export function etag(record) {
  return `"${record.version}"`;
}

/** `condition` is the `If-Match` of the request, if it has one. */
function check(condition, record) {
  if (condition === undefined || condition.trim() === '*') return;
  if (!condition.split(',').some((tag) => tag.trim() === etag(record))) {
    throw new Problem(412, 'The record has changed since: If-Match names another version.');
  }
}

/** Members of the server's may come back as they were, and not otherwise. */
function changedOwn(given, before, isPatch) {
  if (!isObject(given)) return [];
  const was = shape(before);
  return OWN.filter((name) => (isPatch || Object.hasOwn(given, name)) && !equal(given[name], was[name]))
    .map((name) => finding(segment(name), 'is set by the server and cannot be changed'));
}

function without(given) {
  if (!isObject(given)) return given;
  return Object.fromEntries(Object.entries(given).filter(([name]) => !OWN.includes(name)));
}

// The records, in one SQLite file of the workload. A write that was answered is
// on disk: WAL with synchronous=FULL survives the end of the process and of the
// machine. Two processes may share the file while one replaces the other.

import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';

import { segment } from './json.mjs';
import { finding, Problem } from './problem.mjs';
import { expression, writeCursor } from './query.mjs';

/** The layout of the file that this code writes. */
const LAYOUT = 1;
const SQLITE_BUSY = 5;
const SQLITE_CONSTRAINT_UNIQUE = 2067;
/** How long a write waits for one of the process that is being replaced, in milliseconds. */
const BUSY_TIMEOUT = 5000;

/** A time-ordered identifier (UUID, version 7). */
export function newId() {
  const bytes = randomBytes(16);
  const now = Math.max(Date.now(), newId.last ?? 0);
  // Within one millisecond the sequence keeps the order of this process' records.
  newId.sequence = now === newId.last ? newId.sequence + 1 : 0;
  newId.last = newId.sequence > 0xfff ? now + 1 : now;
  if (newId.sequence > 0xfff) newId.sequence = 0;
  bytes.writeUIntBE(newId.last, 0, 6);
  bytes.writeUInt16BE(0x7000 | newId.sequence, 6);
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export class Store {
  #database;
  #statements = new Map();
  /** Names of unique indexes to the properties that they are over. */
  #unique = new Map();

  constructor(file, definition) {
    this.#database = new DatabaseSync(file);
    this.#database.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
    this.#database.exec('PRAGMA journal_mode = WAL');
    this.#database.exec('PRAGMA synchronous = FULL');
    this.transaction(() => this.#migrate(file, definition));
  }

  #migrate(file, definition) {
    const layout = this.#database.prepare('PRAGMA user_version').get().user_version;
    if (layout > LAYOUT) throw new Error(`${file} was written by a newer version (layout ${layout}; known is ${LAYOUT})`);
    if (layout < LAYOUT) {
      this.#database.exec(`
        CREATE TABLE records (
          id TEXT PRIMARY KEY, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
          version INTEGER NOT NULL, body TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        PRAGMA user_version = ${LAYOUT};`);
    }
    const wanted = new Map();
    for (const names of definition.unique) wanted.set(`unique(${names.join()})`, ['UNIQUE', names]);
    for (const names of definition.indexes) wanted.set(`index(${names.join()})`, ['', names]);
    // The other side's records are looked for by what refers to them.
    for (const { property } of definition.references) wanted.set(`index(${property})`, ['', [property]]);
    for (const { name } of this.#database.prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").all()) {
      if (!wanted.has(name)) this.#database.exec(`DROP INDEX "${name}"`);
    }
    for (const [name, [kind, names]] of wanted) {
      if (kind) this.#unique.set(name, names);
      try {
        this.#database.exec(`CREATE ${kind} INDEX IF NOT EXISTS "${name}" ON records (${names.map(expression).join()})`);
      } catch (error) {
        if (error.errcode !== SQLITE_CONSTRAINT_UNIQUE) throw error;
        throw new Error(`the records that are there are not unique by ${names.join(' and ')}, as the definition wants`);
      }
    }
  }

  /** Runs `work` with nobody else writing; all or nothing of it is kept. Not to be nested. */
  transaction(work) {
    this.#guarded(() => this.#database.exec('BEGIN IMMEDIATE'));
    try {
      const result = work();
      this.#guarded(() => this.#database.exec('COMMIT'));
      return result;
    } catch (error) {
      // A statement that fails badly enough has already rolled back.
      if (this.#database.isTransaction ?? true) {
        try {
          this.#database.exec('ROLLBACK');
        } catch { /* the first error says what happened */ }
      }
      throw error;
    }
  }

  #prepare(sql) {
    let statement = this.#statements.get(sql);
    if (!statement) {
      // Lists come in as many forms as their callers write; those few that are in use stay.
      if (this.#statements.size >= 200) this.#statements.clear();
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #guarded(work) {
    try {
      return work();
    } catch (error) {
      if (error.errcode === SQLITE_CONSTRAINT_UNIQUE) throw this.#conflict(error);
      if ((error.errcode & 0xff) === SQLITE_BUSY) throw new Problem(503, 'The data is locked at present; try again.', [], { 'retry-after': '1' });
      throw error;
    }
  }

  #conflict(error) {
    const name = /index '(.*)'/.exec(error.message)?.[1];
    const names = this.#unique.get(name) ?? [];
    const together = names.length > 1 ? `, together with ${names.slice(1).join(' and ')},` : '';
    const findings = names.slice(0, 1).map((first) => finding(segment(first), `has a value${together} that another record has`));
    return new Problem(409, `Another record has the same ${names.join(' and ') || 'value'}.`, findings);
  }

  /** The row of `id`, or undefined. */
  get(id) {
    const row = this.#prepare('SELECT * FROM records WHERE id = ?').get(id);
    return row && read(row);
  }

  insert(body) {
    const now = new Date().toISOString();
    const row = { id: newId(), created_at: now, updated_at: now, version: 1, body: JSON.stringify(body) };
    this.#guarded(() => this.#prepare('INSERT INTO records (id, created_at, updated_at, version, body) VALUES (?, ?, ?, ?, ?)')
      .run(row.id, row.created_at, row.updated_at, row.version, row.body));
    return read(row);
  }

  replace(record, body) {
    const now = new Date().toISOString();
    const row = { id: record.id, created_at: record.createdAt, updated_at: now, version: record.version + 1, body: JSON.stringify(body) };
    this.#guarded(() => this.#prepare('UPDATE records SET updated_at = ?, version = ?, body = ? WHERE id = ?')
      .run(row.updated_at, row.version, row.body, row.id));
    return read(row);
  }

  delete(id) {
    return this.#guarded(() => this.#prepare('DELETE FROM records WHERE id = ?').run(id)).changes > 0;
  }

  /** One page: its records, and the cursor of the next one or null. */
  list(query) {
    const where = query.where.length > 0 ? `WHERE ${query.where.join(' AND ')}` : '';
    const order = query.sort.map(({ name, descending }) => `${expression(name)}${descending ? ' DESC' : ''}`).join();
    const place = query.sort.map(({ name }, index) => `${expression(name)} AS sort_${index}`).join();
    const sql = `SELECT *, ${place} FROM records ${where} ORDER BY ${order} LIMIT ?`;
    // One more than asked for tells whether there is more.
    const rows = this.#prepare(sql).all(...query.values, query.limit + 1);
    const items = rows.slice(0, query.limit);
    const next = rows.length > items.length ? writeCursor(query, query.sort.map((_, index) => items.at(-1)[`sort_${index}`])) : null;
    return { items: items.map(read), next };
  }

  /** Whether the file can be read. */
  ping() {
    this.#prepare('SELECT 1 FROM records LIMIT 1').get();
  }

  close() {
    this.#database.close();
  }
}

function read(row) {
  return { id: row.id, createdAt: row.created_at, updatedAt: row.updated_at, version: row.version, body: JSON.parse(row.body) };
}

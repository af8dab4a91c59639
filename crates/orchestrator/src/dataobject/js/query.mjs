// `GET /?status=open&priority[gte]=2&sort=-createdAt&limit=50&cursor=…`: what a
// list was asked for, as conditions in SQL with their values beside them.

import { badParameter } from './problem.mjs';

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1000;
/** More would make one query expensive; nobody writes this many by hand. */
const MAX_CONDITIONS = 30;
const MAX_SORTS = 4;
const COMPARISONS = { eq: '=', ne: '<>', lt: '<', lte: '<=', gt: '>', gte: '>=' };

const COLUMNS = { id: 'id', createdAt: 'created_at', updatedAt: 'updated_at' };

/** The SQL that reads property `name`; the same text in queries and indexes, so that these are used. */
export function expression(name) {
  return COLUMNS[name] ?? `json_extract(body, '$."${name}"')`;
}

/**
 * What a list was asked for.
 * @param {URLSearchParams} parameters
 * @param {Map<string, string>} columns name to type, of what may be asked for
 */
export function readQuery(parameters, columns) {
  const query = { where: [], values: [], sort: [], limit: DEFAULT_LIMIT };
  const once = new Map();
  for (const [name, value] of parameters) {
    if (name === 'limit' || name === 'sort' || name === 'cursor') {
      if (once.has(name)) throw badParameter(name, `\`${name}\` is given more than once.`);
      once.set(name, value);
    } else {
      if (query.where.length === MAX_CONDITIONS) throw badParameter(name, `More than ${MAX_CONDITIONS} conditions are not taken.`);
      condition(name, value, columns, query);
    }
  }
  if (once.has('limit')) query.limit = readLimit(once.get('limit'));
  query.sort = readSort(once.get('sort') || 'id', columns);
  query.order = query.sort.map(({ name, descending }) => `${descending ? '-' : ''}${name}`).join();
  if (once.get('cursor')) after(readCursor(once.get('cursor'), query), query);
  return query;
}

function condition(parameter, text, columns, query) {
  const parts = /^([^[\]]+)(?:\[([a-z]+)\])?$/.exec(parameter);
  const [, name, operator = 'eq'] = parts ?? [];
  const type = columns.get(name);
  if (!type) throw badParameter(parameter, `There is no property \`${name ?? parameter}\` to filter by; known: ${[...columns.keys()].join(', ')}, and limit, sort, cursor.`);
  const column = expression(name);
  const value = (written) => readValue(parameter, written, type);
  if (Object.hasOwn(COMPARISONS, operator)) {
    // What has no value differs from every value.
    query.where.push(operator === 'ne' ? `(${column} IS NOT ?)` : `${column} ${COMPARISONS[operator]} ?`);
    query.values.push(value(text));
  } else if (operator === 'in') {
    const values = text.split(',').map(value);
    if (values.length > 100) throw badParameter(parameter, `\`${parameter}\` takes at most 100 values.`);
    query.where.push(`${column} IN (${values.map(() => '?').join()})`);
    query.values.push(...values);
  } else if (operator === 'exists') {
    if (text !== 'true' && text !== 'false') throw badParameter(parameter, `\`${parameter}\` has to be true or false.`);
    query.where.push(`${column} IS ${text === 'true' ? 'NOT ' : ''}NULL`);
  } else if ((operator === 'contains' || operator === 'prefix') && type === 'string') {
    query.where.push(operator === 'contains' ? `instr(${column}, ?) > 0` : `substr(${column}, 1, length(?)) = ?`);
    query.values.push(...(operator === 'contains' ? [text] : [text, text]));
  } else {
    const known = [...Object.keys(COMPARISONS), 'in', 'exists', ...(type === 'string' ? ['contains', 'prefix'] : [])];
    throw badParameter(parameter, `\`${operator}\` is no comparison for \`${name}\`; known: ${known.join(', ')}.`);
  }
}

function readValue(parameter, text, type) {
  if (type === 'string') return text;
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true' ? 1 : 0;
  if (type === 'number' && /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) && Number.isFinite(Number(text))) return Number(text);
  throw badParameter(parameter, `\`${parameter}\` has to be ${type === 'boolean' ? 'true or false' : 'a number'}.`);
}

function readLimit(text) {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_LIMIT) throw badParameter('limit', `\`limit\` has to be an integer from 1 to ${MAX_LIMIT}.`);
  return limit;
}

/** `-createdAt,title`; the id is always last, so that the order is total. */
function readSort(text, columns) {
  const sort = [];
  for (const part of text.split(',')) {
    const descending = part.startsWith('-');
    const name = descending ? part.slice(1) : part;
    if (!columns.has(name)) throw badParameter('sort', `There is no property \`${name}\` to sort by; known: ${[...columns.keys()].join(', ')}.`);
    if (sort.some((known) => known.name === name)) throw badParameter('sort', `\`sort\` names \`${name}\` twice.`);
    sort.push({ name, descending });
    if (name === 'id') return sort;
  }
  if (sort.length > MAX_SORTS) throw badParameter('sort', `\`sort\` takes at most ${MAX_SORTS} names.`);
  return [...sort, { name: 'id', descending: sort.at(-1).descending }];
}

/** Where a page ended: its order, and the last record's place in it. */
export function writeCursor(query, place) {
  return Buffer.from(JSON.stringify([query.order, ...place])).toString('base64url');
}

function readCursor(text, query) {
  let parts;
  try {
    parts = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    parts = undefined;
  }
  const scalar = (value) => value === null || typeof value === 'string' || typeof value === 'number';
  if (!Array.isArray(parts) || parts.length !== query.sort.length + 1 || !parts.every(scalar) || parts[0] !== query.order) {
    throw badParameter('cursor', '`cursor` has to be the `next` of an earlier page with the same `sort`.');
  }
  return parts.slice(1);
}

/** Only what comes after `place`: (a, b) > (x, y), where nothing sorts before every value. */
function after(place, query) {
  const alternatives = [];
  const values = [];
  for (let last = 0; last < query.sort.length; last += 1) {
    const terms = [];
    const bound = [];
    for (let index = 0; index <= last; index += 1) {
      const { name, descending } = query.sort[index];
      const column = expression(name);
      const value = place[index];
      if (index < last) {
        terms.push(`${column} IS ?`);
        bound.push(value);
      } else if (value === null) {
        terms.push(descending ? '0' : `${column} IS NOT NULL`);
      } else {
        terms.push(descending ? `(${column} < ? OR ${column} IS NULL)` : `${column} > ?`);
        bound.push(value);
      }
    }
    alternatives.push(`(${terms.join(' AND ')})`);
    values.push(...bound);
  }
  query.where.push(`(${alternatives.join(' OR ')})`);
  query.values.push(...values);
}

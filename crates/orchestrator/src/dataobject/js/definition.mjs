// A resource's definition: what its author exports, checked as a whole and
// put into the one form that the rest works with.

import { isObject, segment } from './json.mjs';
import { finding } from './problem.mjs';
import { checkSchema } from './schema.mjs';

/** Members of every record that are the server's. */
export const OWN = ['id', 'createdAt', 'updatedAt'];

const MEMBERS = ['name', 'description', 'path', 'schema', 'unique', 'indexes', 'references', 'endpoints', 'bodyLimit'];
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];
const DEFAULT_BODY_LIMIT = 1024 * 1024;
const MAX_BODY_LIMIT = 64 * 1024 * 1024;
/** Names that may be filtered and sorted by: they are safe in SQL and in a query. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Thrown when a definition is wrong, with all that is wrong with it. */
export class DefinitionError extends Error {
  constructor(findings) {
    super(findings.map(({ pointer, message }) => `${pointer || '(the whole)'} ${message}`).join('\n'));
    this.findings = findings;
  }
}

/** The definition `given` by the module's default export, in its one form. */
export function readDefinition(given, serviceName) {
  const findings = [];
  const wrong = (pointer, message) => findings.push(finding(pointer, message));
  if (!isObject(given)) {
    wrong('', 'has to be an object: `export default { schema: { … } }`');
    throw new DefinitionError(findings);
  }
  for (const name of Object.keys(given)) {
    if (!MEMBERS.includes(name)) wrong(segment(name), `is not known; known are ${MEMBERS.join(', ')}`);
  }
  const text = (name, fallback) => {
    const value = given[name] ?? fallback;
    if (typeof value !== 'string') wrong(`/${name}`, 'has to be a text');
    return value;
  };
  const definition = {
    name: text('name', serviceName),
    description: text('description', ''),
    path: readPath(given.path, wrong),
    schema: readSchema(given.schema, findings, wrong),
    bodyLimit: given.bodyLimit ?? DEFAULT_BODY_LIMIT,
  };
  if (!Number.isSafeInteger(definition.bodyLimit) || definition.bodyLimit < 1 || definition.bodyLimit > MAX_BODY_LIMIT) {
    wrong('/bodyLimit', `has to be a number of bytes from 1 to ${MAX_BODY_LIMIT}`);
  }
  const { properties } = definition.schema;
  definition.unique = readFields(given.unique, 'unique', properties, wrong);
  definition.indexes = readFields(given.indexes, 'indexes', properties, wrong);
  definition.references = readReferences(given.references, properties, wrong);
  definition.endpoints = readEndpoints(given.endpoints, findings, wrong);
  if (findings.length > 0) throw new DefinitionError(findings);
  return definition;
}

/** `''` for the root, else a path of one or more segments. */
function readPath(given, wrong) {
  if (given === undefined || given === '/') return '';
  if (typeof given === 'string' && /^(\/[A-Za-z0-9._-]+)+$/.test(given)) {
    if (given === '/health' || given === '/openapi.json') wrong('/path', 'is taken by the server itself');
    return given;
  }
  wrong('/path', 'has to be a path such as /tasks, or / for the root');
  return '';
}

function readSchema(given, findings, wrong) {
  if (!isObject(given)) {
    wrong('/schema', 'has to be a schema: an object with properties');
    return { type: 'object', properties: {} };
  }
  // What is not described is refused, unless the author says otherwise.
  const schema = { type: 'object', additionalProperties: false, ...given };
  if (schema.type !== 'object') wrong('/schema/type', 'has to be "object": records are objects');
  if (!isObject(schema.properties)) {
    wrong('/schema/properties', 'has to describe the members of a record');
    schema.properties = {};
  }
  for (const name of Object.keys(schema.properties)) {
    if (OWN.includes(name)) wrong(`/schema/properties${segment(name)}`, 'is set by the server, and described by it');
    if (name === '__proto__') wrong(`/schema/properties${segment(name)}`, 'is no name that a member may have');
  }
  checkSchema(schema, '/schema', findings);
  return schema;
}

/** Lists of names: `['key', ['owner', 'title']]` as `[['key'], ['owner', 'title']]`. */
function readFields(given, what, properties, wrong) {
  if (given === undefined) return [];
  if (!Array.isArray(given)) {
    wrong(`/${what}`, 'has to be a list of names, or of lists of names');
    return [];
  }
  return given.map((entry, index) => {
    const at = `/${what}/${index}`;
    const names = [entry].flat();
    if (names.length === 0) wrong(at, 'has to name a property');
    for (const name of names) {
      if (typeof name !== 'string' || !NAME.test(name) || !isScalar(properties[name])) {
        wrong(at, `has to name properties of the schema that are strings, numbers or booleans, with plain names`);
      }
    }
    return names;
  });
}

/** The scalar type of a property that may be filtered and sorted by; undefined for others. */
export function isScalar(property) {
  return scalarType(property) !== undefined;
}

/** `string`, `number` or `boolean`; undefined for what is none of them, or several. */
export function scalarType(property) {
  if (!isObject(property)) return undefined;
  const values = property.enum ?? (property.const === undefined ? undefined : [property.const]);
  const types = property.type !== undefined ? [property.type].flat() : (values ?? []).map((value) => (value === null ? 'null' : typeof value));
  const kinds = new Set(types.filter((type) => type !== 'null').map((type) => (type === 'integer' ? 'number' : type)));
  const [kind] = kinds;
  return kinds.size === 1 && ['string', 'number', 'boolean'].includes(kind) ? kind : undefined;
}

/** The properties that lists are filtered and sorted by: name to scalar type. */
export function columns(definition) {
  const known = new Map(OWN.map((name) => [name, 'string']));
  for (const [name, property] of Object.entries(definition.schema.properties)) {
    const type = NAME.test(name) ? scalarType(property) : undefined;
    if (type) known.set(name, type);
  }
  return known;
}

function readReferences(given, properties, wrong) {
  if (given === undefined) return [];
  if (!isObject(given)) {
    wrong('/references', 'has to be an object: {"projectId": {"service": "project-dataobject"}}');
    return [];
  }
  return Object.entries(given).map(([property, target]) => {
    const at = `/references${segment(property)}`;
    if (scalarType(properties[property]) !== 'string') wrong(at, 'has to be a property of the schema that is a string');
    const { service, path = '/', ...rest } = isObject(target) ? target : {};
    if (typeof service !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(service)) wrong(`${at}/service`, 'has to be the name of a service of the same project');
    if (typeof path !== 'string' || !/^\/([A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*)?$/.test(path)) wrong(`${at}/path`, 'has to be the `path` of that resource, such as /projects');
    for (const name of Object.keys(rest)) wrong(at + segment(name), 'is not known; known are service, path');
    return { property, service, path: path === '/' ? '' : path };
  });
}

function readEndpoints(given, findings, wrong) {
  if (given === undefined) return [];
  if (!isObject(given)) {
    wrong('/endpoints', 'has to be an object: {"POST /{id}/archive": (context) => …}');
    return [];
  }
  return Object.entries(given).map(([key, value]) => {
    const at = `/endpoints${segment(key)}`;
    const [method, path, ...more] = key.split(' ');
    const parts = (path ?? '').split('/').slice(1);
    const wellFormed = parts.length > 0 && more.length === 0 && path.startsWith('/')
      && parts.every((part) => /^([A-Za-z0-9._~-]+|\{[A-Za-z_][A-Za-z0-9_]*\})$/.test(part));
    if (!METHODS.includes(method) || !wellFormed) {
      wrong(at, `has to be a method (${METHODS.join(', ')}), a blank and a path such as /{id}/archive`);
    } else if (parts.length === 1 && parts[0].startsWith('{')) {
      wrong(at, 'is the path of a record, which the server answers itself');
    } else if (path === '/health' || path === '/openapi.json') {
      wrong(at, 'is answered by the server itself');
    }
    const { handler, body, description = '', ...rest } = typeof value === 'function' ? { handler: value } : isObject(value) ? value : {};
    if (typeof handler !== 'function') wrong(at, 'has to be a function, or an object with a function `handler`');
    if (typeof description !== 'string') wrong(`${at}/description`, 'has to be a text');
    if (body !== undefined) {
      if (method === 'GET' || method === 'DELETE') wrong(`${at}/body`, `is not read for ${method}`);
      checkSchema(body, `${at}/body`, findings);
    }
    for (const name of Object.keys(rest)) wrong(at + segment(name), 'is not known; known are handler, body, description');
    return { method, path, parts, handler, body, description };
  });
}

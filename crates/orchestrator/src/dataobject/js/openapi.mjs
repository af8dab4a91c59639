// The resource as an OpenAPI 3.1 document, which speaks the same JSON Schema.

import { columns, OWN } from './definition.mjs';

const COMPARISONS = {
  string: ['ne', 'lt', 'lte', 'gt', 'gte', 'in', 'exists', 'contains', 'prefix'],
  number: ['ne', 'lt', 'lte', 'gt', 'gte', 'in', 'exists'],
  boolean: ['ne', 'exists'],
};

export function openapi(definition) {
  const { name, path, schema } = definition;
  const Name = name.replace(/(^|[^A-Za-z0-9]+)([A-Za-z0-9])/g, (_, __, first) => first.toUpperCase()).replace(/[^A-Za-z0-9]/g, '');
  const ref = (of) => ({ $ref: `#/components/schemas/${of}` });
  const content = (of, type = 'application/json') => ({ content: { [type]: { schema: of } } });
  const problem = (description) => ({ description, ...content(ref('Problem'), 'application/problem+json') });
  const record = (description) => ({ description, headers: { ETag: { schema: { type: 'string' } } }, ...content(ref(Name)) });
  const invalid = { 400: problem('Not JSON'), 413: problem('Too large'), 415: problem('Not JSON by its Content-Type'), 422: problem('Does not fit the schema') };
  const changed = { 404: problem('There is none'), 409: problem('Not unique'), 412: problem('Changed since (If-Match)'), ...invalid };
  const ifMatch = { name: 'If-Match', in: 'header', schema: { type: 'string' } };
  const id = { name: 'id', in: 'path', required: true, schema: { type: 'string' } };
  const paths = {
    '/health': { get: { operationId: 'health', responses: { 200: { description: 'It works' }, 503: problem('Its data cannot be read') } } },
    [path || '/']: {
      get: {
        operationId: `list${Name}`,
        parameters: listParameters(definition),
        responses: { 200: { description: 'One page', ...content(ref(`${Name}Page`)) }, 400: problem('A parameter is wrong') },
      },
      post: {
        operationId: `create${Name}`,
        requestBody: { required: true, ...content(ref(`${Name}Body`)) },
        responses: { 201: record('Created'), 409: problem('Not unique'), ...invalid },
      },
    },
    [`${path}/{id}`]: {
      parameters: [id],
      get: { operationId: `get${Name}`, responses: { 200: record('The record'), 404: problem('There is none') } },
      put: { operationId: `update${Name}`, parameters: [ifMatch], requestBody: { required: true, ...content(ref(`${Name}Body`)) }, responses: { 200: record('Changed'), ...changed } },
      patch: { operationId: `patch${Name}`, parameters: [ifMatch], requestBody: { required: true, ...content({ type: 'object' }, 'application/merge-patch+json') }, responses: { 200: record('Changed'), ...changed } },
      delete: { operationId: `delete${Name}`, parameters: [ifMatch], responses: { 204: { description: 'Deleted' }, 404: problem('There is none'), 412: problem('Changed since (If-Match)') } },
    },
  };
  for (const endpoint of definition.endpoints) {
    const at = path + endpoint.path;
    paths[at] ??= {};
    paths[at][endpoint.method.toLowerCase()] = {
      description: endpoint.description || undefined,
      parameters: endpoint.parts.filter((part) => part.startsWith('{')).map((part) => ({ ...id, name: part.slice(1, -1) })),
      requestBody: endpoint.body === undefined ? undefined : { required: true, ...content(endpoint.body) },
      responses: { '2XX': { description: 'What the handler answers' }, '4XX': problem('What was wrong') },
    };
  }
  return {
    openapi: '3.1.0',
    info: { title: name, description: definition.description || undefined, version: '1' },
    paths,
    components: { schemas: { [`${Name}Body`]: schema, [Name]: recordSchema(schema), [`${Name}Page`]: pageSchema(ref(Name)), Problem: PROBLEM } },
  };
}

function recordSchema(schema) {
  const time = { type: 'string', format: 'date-time' };
  return {
    ...schema,
    properties: { id: { type: 'string' }, ...schema.properties, createdAt: time, updatedAt: time },
    required: [...new Set([...OWN, ...(schema.required ?? [])])],
  };
}

function pageSchema(item) {
  return {
    type: 'object',
    properties: { items: { type: 'array', items: item }, next: { type: ['string', 'null'] } },
    required: ['items', 'next'],
  };
}

const PROBLEM = {
  type: 'object',
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    errors: { type: 'array', items: { type: 'object', properties: { pointer: { type: ['string', 'null'] }, message: { type: 'string' } } } },
  },
};

function listParameters(definition) {
  const known = columns(definition);
  const parameter = (name, schema, description) => ({ name, in: 'query', description, schema });
  const filters = [...known].map(([name, type]) => parameter(name, { type },
    `Equal to; also ${COMPARISONS[type].map((operator) => `${name}[${operator}]`).join(', ')}`));
  return [
    parameter('limit', { type: 'integer', minimum: 1, maximum: 1000, default: 50 }),
    parameter('cursor', { type: 'string' }, 'The `next` of the page before'),
    parameter('sort', { type: 'string' }, `Names with commas between them, - before one for descending; of ${[...known.keys()].join(', ')}`),
    ...filters,
  ];
}

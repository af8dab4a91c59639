// The subset of JSON Schema (2020-12) that resources are described with: which
// schemas are taken, and what is wrong with a value. A keyword that is not in
// the table below is refused when the resource is loaded, never passed over.

import { FORMATS } from './formats.mjs';
import { equal, isObject, segment } from './json.mjs';
import { finding } from './problem.mjs';

export const TYPES = ['string', 'number', 'integer', 'boolean', 'object', 'array', 'null'];

const isString = (value) => typeof value === 'string';
const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isStrings = (value) => Array.isArray(value) && value.every(isString);
const isPattern = (value) => {
  try {
    return isString(value) && Boolean(new RegExp(value, 'u'));
  } catch {
    return false;
  }
};

/** Keyword to what its value has to be; `schema`, `schemas` and `properties` hold schemas. */
const KEYWORDS = {
  type: [(value) => (Array.isArray(value) ? value.length > 0 : true) && [value].flat().every((type) => TYPES.includes(type)),
    `one of ${TYPES.join(', ')}, or a list of them`],
  enum: [(value) => Array.isArray(value) && value.length > 0, 'a list of values'],
  const: [(value) => value !== undefined, 'a value'],
  title: [isString, 'a text'],
  description: [isString, 'a text'],
  examples: [Array.isArray, 'a list'],
  default: [(value) => value !== undefined, 'a value'],
  format: [(value) => Object.hasOwn(FORMATS, value), `one of ${Object.keys(FORMATS).join(', ')}`],
  pattern: [isPattern, 'a regular expression'],
  minLength: [isCount, 'a count'],
  maxLength: [isCount, 'a count'],
  minimum: [isNumber, 'a number'],
  maximum: [isNumber, 'a number'],
  exclusiveMinimum: [isNumber, 'a number'],
  exclusiveMaximum: [isNumber, 'a number'],
  multipleOf: [(value) => isNumber(value) && value > 0, 'a number above 0'],
  properties: ['properties', 'an object of schemas'],
  required: [isStrings, 'a list of names'],
  additionalProperties: ['schema', 'true, false or a schema'],
  minProperties: [isCount, 'a count'],
  maxProperties: [isCount, 'a count'],
  items: ['schema', 'a schema'],
  minItems: [isCount, 'a count'],
  maxItems: [isCount, 'a count'],
  uniqueItems: [(value) => typeof value === 'boolean', 'true or false'],
  anyOf: ['schemas', 'a list of schemas'],
  oneOf: ['schemas', 'a list of schemas'],
  allOf: ['schemas', 'a list of schemas'],
  not: ['schema', 'a schema'],
};

/** What is wrong with a schema itself; `pointer` is where it stands. */
export function checkSchema(schema, pointer, findings) {
  if (typeof schema === 'boolean') return;
  if (!isObject(schema)) {
    findings.push(finding(pointer, 'has to be a schema: an object, true or false'));
    return;
  }
  for (const [name, value] of Object.entries(schema)) {
    const at = pointer + segment(name);
    const keyword = Object.hasOwn(KEYWORDS, name) ? KEYWORDS[name] : undefined;
    if (!keyword) {
      findings.push(finding(at, `is not a keyword that is supported; known are ${Object.keys(KEYWORDS).join(', ')}`));
      continue;
    }
    const [check, says] = keyword;
    if (check === 'schema') {
      checkSchema(value, at, findings);
    } else if (check === 'schemas' && Array.isArray(value) && value.length > 0) {
      value.forEach((item, index) => checkSchema(item, at + segment(index), findings));
    } else if (check === 'properties' && isObject(value)) {
      for (const [property, item] of Object.entries(value)) checkSchema(item, at + segment(property), findings);
    } else if (typeof check === 'string' || !check(value)) {
      findings.push(finding(at, `has to be ${says}`));
    }
  }
  if (schema.default !== undefined && findings.length === 0) {
    validate(schema, schema.default, `${pointer}/default`, findings);
  }
}

/** `value` with the defaults of members that are missing; `value` itself is not changed. */
export function withDefaults(schema, value) {
  if (!isObject(schema)) return value;
  if (Array.isArray(value)) return schema.items ? value.map((item) => withDefaults(schema.items, item)) : value;
  if (!isObject(value) || !schema.properties) return value;
  const filled = { ...value };
  for (const [name, property] of Object.entries(schema.properties)) {
    if (Object.hasOwn(filled, name)) filled[name] = withDefaults(property, filled[name]);
    else if (isObject(property) && property.default !== undefined) filled[name] = structuredClone(property.default);
  }
  return filled;
}

/** Adds all that is wrong with `value` to `findings`. */
export function validate(schema, value, pointer, findings) {
  const wrong = (message, at = pointer) => findings.push(finding(at, message));
  if (schema === true) return;
  if (schema === false) {
    wrong('is not allowed here');
    return;
  }
  if (schema.type !== undefined && ![schema.type].flat().some((type) => isType(type, value))) {
    wrong(`has to be ${[schema.type].flat().map(article).join(' or ')}`);
    // What follows from another type would only repeat this.
    return;
  }
  if (schema.enum !== undefined && !schema.enum.some((item) => equal(item, value))) {
    wrong(`has to be one of ${schema.enum.map((item) => JSON.stringify(item)).join(', ')}`);
  }
  if (schema.const !== undefined && !equal(schema.const, value)) wrong(`has to be ${JSON.stringify(schema.const)}`);
  if (typeof value === 'string') validateString(schema, value, wrong);
  else if (typeof value === 'number') validateNumber(schema, value, wrong);
  else if (Array.isArray(value)) validateArray(schema, value, pointer, findings, wrong);
  else if (isObject(value)) validateObject(schema, value, pointer, findings, wrong);
  validateCombined(schema, value, pointer, findings, wrong);
}

function isType(type, value) {
  switch (type) {
    case 'integer': return Number.isInteger(value);
    case 'array': return Array.isArray(value);
    case 'object': return isObject(value);
    case 'null': return value === null;
    default: return typeof value === type;
  }
}

function article(type) {
  if (type === 'null') return 'null';
  return `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}`;
}

function validateString(schema, value, wrong) {
  // Counted as people do: code points, not UTF-16 units.
  const length = schema.minLength !== undefined || schema.maxLength !== undefined ? [...value].length : 0;
  if (schema.minLength !== undefined && length < schema.minLength) {
    wrong(schema.minLength === 1 ? 'must not be empty' : `has to have at least ${schema.minLength} characters`);
  }
  if (schema.maxLength !== undefined && length > schema.maxLength) wrong(`may have at most ${schema.maxLength} characters`);
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'u').test(value)) wrong(`has to match ${schema.pattern}`);
  if (schema.format !== undefined && !FORMATS[schema.format].test(value)) wrong(`has to be ${FORMATS[schema.format].says}`);
}

function validateNumber(schema, value, wrong) {
  if (schema.minimum !== undefined && value < schema.minimum) wrong(`has to be at least ${schema.minimum}`);
  if (schema.maximum !== undefined && value > schema.maximum) wrong(`may be at most ${schema.maximum}`);
  if (schema.exclusiveMinimum !== undefined && value <= schema.exclusiveMinimum) wrong(`has to be above ${schema.exclusiveMinimum}`);
  if (schema.exclusiveMaximum !== undefined && value >= schema.exclusiveMaximum) wrong(`has to be below ${schema.exclusiveMaximum}`);
  if (schema.multipleOf !== undefined) {
    const times = value / schema.multipleOf;
    // 0.3 is meant to be a multiple of 0.1, whatever binary fractions make of it.
    if (Math.abs(times - Math.round(times)) > 1e-9 * Math.max(1, Math.abs(times))) wrong(`has to be a multiple of ${schema.multipleOf}`);
  }
}

function validateArray(schema, value, pointer, findings, wrong) {
  if (schema.minItems !== undefined && value.length < schema.minItems) wrong(`has to have at least ${schema.minItems} items`);
  if (schema.maxItems !== undefined && value.length > schema.maxItems) wrong(`may have at most ${schema.maxItems} items`);
  if (schema.uniqueItems) {
    const seen = new Set();
    value.forEach((item, index) => {
      const key = canonical(item);
      if (seen.has(key)) wrong('is there more than once', pointer + segment(index));
      seen.add(key);
    });
  }
  if (schema.items !== undefined) {
    value.forEach((item, index) => validate(schema.items, item, pointer + segment(index), findings));
  }
}

function validateObject(schema, value, pointer, findings, wrong) {
  const names = Object.keys(value);
  const properties = schema.properties ?? {};
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) wrong('is missing', pointer + segment(name));
  }
  if (schema.minProperties !== undefined && names.length < schema.minProperties) wrong(`has to have at least ${schema.minProperties} members`);
  if (schema.maxProperties !== undefined && names.length > schema.maxProperties) wrong(`may have at most ${schema.maxProperties} members`);
  for (const name of names) {
    const at = pointer + segment(name);
    if (Object.hasOwn(properties, name)) {
      validate(properties[name], value[name], at, findings);
    } else if (schema.additionalProperties === false) {
      const known = Object.keys(properties);
      wrong(`is not known here${known.length > 0 ? `; known are ${known.join(', ')}` : ''}`, at);
    } else if (schema.additionalProperties !== undefined) {
      validate(schema.additionalProperties, value[name], at, findings);
    }
  }
}

function validateCombined(schema, value, pointer, findings, wrong) {
  const fits = (item) => {
    const found = [];
    validate(item, value, pointer, found);
    return found.length === 0;
  };
  for (const item of schema.allOf ?? []) validate(item, value, pointer, findings);
  if (schema.anyOf && !schema.anyOf.some(fits)) wrong('fits none of the alternatives (anyOf)');
  if (schema.oneOf) {
    const count = schema.oneOf.filter(fits).length;
    if (count !== 1) wrong(`has to fit exactly one of the alternatives (oneOf), and fits ${count}`);
  }
  if (schema.not !== undefined && fits(schema.not)) wrong('fits what it must not (not)');
}

/** A text that is the same for equal values. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join()}}`;
}

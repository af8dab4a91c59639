// Reading JSON text: what a program could not keep as it was sent is refused.

import { finding, Problem } from './problem.mjs';

/** Deeper nesting has no use in a record, and exhausts the stack of whoever walks it. */
export const MAX_DEPTH = 64;

/** `token` as one segment of a JSON pointer. */
export function segment(token) {
  return `/${String(token).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value of `text`, or a problem of status 400. */
export function parseJson(text) {
  if (depth(text) > MAX_DEPTH) {
    throw new Problem(400, `The body is nested more than ${MAX_DEPTH} levels deep.`);
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const place = /\(line (\d+) column (\d+)\)/.exec(error.message);
    const at = place ? { line: Number(place[1]), column: Number(place[2]) } : positionOf(text, error.message);
    const message = error.message.replace(/ in JSON at position .*$/s, '').replace(/, ".*$/s, '');
    throw new Problem(400, 'The body is not JSON.', [finding('', message, at)]);
  }
  const findings = [];
  inspect(value, '', findings);
  if (findings.length > 0) {
    throw new Problem(400, 'The body holds what cannot be kept as it was sent.', findings);
  }
  return value;
}

/** Levels of nesting, counted before anything recursive sees the text. */
function depth(text) {
  let level = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (inString) {
      if (char === 0x5c) at += 1;
      else if (char === 0x22) inString = false;
    } else if (char === 0x22) {
      inString = true;
    } else if (char === 0x5b || char === 0x7b) {
      level += 1;
      if (level > deepest) deepest = level;
    } else if (char === 0x5d || char === 0x7d) {
      level -= 1;
    }
  }
  return deepest;
}

function positionOf(text, message) {
  const offset = /position (\d+)/.exec(message);
  // V8 says of an early end only that there was one.
  const before = text.slice(0, offset ? Number(offset[1]) : text.length);
  const lines = before.split('\n');
  return { line: lines.length, column: [...lines.at(-1)].length + 1 };
}

function inspect(value, pointer, findings) {
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
      findings.push(finding(pointer, 'is a number beyond ±(2^53 − 1), which would be rounded; send it as a string'));
    }
  } else if (typeof value === 'string') {
    if (!value.isWellFormed()) findings.push(finding(pointer, 'is not well-formed Unicode'));
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => inspect(item, pointer + segment(index), findings));
  } else if (isObject(value)) {
    for (const [name, member] of Object.entries(value)) {
      const at = pointer + segment(name);
      if (name === '__proto__') findings.push(finding(at, 'is no name that a member may have'));
      inspect(member, at, findings);
    }
  }
}

/** Whether two JSON values are the same, whatever the order of their members. */
export function equal(left, right) {
  if (left === right) return true;
  if (Array.isArray(left)) {
    return Array.isArray(right) && left.length === right.length
      && left.every((item, index) => equal(item, right[index]));
  }
  if (!isObject(left) || !isObject(right)) return false;
  const names = Object.keys(left);
  return names.length === Object.keys(right).length
    && names.every((name) => Object.hasOwn(right, name) && equal(left[name], right[name]));
}

/** `target` with a JSON merge patch (RFC 7396) applied; neither is changed. */
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  const merged = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = mergePatch(merged[name], value);
  }
  return merged;
}

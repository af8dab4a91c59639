// Errors as the caller sees them: problem details (RFC 9457).

const TITLES = {
  400: ['invalid', 'The request is not valid'],
  403: ['forbidden', 'Not allowed'],
  404: ['not-found', 'Not found'],
  405: ['method-not-allowed', 'Method not allowed'],
  408: ['request-timeout', 'The request took too long to arrive'],
  409: ['conflict', 'In conflict with what exists'],
  412: ['precondition', 'Not possible in the present state'],
  413: ['too-large', 'The body is too large'],
  415: ['unsupported-media-type', 'Unsupported media type'],
  422: ['unprocessable', 'The body does not fit the schema'],
  431: ['too-large', 'The headers are too large'],
  500: ['internal', 'Internal error'],
  503: ['unavailable', 'Not available at present'],
};

/** Longest list of findings in one answer. */
const MAX_ERRORS = 100;

/** One place that is wrong: `pointer` is a JSON pointer into the body. */
export function finding(pointer, message, place = {}) {
  return { pointer, line: place.line ?? null, column: place.column ?? null, message };
}

/** A query parameter or header that is wrong. */
export function parameterFinding(parameter, message) {
  return { pointer: null, line: null, column: null, parameter, message };
}

/** Thrown by whatever handles a request; becomes the answer. */
export class Problem extends Error {
  /**
   * @param {number} status an HTTP status of 400 or above
   * @param {string} detail what was wrong with this request, for people
   * @param {object[]} errors findings
   * @param {Record<string, string>} headers sent with the answer
   */
  constructor(status, detail, errors = [], headers = {}) {
    super(detail);
    this.name = 'Problem';
    this.status = status;
    this.errors = errors;
    this.headers = headers;
  }

  toJSON() {
    const [name, title] = TITLES[this.status] ?? ['refused', 'Refused'];
    return {
      type: `urn:millrace:problem:${name}`,
      title,
      status: this.status,
      detail: this.message,
      errors: this.errors.slice(0, MAX_ERRORS),
    };
  }
}

/** 400 for a query parameter. */
export function badParameter(name, message) {
  return new Problem(400, message, [parameterFinding(name, message)]);
}

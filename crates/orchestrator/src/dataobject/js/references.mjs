// References to records of other services of the project: whether they exist is
// asked at the other service's stable address, whatever its port is now.

import { segment } from './json.mjs';
import { finding, Problem } from './problem.mjs';

const PATIENCE = 5000;

export class References {
  #references;
  #address;
  #headers;

  /** `address` is what the services of this project are reached below; `key`, where the gateway wants one, is shown to it. */
  constructor(references, address, key) {
    this.#references = references;
    this.#address = address;
    this.#headers = { accept: 'application/json', ...(key && { 'x-millrace-key': key }) };
  }

  /** Refuses `body` when it refers to what is not there; what `before` referred to is not asked again. */
  async check(body, before) {
    const changed = this.#references.filter(({ property }) => typeof body[property] === 'string' && body[property] !== before?.[property]);
    if (changed.length === 0) return;
    const found = await Promise.all(changed.map((reference) => this.#exists(reference, body[reference.property])));
    const findings = changed.filter((_, index) => !found[index])
      .map(({ property, service }) => finding(segment(property), `refers to a record that ${service} does not have`));
    if (findings.length > 0) throw new Problem(422, 'The body refers to what does not exist.', findings);
  }

  async #exists({ property, service, path }, id) {
    const unknown = (why) => new Problem(503, `Whether \`${property}\` exists cannot be asked of ${service}: ${why}.`, [], { 'retry-after': '1' });
    if (!this.#address) throw unknown('MILLRACE_GATEWAY_URL does not say where the services of this project are');
    if (id === '' || id === '.' || id === '..') return false;
    const url = `${this.#address}/${service}${path}/${encodeURIComponent(id)}`;
    let answer;
    try {
      answer = await fetch(url, { method: 'GET', redirect: 'error', signal: AbortSignal.timeout(PATIENCE), headers: this.#headers });
      await answer.body?.cancel();
    } catch (error) {
      throw unknown(error.name === 'TimeoutError' ? 'it takes too long to answer' : 'it does not answer');
    }
    if (answer.ok) return true;
    if (answer.status === 404 || answer.status === 410) return false;
    if (answer.status === 401 || answer.status === 403) throw unknown(`the gateway answers ${answer.status} to the key in MILLRACE_API_KEY, or to none`);
    throw unknown(`it answers ${answer.status}`);
  }
}

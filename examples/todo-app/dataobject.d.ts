// The form of a dataobject's definition, for editors. Nothing of it is needed
// to run: Node strips types. Keep a copy beside index.ts and write
//
//   export default { schema: { … } } satisfies DataObject.Resource;

declare namespace DataObject {
  /** What `index.ts` exports as its default. */
  interface Resource {
    /** What one record is called in messages and in /openapi.json; the service's name when left out. */
    name?: string;
    description?: string;
    /** Where the records are; `/` when left out. */
    path?: `/${string}`;
    /** What a record's members are. `type: "object"` and `additionalProperties: false` are understood. */
    schema: Schema & { properties: Record<string, Schema> };
    /** Values that no two records share: a property, or several together. */
    unique?: (string | string[])[];
    /** What lists are often filtered or sorted by. */
    indexes?: (string | string[])[];
    /** Properties that hold the id of a record of another service of the project. */
    references?: Record<string, { service: string; path?: `/${string}` }>;
    /** `"POST /{id}/archive"` and what answers it. */
    endpoints?: Record<string, Handler | Endpoint>;
    /** Largest request body, in bytes; 1 MiB when left out. */
    bodyLimit?: number;
  }

  interface Endpoint {
    description?: string;
    /** What the body has to be; checked before the handler is called. Without it, any JSON or no body. */
    body?: Schema;
    handler: Handler;
  }

  /** What is returned is the answer: 200 with it as JSON, 204 for undefined, or a `reply`. */
  type Handler = (context: Context) => unknown;

  interface Context {
    method: string;
    /** Of the path: `{id}` is `params.id`. */
    params: Record<string, string>;
    query: URLSearchParams;
    headers: Record<string, string | string[] | undefined>;
    body: any;
    records: Records;
    /** An answer with a status and headers of its own. */
    reply(status: number, body?: unknown, headers?: Record<string, string>): unknown;
    /** Ends the request with problem details. */
    fail(status: number, detail: string, errors?: { pointer?: string; message: string }[]): never;
  }

  type Stored = { id: string; createdAt: string; updatedAt: string } & Record<string, any>;

  /** The records, under the same rules as over HTTP: a refusal here is the answer of the request. */
  interface Records {
    /** Parameters as in a query: `{ status: "open", sort: "-createdAt", limit: 10 }`. */
    list(parameters?: Record<string, string | number | boolean> | URLSearchParams): Promise<{ items: Stored[]; next: string | null }>;
    get(id: string): Promise<Stored>;
    create(body: object): Promise<Stored>;
    update(id: string, body: object): Promise<Stored>;
    /** A JSON merge patch: null removes a member. */
    patch(id: string, patch: object): Promise<Stored>;
    delete(id: string): Promise<void>;
  }

  type Type = "string" | "number" | "integer" | "boolean" | "object" | "array" | "null";

  /** The part of JSON Schema (2020-12) that is understood. Any other keyword is refused. */
  type Schema = boolean | {
    type?: Type | Type[];
    enum?: unknown[];
    const?: unknown;
    title?: string;
    description?: string;
    examples?: unknown[];
    /** Filled in where the member is missing. */
    default?: unknown;
    format?: "date" | "date-time" | "email" | "uri" | "uuid";
    pattern?: string;
    minLength?: number;
    maxLength?: number;
    minimum?: number;
    maximum?: number;
    exclusiveMinimum?: number;
    exclusiveMaximum?: number;
    multipleOf?: number;
    properties?: Record<string, Schema>;
    required?: string[];
    additionalProperties?: Schema;
    minProperties?: number;
    maxProperties?: number;
    items?: Schema;
    minItems?: number;
    maxItems?: number;
    uniqueItems?: boolean;
    anyOf?: Schema[];
    oneOf?: Schema[];
    allOf?: Schema[];
    not?: Schema;
  };
}

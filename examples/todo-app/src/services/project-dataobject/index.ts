// Projects: what tasks belong to.

export default {
  name: "project",
  description: "What tasks belong to",
  schema: {
    required: ["key", "name"],
    properties: {
      key: { type: "string", pattern: "^[A-Z][A-Z0-9]{1,9}$", description: "Short and unique, such as HOME" },
      name: { type: "string", minLength: 1, maxLength: 100 },
      description: { type: "string", maxLength: 2000 },
      archived: { type: "boolean", default: false },
    },
  },
  unique: ["key"],
  endpoints: {
    "POST /{id}/archive": ({ params, records }) => records.patch(params.id, { archived: true }),
  },
} satisfies DataObject.Resource;

// Tasks, each of one project.

export default {
  name: "task",
  schema: {
    required: ["projectId", "title"],
    properties: {
      projectId: { type: "string" },
      title: { type: "string", minLength: 1, maxLength: 200 },
      status: { enum: ["open", "doing", "done"], default: "open" },
      priority: { type: "integer", minimum: 1, maximum: 5, default: 3 },
      dueOn: { type: "string", format: "date" },
      tags: { type: "array", items: { type: "string", minLength: 1 }, maxItems: 20, uniqueItems: true },
    },
  },
  // Asked of the other service, at its stable address, when a task is made.
  references: { projectId: { service: "project-dataobject" } },
  unique: [["projectId", "title"]],
  indexes: ["status", "dueOn"],
  endpoints: {
    "POST /{id}/finish": ({ params, records }) => records.patch(params.id, { status: "done" }),
    "GET /overdue": async ({ query, records }) => {
      const today = query.get("on") ?? new Date().toISOString().slice(0, 10);
      return records.list({ "status[ne]": "done", "dueOn[lt]": today, sort: "dueOn", limit: 100 });
    },
  },
} satisfies DataObject.Resource;

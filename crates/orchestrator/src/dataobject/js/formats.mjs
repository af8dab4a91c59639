// The formats that a schema may ask of strings.

const DATE = /^(\d{4})-(\d{2})-(\d{2})$/;
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;
const EMAIL = /^[^\s@"(),:;<>[\]\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function isDate(text) {
  const parts = DATE.exec(text);
  if (!parts) return false;
  const [year, month, day] = parts.slice(1).map(Number);
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

function isDateTime(text) {
  const parts = DATE_TIME.exec(text);
  return parts !== null && isDate(parts[1]);
}

function isUri(text) {
  return /^[A-Za-z][A-Za-z0-9+.-]*:[^\s<>"{}|\\^`]*$/.test(text) && URL.canParse(text);
}

/** Name to `{test, says}`; `says` completes "has to be …". */
export const FORMATS = {
  date: { test: isDate, says: 'a date such as 2026-12-01' },
  'date-time': { test: isDateTime, says: 'a date and time such as 2026-12-01T09:00:00Z' },
  email: { test: (text) => text.length <= 254 && EMAIL.test(text), says: 'an e-mail address' },
  uri: { test: isUri, says: 'a URI with its scheme' },
  uuid: { test: (text) => UUID.test(text), says: 'a UUID' },
};

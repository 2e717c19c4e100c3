/** The part of JSON Schema that result.schema.json is written in; schema.py is the same in Python. */

/**
 * @param {any} value  parsed JSON
 * @param {any} schema
 * @param {string} [path]  of the value, for the sentence
 * @returns {string | null} the first thing that is wrong, or null
 */
export function fault(value, schema, path = "") {
  const where = path || "it";
  if ("const" in schema && value !== schema.const) return `${where} is not ${JSON.stringify(schema.const)}`;
  if (schema.enum && !schema.enum.includes(value)) return `${where} is none of ${schema.enum.join(", ")}`;
  const types = schema.type === undefined ? null : [schema.type].flat();
  if (types && !types.some((each) => isOf(value, each))) return `${where} is no ${types.join(" or ")}`;
  if (typeof value === "string" && value.length > (schema.maxLength ?? Infinity)) return `${where} is longer than ${schema.maxLength} characters`;
  if (typeof value === "number") {
    if (value < (schema.minimum ?? -Infinity)) return `${where} is below ${schema.minimum}`;
    if (value > (schema.maximum ?? Infinity)) return `${where} is above ${schema.maximum}`;
  }
  if (Array.isArray(value)) {
    if (value.length < (schema.minItems ?? 0)) return `${where} has fewer than ${schema.minItems} entries`;
    if (value.length > (schema.maxItems ?? Infinity)) return `${where} has more than ${schema.maxItems} entries`;
    return first(value.map((each, index) => [each, schema.items ?? {}, `${path}[${index}]`]));
  }
  if (value === null || typeof value !== "object") return null;
  const inside = (/** @type {string} */ name) => (path ? `${path}.${name}` : name);
  const missing = (schema.required ?? []).find((/** @type {string} */ name) => !Object.hasOwn(value, name));
  if (missing) return `${inside(missing)} is missing`;
  const known = schema.properties ?? {};
  const unknown = Object.keys(value).find((name) => !Object.hasOwn(known, name));
  if (schema.additionalProperties === false && unknown !== undefined) return `${inside(unknown.slice(0, 40))} is not known`;
  return first(Object.entries(value).filter(([name]) => Object.hasOwn(known, name)).map(([name, each]) => [each, known[name], inside(name)]));
}

/** @param {[any, any, string][]} parts */
function first(parts) {
  for (const part of parts) {
    const found = fault(...part);
    if (found) return found;
  }
  return null;
}

/**
 * @param {any} value
 * @param {string} type
 */
function isOf(value, type) {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  if (type === "number") return Number.isFinite(value);
  if (type === "object") return value !== null && typeof value === "object" && !Array.isArray(value);
  return typeof value === type;
}

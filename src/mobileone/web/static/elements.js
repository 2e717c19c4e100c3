/** Pieces of the page. All text goes in as text, never as markup: names come from anywhere. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean>} [attributes]  true is an attribute without value
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== false) made.setAttribute(name, value === true ? "" : String(value));
  made.append(...children);
  return made;
}

/**
 * @template {HTMLElement} Kind
 * @param {string} id  of what index.html has
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function find(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page lacks its ${id}.`);
  return found;
}

/**
 * Show a sentence where a reader looks for it, and a screen reader reads it; none takes it away.
 * @param {string} id
 * @param {string} [sentence]
 */
export function tell(id, sentence = "") {
  const place = find(id, HTMLElement);
  place.hidden = sentence === "";
  place.textContent = sentence;
}

/**
 * A button that works: pressed again it does nothing, but keeps the keyboard's focus, which a disabled one loses.
 * @param {HTMLButtonElement} button
 * @param {() => Promise<void>} work
 */
export function onPress(button, work) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    try {
      await work();
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

/**
 * @param {unknown} reason  whatever was thrown
 * @returns {string} for people
 */
export function sentence(reason) {
  return reason instanceof Error ? reason.message : String(reason);
}

/**
 * @param {number} value  milliseconds
 * @returns {string} three digits that matter
 */
export function milliseconds(value) {
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/**
 * @param {number} count  bytes
 * @returns {string} in MB of a million
 */
export function megabytes(count) {
  return `${(count / 1e6).toFixed(count < 1e7 ? 2 : 1)} MB`;
}

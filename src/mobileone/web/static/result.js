/** A device's result: JSON of the form mobileone.web/1 (result.schema.json), also packed into a link. */

import { fault } from "./schema.js";

/**
 * @typedef {object} Measurement
 * @property {{title: string, runtime: string, precision: string, sha256: string, bytes: number, height: number, width: number}} network
 * @property {number} threads
 * @property {number} warmup
 * @property {number[]} milliseconds
 * @property {number} loadMilliseconds
 * @property {number} coldMilliseconds
 * @property {number | null} memoryBytes
 * @property {string | null} [kernels]  that computed it
 * @property {{seconds: number[], milliseconds: number[]} | null} sustained
 *
 * @typedef {object} Device
 * @property {string} name
 * @property {string} browser
 * @property {number} cores
 * @property {boolean} isolated
 * @property {number | null} memoryGB
 * @property {number | null} refreshHz
 * @property {string | null} power
 * @property {string | null} pressure
 *
 * @typedef {{title: string, threads: number, differing: number, of: number, greatest: number, close?: boolean, pixelsDiffering: number, pixelsOf: number}} Proven
 * @typedef {{format: "mobileone.web/1", made: string, site: string, device: Device, measurements: Measurement[], proofs: Proven[]}} Result
 */

/** @type {"mobileone.web/1"} */
export const FORMAT = "mobileone.web/1";
/** Before a packed result in a link. */
const MARK = "#result=";
/** Characters of JSON that a link may unfold to. */
const MOST = 4_000_000;

/**
 * @param {Result} result
 * @param {string} page  address of this page
 * @returns {Promise<string>} the page's address with the result in it, which no server sees
 */
export async function toLink(result, page) {
  const packed = new Blob([JSON.stringify(result)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  const letters = btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return page.split("#")[0] + MARK + letters;
}

/**
 * @param {string} link  or the part of it from # on
 * @returns {Promise<string | null>} the JSON in it; none where it carries no result
 * @throws {Error} where what it carries cannot be unpacked
 */
export async function fromLink(link) {
  const start = link.indexOf(MARK);
  if (start < 0) return null;
  try {
    const letters = atob(link.slice(start + MARK.length).replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      text += decoder.decode(value, { stream: true });
      if (text.length > MOST) throw new Error("too long");
    }
  } catch {
    throw new Error("The link's result is damaged; was all of it copied?");
  }
}

/**
 * Results in a text: one as JSON, a list of them, or links, a line each.
 * @param {string} text
 * @returns {Promise<Result[]>}
 * @throws {Error} one sentence, where it holds anything else
 */
export async function readResults(text) {
  const schema = await (await fetch("result.schema.json")).json();
  const trimmed = text.trim();
  const parts = /^[[{]/.test(trimmed) ? [trimmed] : trimmed.split(/\s+/);
  const found = [];
  for (const part of parts) found.push(...[parse((await fromLink(part)) ?? part)].flat());
  for (const each of found) {
    const wrong = fault(each, schema);
    if (wrong) throw new Error(`That is no result of this page: ${wrong}.`);
  }
  return found;
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("That is no result: it must be JSON as this page copies it, or its link.");
  }
}

/** An answer as a reader sees it: names with bars, "unsure", and the map laid over the picture. */

import { make } from "./elements.js";

/** @import { Answer, ClassMap } from "./protocol.js" */

/**
 * Lay an answer into a place of the page; bars that are there already move.
 * @param {HTMLElement} place
 * @param {Answer} answer
 */
export function showAnswer(place, answer) {
  place.classList.toggle("unsure", answer.unsure);
  let list = place.querySelector("ol");
  if (!list) {
    list = make("ol", { class: "answer" });
    place.replaceChildren(make("p", { class: "verdict bad" }), list);
  }
  const verdict = /** @type {HTMLElement} */ (place.firstChild);
  verdict.textContent = answer.unsure ? "Unsure" : "";
  verdict.hidden = !answer.unsure;
  while (list.children.length > answer.top.length) list.lastElementChild?.remove();
  while (list.children.length < answer.top.length)
    list.append(
      make("li", {}, make("span", { class: "name" }), make("span"), make("div", { class: "track", "aria-hidden": "true" }, make("i"))),
    );
  answer.top.forEach((each, rank) => {
    const [name, share, track] = /** @type {HTMLElement[]} */ ([...list.children[rank].children]);
    name.textContent = name.title = each.name;
    share.textContent = percent(each.probability);
    /** @type {HTMLElement} */ (track.firstChild).style.width = `${100 * each.probability}%`;
  });
}

/**
 * @param {Answer} answer
 * @returns {string} the answer in one sentence, to be read out
 */
export function spoken(answer) {
  const [first] = answer.top;
  if (!first) return "No class.";
  return `${answer.unsure ? "Unsure, perhaps " : ""}${first.name}, ${percent(first.probability)}`;
}

/**
 * Lay a class activation map over what it belongs to, where the network saw it.
 * @param {HTMLCanvasElement} canvas  above the picture, in the same box
 * @param {ClassMap | undefined} map  none takes it away
 */
export function showMap(canvas, map) {
  canvas.hidden = !map;
  if (!map) return;
  const pixels = new ImageData(map.width, map.height);
  map.values.forEach((value, index) => pixels.data.set(heat(value), 4 * index));
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  for (const side of /** @type {const} */ (["left", "top", "width", "height"]))
    canvas.style[side] = `${100 * map.box[side]}%`;
}

/**
 * @param {number} value  0 to 1
 * @returns {[number, number, number, number]} blue and clear to red and dense, which every eye tells apart by strength
 */
function heat(value) {
  return [255 * Math.min(1, 2 * value), 200 * Math.max(0, 2 * value - 1), 255 * Math.max(0, 1 - 2 * value), 255 * value];
}

/**
 * @param {number} probability
 * @returns {string}
 */
function percent(probability) {
  return `${(100 * probability).toFixed(probability < 0.0995 ? 1 : 0)} %`;
}

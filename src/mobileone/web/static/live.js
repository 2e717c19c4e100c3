/** Live: the camera and pictures of any origin, classified as they come. */

import { showAnswer, showMap, spoken } from "./answers.js";
import { Camera } from "./camera.js";
import { find, make, milliseconds, onPress, sentence, tell } from "./elements.js";

/** @import { Answer, Engine, Network, Site } from "./protocol.js" */

/** Milliseconds between two answers of the camera that are read out. */
const READ_OUT_EVERY = 2500;
/** Frames that the pace is averaged over. */
const PACE_OVER = 30;

export class Live {
  /**
   * @param {Site} site
   * @param {Engine} engine
   * @param {number} threads  the most
   */
  constructor(site, engine, threads) {
    this.site = site;
    this.engine = engine;
    this.camera = new Camera(find("video", HTMLVideoElement));
    this.select = find("live-network", HTMLSelectElement);
    this.select.append(...site.networks.map((each) => make("option", { value: each.id }, each.title)));
    find("live-network-field", HTMLElement).hidden = site.networks.length < 2;
    this.threads = find("live-threads", HTMLSelectElement);
    for (let count = 1; count <= threads; count *= 2) this.threads.append(make("option", {}, String(count)));
    this.threads.value = threads > 1 ? "2" : "1";
    this.map = find("live-map", HTMLInputElement);
    this.offer();
    this.listen();
  }

  /** @returns {Network} */
  get network() {
    return this.site.networks.find((each) => each.id === this.select.value) ?? this.site.networks[0];
  }

  listen() {
    this.select.addEventListener("change", () => this.offer());
    onPress(find("camera", HTMLButtonElement), () => this.toggle());
    onPress(find("camera-turn", HTMLButtonElement), () => this.watch(() => this.camera.turn()));
    const files = find("files", HTMLInputElement);
    files.addEventListener("change", () => {
      this.classify([...(files.files ?? [])]);
      files.value = "";  // so that the same one can be chosen again
    });
    document.addEventListener("paste", (event) => {
      if (event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLInputElement) return;
      this.take(event.clipboardData, "What was pasted holds no picture.");
    });
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("over");
      this.take(event.dataTransfer, "What was dropped holds no picture: save it as a file first, then drop the file.");
    });
    document.addEventListener("visibilitychange", () => document.hidden && this.rest());
  }

  /**
   * @param {DataTransfer | null} given
   * @param {string} otherwise  told where it holds no file
   */
  take(given, otherwise) {
    location.hash = "#live";
    const files = [...(given?.files ?? [])];
    if (files.length) this.classify(files);
    else tell("live-notice", otherwise);
  }

  /** Show what may be chosen of this network. */
  offer() {
    find("live-map-field", HTMLElement).hidden = !this.network.map;
    find("live-threads-field", HTMLElement).hidden = this.threads.options.length < 2 || this.network.accelerator !== undefined;
  }

  /**
   * @param {ImageBitmap | Blob} image
   * @returns {Promise<Answer>}
   */
  ask(image) {
    const request = {
      network: this.network.id,
      threads: this.network.accelerator ? 1 : Number(this.threads.value),
      map: this.network.map && this.map.checked,
      image,
    };
    return this.engine.ask("classify", request, image instanceof ImageBitmap ? [image] : []);
  }

  /** @param {File[]} files  each gets a card at once, and its answer in turn */
  async classify(files) {
    tell("live-notice");
    const cards = files.map((file) => {
      const card = make("article", { class: "picture" }, make("h3", {}, file.name || "Picture"), make("p", { class: "soft" }, "Waiting …"));
      return { file, card };
    });
    find("hint", HTMLElement).hidden = true;
    find("pictures", HTMLElement).prepend(...cards.map(({ card }) => card));
    for (const { file, card } of cards) {
      try {
        this.answer(card, file, await this.ask(file));
      } catch (error) {
        const name = file.name || "Picture";
        card.replaceChildren(make("h3", {}, name), make("p", { class: "bad", role: "alert" }, sentence(error)));
      }
    }
  }

  /**
   * @param {HTMLElement} card
   * @param {File} file
   * @param {Answer} answer
   */
  answer(card, file, answer) {
    const name = file.name || "Picture";
    // Drawn only now: what was too large for the worker is too large for the page.
    const image = make("img", { alt: `${name}: ${spoken(answer)}`, decoding: "async", src: URL.createObjectURL(file) });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    const canvas = make("canvas", { class: "map", "aria-hidden": "true" });
    const place = make("div");
    const { decode, preprocess, network } = answer.times;
    const times = `${answer.size.width} × ${answer.size.height}: decoding ${milliseconds(decode)}, pre-processing ${milliseconds(preprocess)}, network ${milliseconds(network)}`;
    card.replaceChildren(
      make("div", { class: "view" }, image, canvas),
      make("div", {}, make("h3", {}, name), place, make("p", { class: "soft" }, times)),
    );
    showAnswer(place, answer);
    showMap(canvas, answer.map);
    find("spoken", HTMLElement).textContent = `${name}: ${spoken(answer)}`;
  }

  async toggle() {
    if (this.camera.isOn) this.rest();
    else await this.watch(() => this.camera.start());
  }

  /** @param {() => Promise<MediaStream | null>} begin  starts one of the cameras */
  async watch(begin) {
    tell("live-notice");
    let stream;
    try {
      stream = await begin();
    } catch (error) {
      return this.refuse(error);
    }
    if (!stream) return;  // stopped before it was allowed
    find("camera", HTMLButtonElement).textContent = "Stop camera";
    find("stage", HTMLElement).hidden = false;
    // People know their face from mirrors.
    find("video", HTMLElement).parentElement?.classList.toggle("mirrored", this.camera.looksAtUser);
    find("camera-turn", HTMLElement).hidden = !(await this.camera.hasOthers());
    this.follow(stream).catch((error) => this.refuse(error));
  }

  /**
   * Answer the camera's pictures until it is stopped, or another one is started.
   * @param {MediaStream} stream  the camera's
   */
  async follow(stream) {
    /** @type {{at: number, times: Answer["times"]}[]} */
    const frames = [];
    let read = 0;
    while (this.camera.stream === stream) {
      const image = await this.camera.next();
      if (!image) continue;
      const asked = performance.now();
      const answer = await this.ask(image);
      const at = performance.now();
      showAnswer(find("video-answer", HTMLElement), answer);
      showMap(find("video-map", HTMLCanvasElement), answer.map);
      frames.push({ at, times: answer.times });
      if (frames.length > PACE_OVER) frames.shift();
      find("video-pace", HTMLElement).textContent = pace(frames, at - asked);
      if (at - read > READ_OUT_EVERY && !answer.unsure) {
        read = at;
        find("spoken", HTMLElement).textContent = spoken(answer);
      }
    }
    if (!this.camera.isOn) this.rest();
  }

  /** @param {unknown} error */
  refuse(error) {
    this.rest();
    tell("live-notice", sentence(error));
  }

  rest() {
    this.camera.stop();
    find("camera", HTMLButtonElement).textContent = "Start camera";
    for (const id of ["stage", "camera-turn"]) find(id, HTMLElement).hidden = true;
  }
}

/**
 * @param {{at: number, times: Answer["times"]}[]} frames  the last ones
 * @param {number} last  milliseconds from the last picture to its answer
 * @returns {string}
 */
function pace(frames, last) {
  const sum = (/** @type {(times: Answer["times"]) => number} */ of) => frames.reduce((total, { times }) => total + of(times), 0);
  const network = sum((times) => times.network);
  const before = sum((times) => times.decode + times.preprocess);
  const span = frames[frames.length - 1].at - frames[0].at;
  const rate = span > 0 ? `${((1000 * (frames.length - 1)) / span).toFixed(0)} frames/s, ` : "";
  return `${rate}network ${milliseconds(network / frames.length)}, pre-processing ${((100 * before) / (before + network || 1)).toFixed(0)} % of the work, answered in ${milliseconds(last)}`;
}

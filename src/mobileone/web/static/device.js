/** What the browser tells of its device. Most tell little; what is not told is null, never guessed. */

/** @import { Device } from "./result.js" */

/** Frames over which the screen's rate is measured. */
const FRAMES = 30;

/** @returns {Promise<Device>} */
export async function describeDevice() {
  const told = /** @type {any} */ (navigator);
  const [name, refreshHz, charge, pressed] = await Promise.all([deviceName(told), refreshRate(), power(told), pressure()]);
  return {
    name,
    browser: browserName(told),
    cores: navigator.hardwareConcurrency || 1,
    isolated: window.crossOriginIsolated === true,
    memoryGB: told.deviceMemory ?? null,
    refreshHz,
    power: charge,
    pressure: pressed,
  };
}

/** @param {any} told */
async function deviceName(told) {
  try {
    const { model, platform, platformVersion } = await told.userAgentData.getHighEntropyValues(["model", "platformVersion"]);
    return [model, platform, platformVersion].filter(Boolean).join(" ").slice(0, 80) || "This device";
  } catch {
    const found = /\(([^;)]+)/.exec(navigator.userAgent);
    return (found?.[1] ?? "This device").slice(0, 80);
  }
}

/** @param {any} told */
function browserName(told) {
  const brands = told.userAgentData?.brands ?? [];
  // Browsers add a brand of nonsense, so that nobody counts on a fixed list.
  const known = brands.filter((/** @type {{brand: string}} */ { brand }) => !/not.?a.?brand/i.test(brand.replace(/[^a-z]/gi, "")));
  const names = known.map((/** @type {{brand: string, version: string}} */ { brand, version }) => `${brand} ${version}`);
  return (names.join(", ") || navigator.userAgent).slice(0, 400);
}

/** @returns {Promise<number | null>} of the screen, in Hz; some phones halve it to save power */
function refreshRate() {
  return new Promise((done) => {
    if (document.hidden) return done(null);
    /** @type {number[]} */
    const times = [];
    const step = (/** @type {number} */ now) => {
      times.push(now);
      if (times.length <= FRAMES) return requestAnimationFrame(step);
      const gaps = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
      done(Math.round(1000 / gaps[FRAMES >> 1]));
    };
    requestAnimationFrame(step);
    setTimeout(() => done(null), 2000);  // a page in the background gets no frames
  });
}

/** @param {any} told */
async function power(told) {
  try {
    const battery = await told.getBattery();
    return `${battery.charging ? "charging" : "on battery"}, ${Math.round(100 * battery.level)} %`;
  } catch {
    return null;
  }
}

/** @returns {Promise<string | null>} how hard pressed the processor is: nominal, fair, serious or critical */
export function pressure() {
  const Observer = /** @type {any} */ (window).PressureObserver;
  if (!Observer) return Promise.resolve(null);
  return new Promise((done) => {
    const observer = new Observer((/** @type {{state: string}[]} */ records) => {
      observer.disconnect();
      done(records[records.length - 1].state);
    });
    observer.observe("cpu", { sampleInterval: 200 }).catch(() => done(null));
    setTimeout(() => (observer.disconnect(), done(null)), 1000);
  });
}

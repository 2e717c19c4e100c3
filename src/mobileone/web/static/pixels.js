/**
 * From any picture to a network's input, byte for byte as EvalTransform makes it: two antialiased passes with Pillow's
 * weights, computed here, over pixels, in pixels.wasm. Only decoding is the browser's.
 *
 * @typedef {import("./protocol.js").Input} Input
 * @typedef {object} Source  a decoded picture
 * @property {number} width
 * @property {number} height
 * @property {(top: number, left: number, width: number, height: number) => Uint8Array | Promise<Uint8Array>} rows  four
 *   bytes a pixel of a part of it
 * @property {boolean} [opaque]  nothing shines through, and the fourth byte says nothing
 * @property {boolean} [blueFirst]  the bytes are blue, green, red
 *
 * @typedef {{left: number, top: number, right: number, bottom: number}} Part  of a picture, in its pixels
 */

const WEIGHT_BITS = 22;
const HALF_BITS = 11;
const STRIP_BYTES = 4 << 20; // of the picture that lie in the module's memory at a time
const SLACK = 64; // bytes that vectors may touch behind an end
const MOST_PIXELS = 2 ** 26; // as in Python: MOBILEONE_MAX_IMAGE_PIXELS

/** @type {Record<string, {support: number, weight: (x: number) => number}>} */
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5;
      const d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
};

/** Halves to the even number, as Python rounds. @param {number} value */
export function roundEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/**
 * What one pass reads: for each place of the result where its pixels begin, and their weights.
 *
 * @param {number} size  of the picture in this direction
 * @param {number} begin  of the part that is resized, a float32
 * @param {number} end  likewise
 * @param {number} places  of the result
 * @param {string} interpolation
 * @returns {{first: number, weights: Int32Array}[]}
 */
export function passTable(size, begin, end, places, interpolation) {
  const { support, weight } = FILTERS[interpolation];
  const scale = Math.fround(end - begin) / places;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  return Array.from({ length: places }, (_, place) => {
    const centre = begin + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(size, Math.trunc(centre + reach + 0.5));
    const weights = Array.from({ length: last - first }, (_, i) => weight((i + first - centre + 0.5) * (1 / stretch)));
    const total = weights.reduce((sum, value) => sum + value, 0);
    return {
      first,
      weights: Int32Array.from(weights, (value) => {
        const share = total === 0 ? value : value / total;
        return Math.trunc(share * 2 ** WEIGHT_BITS + (share < 0 ? -0.5 : 0.5));
      }),
    };
  });
}

/**
 * How a picture is fitted: what of it is resized to which size, and where that stands in the input.
 *
 * @param {number} height
 * @param {number} width
 * @param {Input} input
 * @returns {{part: Part, height: number, width: number, top: number, left: number, resize: boolean}}
 * @throws {Error} if it is too elongated
 */
export function placement(height, width, input) {
  if (input.fit === "letterbox") {
    let [inHeight, inWidth] = [input.height, input.width];
    if (inHeight * width <= inWidth * height) inWidth = Math.max(1, roundEven((inHeight * width) / height));
    else inHeight = Math.max(1, roundEven((inWidth * height) / width));
    return {
      part: { left: 0, top: 0, right: width, bottom: height },
      height: inHeight,
      width: inWidth,
      top: Math.floor((input.height - inHeight) / 2),
      left: Math.floor((input.width - inWidth) / 2),
      resize: inHeight !== height || inWidth !== width,
    };
  }
  let [wholeHeight, wholeWidth] = input.resize;
  if (wholeHeight * width >= wholeWidth * height) wholeWidth = Math.floor((wholeHeight * width) / height);
  else wholeHeight = Math.floor((wholeWidth * height) / width);
  if (wholeHeight * wholeWidth > MOST_PIXELS) {
    throw new Error(`The picture, ${width}×${height} pixels, is too elongated for this network.`);
  }
  const top = roundEven((wholeHeight - input.height) / 2);
  const left = roundEven((wholeWidth - input.width) / 2);
  const [y, x] = [height / wholeHeight, width / wholeWidth];
  return {
    part: {
      left: Math.min(left * x, width),
      top: Math.min(top * y, height),
      right: Math.min((left + input.width) * x, width),
      bottom: Math.min((top + input.height) * y, height),
    },
    height: input.height,
    width: input.width,
    top: 0,
    left: 0,
    resize: wholeHeight !== height || wholeWidth !== width,
  };
}

/** The module, and its memory. */
export class Pixels {
  /** @param {WebAssembly.Instance} instance  of pixels.wasm */
  constructor(instance) {
    this.call = /** @type {any} */ (instance.exports);
    this.base = (Number(this.call.__heap_base.value) + 63) & ~63;
  }

  /**
   * @param {number} bytes  that must lie behind the base
   * @returns {Uint8Array} all memory
   */
  memory(bytes) {
    const missing = this.base + bytes - this.call.memory.buffer.byteLength;
    if (missing > 0) this.call.memory.grow(Math.ceil(missing / 65536));
    return new Uint8Array(this.call.memory.buffer);
  }

  /**
   * @param {Source} source
   * @param {Input} input
   * @returns {Promise<{pixels: Uint8Array<ArrayBuffer>, box: import("./protocol.js").ClassMap["box"]}>} the network's input (rows, columns,
   *   channels); what of the picture it shows
   */
  async transform(source, input) {
    const place = placement(source.height, source.width, input);
    const { part } = place;
    const out = new Uint8Array(input.height * input.width * input.channels);
    if (place.height !== input.height || place.width !== input.width) this.fillBorder(out, input);
    const view = place.resize ? await this.resized(source, place, input) : await this.cut(source, place);
    this.pack(view, source.blueFirst === true, place, input, out);
    const [y, x] = [(part.bottom - part.top) / place.height, (part.right - part.left) / place.width];
    return {
      pixels: out,
      box: {
        left: (part.left - place.left * x) / source.width,
        top: (part.top - place.top * y) / source.height,
        width: (input.width * x) / source.width,
        height: (input.height * y) / source.height,
      },
    };
  }

  /** @param {Uint8Array} out @param {Input} input */
  fillBorder(out, input) {
    const [red, green, blue] = input.border;
    const line = Uint8Array.of(red, green, blue, 255);
    const memory = this.memory(SLACK);
    memory.set(line, this.base);
    this.call.packed(this.base, 4, 0, 1, 1, input.channels, this.base + 4, 0);
    const colour = memory.slice(this.base + 4, this.base + 4 + input.channels);
    for (let i = 0; i < out.length; i += colour.length) out.set(colour, i);
  }

  /** On white, where anything shines through. @param {Source} source @param {number} at @param {number} pixels */
  lay(source, at, pixels) {
    if (!source.opaque) this.call.over_white(at, pixels);
  }

  /** Where nothing is resized. @param {Source} source @param {ReturnType<typeof placement>} place */
  async cut(source, place) {
    const rgba = await source.rows(place.part.top, place.part.left, place.width, place.height);
    this.memory(rgba.length + SLACK).set(rgba, this.base);
    this.lay(source, this.base, rgba.length / 4);
    return this.base;
  }

  /**
   * @param {Source} source
   * @param {ReturnType<typeof placement>} place
   * @param {Input} input
   * @returns {Promise<number>} where four bytes a pixel of the resized part lies
   */
  async resized(source, place, input) {
    const { part, height, width } = place;
    const [x0, x1, y0, y1] = [part.left, part.right, part.top, part.bottom].map(Math.fround);
    const across = source.width !== width || x0 !== 0 || x1 !== width;
    const down = source.height !== height || y0 !== 0 || y1 !== height;
    const columns = across ? passTable(source.width, x0, x1, width, input.interpolation) : identity(width);
    const lines = down ? passTable(source.height, y0, y1, height, input.interpolation) : identity(height);
    const firstRow = lines[0].first;
    const rows = ends(lines) - firstRow;
    const firstColumn = Math.min(...columns.map((each) => each.first));
    const columnsRead = ends(columns) - firstColumn;

    const { at, end: result, bytes } = this.tables([
      { table: columns, from: firstColumn },
      { table: lines, from: firstRow },
    ]);
    const downFirst = input.down_first && source.height > height && source.height - height > 2 * (source.width - width);
    const between = align(result + 4 * width * (height + 1) + SLACK);
    const betweenBytes = downFirst ? 4 * columnsRead * (height + 2) : 4 * width * (rows + 2);
    const strip = align(between + betweenBytes + SLACK);
    if (downFirst) {
      // Some of the columns at a time, each over all rows.
      const atOnce = Math.max(2, Math.min(columnsRead, Math.floor(STRIP_BYTES / (4 * rows))));
      const part = align(strip + 4 * atOnce * (rows + 2) + SLACK);
      const memory = this.memory(part + 4 * atOnce * (height + 1) + SLACK - this.base);
      memory.set(bytes, this.base);
      for (let column = 0; column < columnsRead; column += atOnce) {
        const count = Math.min(atOnce, columnsRead - column);
        memory.set(await source.rows(firstRow, firstColumn + column, count, rows), strip);
        this.lay(source, strip, count * rows);
        this.call.vertical(strip, 0, count, at[1], height, part);
        for (let y = 0; y < height; y++) {
          const line = part + 4 * count * y;
          memory.copyWithin(between + 4 * (columnsRead * y + column), line, line + 4 * count);
        }
      }
      this.call.horizontal(between, 4 * columnsRead, height, at[0], width, result);
      return result;
    }
    const atOnce = Math.max(2, Math.min(rows, 2 * Math.floor(STRIP_BYTES / (8 * columnsRead))));
    const memory = this.memory(strip + 4 * columnsRead * (atOnce + 1) + SLACK - this.base);
    memory.set(bytes, this.base);
    for (let row = 0; row < rows; row += atOnce) {
      const count = Math.min(atOnce, rows - row);
      memory.set(await source.rows(firstRow + row, firstColumn, columnsRead, count), strip);
      this.lay(source, strip, count * columnsRead);
      this.call.horizontal(strip, 4 * columnsRead, count, at[0], width, between + 4 * width * row);
    }
    this.call.vertical(between, 0, width, at[1], height, result);
    return result;
  }

  /**
   * Tables as pixels.c reads them.
   *
   * @param {{table: {first: number, weights: Int32Array}[], from: number}[]} given  `from` becomes 0
   */
  tables(given) {
    const pairs = given.map(({ table }) => table.map(({ weights }) => (weights.length + 1) >> 1));
    const headBytes = given.map(({ table }) => 12 * table.length);
    const total = headBytes.reduce((a, b) => a + b, 0) + 8 * pairs.flat().reduce((a, b) => a + b, 0);
    const bytes = new Uint8Array(align(total));
    const words = new Int32Array(bytes.buffer);
    const halves = new Int16Array(bytes.buffer);
    let head = 0;
    let free = headBytes.reduce((a, b) => a + b, 0);
    const at = given.map(({ table, from }, t) => {
      const begin = this.base + head;
      table.forEach(({ first, weights }, i) => {
        words.set([first - from, pairs[t][i], this.base + free], head / 4);
        for (let k = 0; k < weights.length; k++) {
          const half = free / 2 + 4 * (k >> 1) + (k & 1);
          halves[half] = weights[k] & ((1 << HALF_BITS) - 1);
          halves[half + 2] = weights[k] >> HALF_BITS;
        }
        free += 8 * pairs[t][i];
        head += 12;
      });
      return begin;
    });
    return { bytes, at, end: align(this.base + total) };
  }

  /**
   * @param {number} from  where four bytes a pixel lie
   * @param {boolean} blueFirst
   * @param {ReturnType<typeof placement>} place
   * @param {Input} input
   * @param {Uint8Array} out
   */
  pack(from, blueFirst, place, input, out) {
    const { height, width } = place;
    const row = width * input.channels;
    const to = align(from + 4 * width * height + SLACK);
    const memory = this.memory(to + row * height + SLACK - this.base);
    this.call.packed(from, 4 * width, Number(blueFirst), width, height, input.channels, to, row);
    for (let y = 0; y < height; y++) {
      const line = memory.subarray(to + y * row, to + (y + 1) * row);
      out.set(line, ((place.top + y) * input.width + place.left) * input.channels);
    }
  }
}

/** @param {number} address */
const align = (address) => (address + 63) & ~63;

/** One behind the last that is read. @param {{first: number, weights: Int32Array}[]} table */
const ends = (table) => Math.max(...table.map(({ first, weights }) => first + weights.length));

/** A pass that changes nothing. @param {number} places */
const identity = (places) =>
  Array.from({ length: places }, (_, first) => ({ first, weights: Int32Array.of(1 << WEIGHT_BITS) }));

/** RGBA pixels that are there already. @param {ImageData | {width: number, height: number, data: Uint8Array}} image */
export function pixelSource(image) {
  return {
    width: image.width,
    height: image.height,
    rows(/** @type {number} */ top, /** @type {number} */ left, /** @type {number} */ width, /** @type {number} */ height) {
      const out = new Uint8Array(4 * width * height);
      for (let y = 0; y < height; y++) {
        const from = 4 * ((top + y) * image.width + left);
        out.set(image.data.subarray(from, from + 4 * width), 4 * y * width);
      }
      return out;
    },
  };
}

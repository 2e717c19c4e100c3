/**
 * Made-up pictures, the same in Python (golden.py): smooth colours with some noise, whole numbers alone.
 *
 * @param {{height: number, width: number, seed: number}} golden
 * @returns {{width: number, height: number, data: Uint8Array}} RGBA
 */
export function goldenPicture({ height, width, seed }) {
  const data = new Uint8Array(4 * width * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      for (let c = 0; c < 3; c++) {
        const slope = x * (3 + 2 * c) + y * (7 - 2 * c) + ((x * y) >> 6) + 50 * seed * (c + 1);
        const noise = Math.imul(3 * i + c + 1000003 * seed, 0x9e3779b1) >>> 27;
        data[4 * i + c] = Math.max(0, Math.abs((slope & 511) - 256) - 1) ^ noise;
      }
      data[4 * i + 3] = 255;
    }
  }
  return { width, height, data };
}

/** @param {string} text  base64 */
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

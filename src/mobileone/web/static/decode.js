/**
 * Pictures to pixels, by the browser. It turns photos as their metadata say, decodes JPEG by its own library (a grey
 * level or so from Python's, here and there), and gives 16-bit pictures in 8 bits.
 *
 * @typedef {import("./pixels.js").Source} Source
 */

import { pixelSource } from "./pixels.js";

const MOST_PIXELS = 2 ** 26; // as in Python: MOBILEONE_MAX_IMAGE_PIXELS

/**
 * @param {ImageBitmap | ImageData | Blob} image  a bitmap is closed with the source
 * @param {boolean} exif  whether metadata are followed
 * @returns {Promise<Source & {close: () => void}>}
 * @throws {Error} in one sentence
 */
export async function decode(image, exif) {
  if (image instanceof ImageData) return { ...pixelSource(image), close() {} };
  if (image instanceof ImageBitmap) return bitmapSource(image);
  const header = await readHeader(image);
  refuseLarge(header);
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none", imageOrientation: exif ? "from-image" : "none" };
  /** @type {ImageBitmap} */
  let bitmap;
  try {
    bitmap = await createImageBitmap(image, /** @type {ImageBitmapOptions} */ (options));
  } catch {
    throw new Error("This is no picture, or none that this browser can decode.");
  }
  if (canBeTransparent(image.type)) {
    const exact = await unpremultiplied(image, bitmap);
    if (exact !== null) return exact;
  }
  return (header?.upright ? frameSource(bitmap) : null) ?? bitmapSource(bitmap);
}

/** @param {string} type */
const canBeTransparent = (type) => !/jpe?g|bmp/.test(type);

/** @param {{width: number, height: number} | null} size */
function refuseLarge(size) {
  if (size !== null && size.width * size.height > MOST_PIXELS) {
    throw new Error(`The picture is too large: ${size.width}×${size.height} pixels, over the limit of ${MOST_PIXELS}.`);
  }
}

/**
 * Straight from the decoder's memory, where the browser lets one: a third of a canvas's time. Only for pictures that
 * are not turned, as a frame may forget that.
 *
 * @param {ImageBitmap} bitmap
 * @returns {(Source & {close: () => void}) | null} null for pictures that something shines through
 */
function frameSource(bitmap) {
  if (!("VideoFrame" in globalThis)) return null;
  const frame = new VideoFrame(bitmap, { timestamp: 0 });
  const { format } = frame;
  if ((format !== "RGBX" && format !== "BGRX") || frame.codedWidth !== bitmap.width) {
    frame.close();
    return null;
  }
  return {
    width: bitmap.width,
    height: bitmap.height,
    opaque: true,
    blueFirst: format === "BGRX",
    async rows(top, left, width, height) {
      const bytes = new Uint8Array(4 * width * height);
      const layout = [{ offset: 0, stride: 4 * width }];
      await frame.copyTo(bytes, { rect: { x: left, y: top, width, height }, layout });
      return bytes;
    },
    close() {
      frame.close();
      bitmap.close();
    },
  };
}

/**
 * Through a canvas, which keeps colours multiplied by their opacity: exact where that is full.
 *
 * @param {ImageBitmap} bitmap
 */
function bitmapSource(bitmap) {
  const { width, height } = bitmap;
  refuseLarge(bitmap);
  /** @type {OffscreenCanvas | null} */
  let canvas = null;
  /** @type {OffscreenCanvasRenderingContext2D | null} */
  let context = null;
  return {
    width,
    height,
    /** @param {number} top @param {number} left @param {number} columns @param {number} rows */
    rows(top, left, columns, rows) {
      if (canvas === null || canvas.width !== columns || canvas.height < rows) {
        canvas = new OffscreenCanvas(columns, rows);
        context = canvas.getContext("2d", { willReadFrequently: true });
        if (context === null) throw new Error("This browser gives no pixels of a picture.");
        context.globalCompositeOperation = "copy";
      }
      const drawn = /** @type {OffscreenCanvasRenderingContext2D} */ (context);
      drawn.drawImage(bitmap, left, top, columns, rows, 0, 0, columns, rows);
      const { data } = drawn.getImageData(0, 0, columns, rows);
      return new Uint8Array(data.buffer);
    },
    close: () => bitmap.close(),
  };
}

/**
 * Colours as they are in the file, behind transparency too, where the browser has a decoder that tells them.
 *
 * @param {Blob} blob
 * @param {ImageBitmap} bitmap  of it, for its size; closed if this is not null
 */
async function unpremultiplied(blob, bitmap) {
  if (!("ImageDecoder" in globalThis) || !(await ImageDecoder.isTypeSupported(blob.type))) return null;
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const asked = { data: await blob.arrayBuffer(), type: blob.type, ...options };
  const decoder = new ImageDecoder(/** @type {ImageDecoderInit} */ (asked));
  try {
    const { image } = await decoder.decode();
    const { width, height } = bitmap;
    if (image.codedWidth !== width || image.codedHeight !== height) return null; // turned by its metadata
    const data = new Uint8Array(4 * width * height);
    await image.copyTo(data, { format: "RGBA" });
    image.close();
    bitmap.close();
    return { ...pixelSource({ width, height, data }), close() {} };
  } catch {
    return null;
  } finally {
    decoder.close();
  }
}

/**
 * A picture's size from its first bytes, before anything is decoded.
 *
 * @param {Blob} blob
 * @returns {Promise<{width: number, height: number, upright?: boolean} | null>} null where it is not known so simply;
 *   upright is a JPEG that no metadata turn
 */
export async function readHeader(blob) {
  const view = new DataView(await blob.slice(0, 1 << 18).arrayBuffer());
  const length = view.byteLength;
  if (length >= 24 && view.getUint32(0) === 0x89504e47) return { width: view.getUint32(16), height: view.getUint32(20) };
  if (length >= 10 && view.getUint32(0) === 0x47494638) {
    return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  }
  if (length < 4 || view.getUint16(0) !== 0xffd8) return null;
  let upright = true;
  for (let at = 2; at + 9 <= length && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), upright };
    if (marker === 0xe1) upright &&= isUpright(view, at + 4);
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  return null;
}

/**
 * Whether a JPEG's block of metadata leaves the picture as it is; one that is not understood may turn it.
 *
 * @param {DataView} view
 * @param {number} at  where the block's content begins
 */
function isUpright(view, at) {
  try {
    if (view.getUint32(at) !== 0x45786966) return true; // not "Exif"
    const base = at + 6;
    const little = view.getUint16(base) === 0x4949;
    const directory = base + view.getUint32(base + 4, little);
    for (let i = 0; i < view.getUint16(directory, little); i++) {
      const entry = directory + 2 + 12 * i;
      if (view.getUint16(entry, little) === 0x0112) return view.getUint16(entry + 8, little) === 1;
    }
    return true;
  } catch {
    return false;
  }
}

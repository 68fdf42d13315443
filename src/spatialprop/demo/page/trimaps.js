/** Trimaps: what is surely in, what is surely out, and what alpha is asked for. */

import { FileError } from "./pictures.js";

export const [UNKNOWN, IN, OUT] = [0, 1, 2]; // as they are painted: what is not painted is unknown
const VALUES = [128, 255, 0]; // as files and the server have them
const SLACK = 5; // values that are as good as 0 and 255, which JPEG leaves

export const toValues = (labels) => Uint8Array.from(labels, (label) => VALUES[label]);

/** A grey picture with an unknown region, as labels; null if it is something else, such as a mask. */
export function asTrimap({ name, width, height, pixels }) {
  const labels = new Uint8Array(width * height);
  const found = new Set();
  for (let index = 0, at = 0; index < labels.length; index++, at += 4) {
    const level = pixels[at];
    if (level !== pixels[at + 1] || level !== pixels[at + 2] || pixels[at + 3] < 255) return null;
    labels[index] = level <= SLACK ? OUT : level >= 255 - SLACK ? IN : UNKNOWN;
    found.add(labels[index]);
  }
  if (!found.has(UNKNOWN)) return null;
  for (const [label, side, value] of [[IN, "foreground", 255], [OUT, "background", 0]]) {
    if (found.has(label)) continue;
    throw new FileError(`The trimap ${name} holds no known ${side}: some of its pixels must be ${value}. A trimap is 0 (background), 128 (unknown) and 255 (foreground).`);
  }
  return labels;
}

/** The trimap of a rough mask: unknown within `band` pixels of its border. */
export function surround(inside, width, height, band) {
  const nearInside = grown(inside, width, height, band);
  const nearOutside = grown(inside.map((one) => 1 - one), width, height, band);
  const labels = inside.map((_, index) => (nearOutside[index] ? (nearInside[index] ? UNKNOWN : OUT) : IN));
  for (const [label, what] of [[IN, "inside"], [OUT, "outside"]]) {
    if (!labels.includes(label)) {
      throw new FileError(`Nothing ${what} the mask is further than ${band} pixels from its border, so nothing is known there: take a narrower band, or paint the trimap.`);
    }
  }
  return labels;
}

/** Ones where there is a one within a square of `reach` pixels to each side. */
function grown(map, width, height, reach) {
  const across = new Uint8Array(map.length);
  for (let row = 0; row < height; row++) growLine(map, across, row * width, 1, width, reach);
  const found = new Uint8Array(map.length);
  for (let column = 0; column < width; column++) growLine(across, found, column, width, height, reach);
  return found;
}

function growLine(from, to, start, step, length, reach) {
  for (const [first, direction] of [[0, 1], [length - 1, -1]]) {
    let since = Infinity; // steps since the last one
    for (let place = first, left = length; left > 0; place += direction, left--) {
      const at = start + place * step;
      since = from[at] ? 0 : since + 1;
      if (since <= reach) to[at] = 1;
    }
  }
}

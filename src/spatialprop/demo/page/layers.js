/** Pictures that lie over the photograph: classes and their outlines, strokes, results, and affinities. */

const TINT = 115; // of 255
const STRONGEST = 32; // pixels whose affinity is drawn in full colour
const FADING = 0.4; // an exponent that keeps far pixels visible

/** The labels of an image as a tint, and as outlines that stay sharp at any zoom. */
export class MaskLayer {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d");
    this.outline = new Path2D();
  }

  /** @param colours of the classes @param area to draw, all of it by default */
  draw(labels, colours, [left, top, right, bottom] = [0, 0, this.width, this.height]) {
    const image = new ImageData(right - left, bottom - top);
    const words = new Uint32Array(image.data.buffer);
    const tints = colours.map(([r, g, b], label) => (label ? ((TINT << 24) | (b << 16) | (g << 8) | r) >>> 0 : 0));
    for (let row = top, at = 0; row < bottom; row++) {
      for (let column = left; column < right; column++) words[at++] = tints[labels[row * this.width + column]];
    }
    this.context.putImageData(image, left, top);
  }

  trace(labels) {
    this.outline = outlineOf(labels, this.width, this.height);
  }

  /** @param scale how many pixels of the screen's canvas one of the image has @param ratio how many one of the page has */
  paint(context, scale, ratio) {
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(this.canvas, 0, 0);
    context.lineJoin = context.lineCap = "round";
    for (const [colour, width] of [["rgb(0 0 0 / 50%)", 3.2], ["#fff", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = (width * ratio) / scale;
      context.stroke(this.outline);
    }
  }
}

/** Pixels with colours of their own: strokes, a coloured picture, or a cut-out before a backdrop. */
export class PictureLayer {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d");
    this.backdrop = null; // a colour, or "checks"; null lets the photograph show through
  }

  /** @param {Uint32Array} words RGBA, a word a pixel @param area to draw, all of it by default */
  draw(words, [left, top, right, bottom] = [0, 0, this.width, this.height]) {
    const image = new ImageData(right - left, bottom - top);
    const drawn = new Uint32Array(image.data.buffer);
    for (let row = top, at = 0; row < bottom; row++, at += right - left) {
      drawn.set(words.subarray(row * this.width + left, row * this.width + right), at);
    }
    this.context.putImageData(image, left, top);
  }

  paint(context, scale, ratio) {
    if (this.backdrop) {
      context.fillStyle = this.backdrop === "checks" ? checks(context, ratio / scale) : this.backdrop;
      context.fillRect(0, 0, this.width, this.height);
    }
    context.imageSmoothingEnabled = scale < 2;
    context.drawImage(this.canvas, 0, 0);
  }
}

/** What stands for nothing: a checkerboard of one size on the screen at any zoom. */
function checks(context, size) {
  const tile = new OffscreenCanvas(16, 16);
  const drawing = tile.getContext("2d");
  for (const [colour, x, y] of [["#fff", 0, 0], ["#fff", 8, 8], ["#cdd1d5", 8, 0], ["#cdd1d5", 0, 8]]) {
    drawing.fillStyle = colour;
    drawing.fillRect(x, y, 8, 8);
  }
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(size));
  return pattern;
}

/** The borders between labels as straight runs along the edges of pixels. */
function outlineOf(labels, width, height) {
  const path = new Path2D();
  for (let row = 1; row < height; row++) {
    for (let column = 0, at = row * width; column < width; column++, at++) {
      if (labels[at] === labels[at - width]) continue;
      const start = column;
      while (column + 1 < width && labels[at + 1] !== labels[at + 1 - width]) [column, at] = [column + 1, at + 1];
      path.moveTo(start, row);
      path.lineTo(column + 1, row);
    }
  }
  for (let column = 1; column < width; column++) {
    for (let row = 0, at = column; row < height; row++, at += width) {
      if (labels[at] === labels[at - 1]) continue;
      const start = row;
      while (row + 1 < height && labels[at + width] !== labels[at + width - 1]) [row, at] = [row + 1, at + width];
      path.moveTo(column, start);
      path.lineTo(column, row + 1);
    }
  }
  return path;
}

/**
 * Draw affinities as light: warm where a pixel takes from others, blue where they count against it.
 * @param {Float32Array} affinity
 */
export function glow(affinity, width, height) {
  const top = strongest(affinity);
  const image = new ImageData(width, height);
  const pixels = image.data;
  for (let index = 0, at = 0; index < affinity.length; index++, at += 4) {
    const size = Math.min(1, Math.abs(affinity[index]) / top) ** FADING;
    const ramp = affinity[index] > 0 ? WARM : COOL;
    const place = 3 * Math.round(255 * size);
    pixels[at] = ramp[place];
    pixels[at + 1] = ramp[place + 1];
    pixels[at + 2] = ramp[place + 2];
    pixels[at + 3] = Math.round(255 * Math.min(1, 1.6 * size));
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A pixel depends on itself and a few others most by far: they must not set the scale. */
function strongest(affinity) {
  const largest = new Float32Array(STRONGEST);
  for (const value of affinity) {
    const size = Math.abs(value);
    if (size <= largest[0]) continue;
    let place = 0;
    while (place + 1 < STRONGEST && largest[place + 1] < size) [largest[place], place] = [largest[place + 1], place + 1];
    largest[place] = size;
  }
  return largest.find((value) => value > 0) ?? 1;
}

const WARM = ramp([[60, 20, 8], [214, 90, 12], [255, 176, 58], [255, 243, 207]]);
const COOL = ramp([[8, 20, 60], [42, 111, 219], [127, 182, 255], [220, 236, 255]]);

function ramp(stops) {
  const colours = new Uint8Array(256 * 3);
  for (let index = 0; index < 256; index++) {
    const place = (index / 255) * (stops.length - 1);
    const first = Math.min(stops.length - 2, Math.floor(place));
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [stops[first][channel], stops[first + 1][channel]];
      colours[3 * index + channel] = from + (to - from) * (place - first);
    }
  }
  return colours;
}

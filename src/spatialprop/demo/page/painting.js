/** What is painted: labels or colours, strokes, and how they are undone. */

const MOST_HISTORY = 256 * 2 ** 20; // bytes

export class Painting {
  /** @param {number} width @param {number} height @param Store of labels, or of colours as words; 0 is unpainted */
  constructor(width, height, Store = Uint8Array) {
    this.width = width;
    this.height = height;
    this.labels = new Store(width * height);
    this.past = [];
    this.future = [];
    this.stroke = null;
  }

  get isEmpty() {
    return !this.labels.some((label) => label !== 0);
  }

  begin() {
    this.stroke = { before: this.labels.slice(), area: null };
  }

  /** Paint a line of round dabs in image coordinates. @returns the area that changed, [left, top, right, bottom] */
  line(from, to, diameter, label) {
    const radius = diameter / 2;
    const [left, right] = spanOf(from.x, to.x, radius, this.width);
    const [top, bottom] = spanOf(from.y, to.y, radius, this.height);
    if (left >= right || top >= bottom) return null;
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const length = dx * dx + dy * dy;
    const reach = Math.max(radius, 0.71) ** 2; // so that the smallest brush hits the pixel that it is over
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const [x, y] = [column + 0.5 - from.x, row + 0.5 - from.y];
        const along = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
        if ((x - along * dx) ** 2 + (y - along * dy) ** 2 <= reach) this.labels[row * this.width + column] = label;
      }
    }
    const area = [left, top, right, bottom];
    if (this.stroke) this.stroke.area = union(this.stroke.area, area);
    return area;
  }

  /** @returns whether the stroke changed anything */
  end() {
    const { before, area } = this.stroke;
    this.stroke = null;
    return area !== null && this.remember(before, area);
  }

  /** Give up a stroke that turned out to be something else. @returns the area to draw again */
  cancel() {
    const { before, area } = this.stroke;
    this.labels.set(before);
    this.stroke = null;
    return area;
  }

  /** Set all labels, as one step that can be undone. */
  replace(labels) {
    const before = this.labels.slice();
    this.labels.set(labels);
    return this.remember(before, [0, 0, this.width, this.height]);
  }

  remember(before, area) {
    const [old, now] = [crop(before, this.width, area), crop(this.labels, this.width, area)];
    if (old.every((label, index) => label === now[index])) return false;
    this.past.push({ area, before: old, after: now });
    this.future = [];
    let size = this.past.reduce((total, step) => total + 2 * step.before.byteLength, 0);
    while (size > MOST_HISTORY && this.past.length > 1) size -= 2 * this.past.shift().before.byteLength;
    return true;
  }

  /** @returns the area that changed, null if there is nothing to undo */
  undo() {
    return this.step(this.past, this.future, "before");
  }

  redo() {
    return this.step(this.future, this.past, "after");
  }

  step(from, to, which) {
    const step = from.pop();
    if (!step) return null;
    to.push(step);
    const [left, top, right, bottom] = step.area;
    for (let row = top, at = 0; row < bottom; row++, at += right - left) {
      this.labels.set(step[which].subarray(at, at + right - left), row * this.width + left);
    }
    return step.area;
  }

  /** Make the pixels of a class background, and close the gap in the numbers; history ends there. */
  removeClass(removed) {
    for (let index = 0; index < this.labels.length; index++) {
      const label = this.labels[index];
      if (label >= removed) this.labels[index] = label === removed ? 0 : label - 1;
    }
    this.past = [];
    this.future = [];
  }
}

function spanOf(from, to, radius, size) {
  const [first, last] = [Math.min(from, to) - radius - 1, Math.max(from, to) + radius + 1];
  return [Math.max(0, Math.floor(first)), Math.min(size, Math.ceil(last))];
}

function union(area, other) {
  if (!area) return other;
  const pick = [Math.min, Math.min, Math.max, Math.max];
  return area.map((value, index) => pick[index](value, other[index]));
}

function crop(labels, width, [left, top, right, bottom]) {
  const part = new labels.constructor((right - left) * (bottom - top));
  for (let row = top, at = 0; row < bottom; row++, at += right - left) {
    part.set(labels.subarray(row * width + left, row * width + right), at);
  }
  return part;
}

/** The canvas: photograph and layers under one zoom, the boundary between before and after, the cursor. */

const LARGEST = 64; // screen pixels for one of the image
const MARGIN = 20;

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.photo = null; // a canvas
    this.before = this.after = null; // layers
    this.light = null; // {canvas, row, column} of an affinity
    this.split = 0.5; // of the stage's width
    this.splitting = false;
    this.cursor = null; // {x, y, diameter} in image coordinates, or {x, y}
    this.zoom = 1;
    this.left = this.top = 0; // of the image, on the screen
    this.fitted = true;
    this.onzoom = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  get size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  resize() {
    const [width, height] = this.size;
    this.ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    if (this.photo && this.fitted) this.fit();
    else this.draw();
  }

  fit() {
    const [width, height] = this.size;
    const { width: w, height: h } = this.photo;
    this.zoom = Math.min((width - 2 * MARGIN) / w, (height - 2 * MARGIN) / h, LARGEST);
    this.left = (width - w * this.zoom) / 2;
    this.top = (height - h * this.zoom) / 2;
    this.fitted = true;
    this.changed();
  }

  /** Zoom by a factor around a point of the screen, the middle by default. */
  zoomBy(factor, x = this.size[0] / 2, y = this.size[1] / 2) {
    if (!this.photo) return;
    const smallest = Math.min(1, 40 / Math.max(this.photo.width, this.photo.height));
    const zoom = Math.min(LARGEST, Math.max(smallest, this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.pan(0, 0);
  }

  pan(dx, dy) {
    if (!this.photo) return;
    const [width, height] = this.size;
    const keep = 60; // pixels that stay in sight
    const clamp = (value, size, room) => Math.min(room - keep, Math.max(keep - size, value));
    this.left = clamp(this.left + dx, this.photo.width * this.zoom, width);
    this.top = clamp(this.top + dy, this.photo.height * this.zoom, height);
    this.fitted = false;
    this.changed();
  }

  changed() {
    this.onzoom(this.zoom);
    this.draw();
  }

  toImage(x, y) {
    return { x: (x - this.left) / this.zoom, y: (y - this.top) / this.zoom };
  }

  toScreen({ x, y }) {
    return { x: this.left + x * this.zoom, y: this.top + y * this.zoom };
  }

  /** Move the picture so that a point of it is in sight. */
  reveal(point) {
    const { x, y } = this.toScreen(point);
    const [width, height] = this.size;
    const past = (value, room) => Math.min(0, room - 30 - value) + Math.max(0, 30 - value);
    if (past(x, width) || past(y, height)) this.pan(past(x, width), past(y, height));
  }

  draw() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.paint();
    });
  }

  paint() {
    const { context, ratio } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.photo) return;
    const scale = this.zoom * ratio;
    context.setTransform(scale, 0, 0, scale, this.left * ratio, this.top * ratio);
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = scale < 2; // above, pixels are shown as they are
    context.drawImage(this.photo, 0, 0);
    if (this.light) this.paintLight(scale);
    else if (this.splitting && this.after) {
      const middle = (this.split * this.size[0] - this.left) / this.zoom;
      this.clipped(-1e6, middle, () => this.before.paint(context, scale, ratio));
      this.clipped(middle, 1e6, () => this.after.paint(context, scale, ratio));
    } else this.before?.paint(context, scale, ratio);
    if (this.cursor) this.paintCursor(scale);
  }

  clipped(from, to, paint) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(from, -1e6, to - from, 2e6);
    this.context.clip();
    paint();
    this.context.restore();
  }

  paintLight(scale) {
    const { context, photo } = this;
    context.fillStyle = "rgb(9 12 16 / 66%)";
    context.fillRect(0, 0, photo.width, photo.height);
    context.globalCompositeOperation = "lighter";
    context.imageSmoothingEnabled = true;
    context.globalAlpha = 0.9;
    context.drawImage(this.light.halo, 0, 0, photo.width, photo.height);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(this.light.canvas, 0, 0);
    context.globalCompositeOperation = "source-over";
    this.ring(this.light.column + 0.5, this.light.row + 0.5, 9 * (this.ratio / scale), scale);
  }

  paintCursor(scale) {
    const { x, y, diameter } = this.cursor;
    if (diameter) return this.ring(x, y, diameter / 2, scale);
    const { context } = this;
    const reach = (11 * this.ratio) / scale;
    const gap = (3 * this.ratio) / scale;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + gap * dx, y + gap * dy);
      context.lineTo(x + reach * dx, y + reach * dy);
    }
    this.twice(scale);
  }

  ring(x, y, radius, scale) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.twice(scale);
  }

  /** Stroke the path in black and white, to be seen on anything. */
  twice(scale) {
    for (const [colour, width] of [["rgb(0 0 0 / 75%)", 3.4], ["#fff", 1.6]]) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = (width * this.ratio) / scale;
      this.context.stroke();
    }
  }

  /** Show an affinity, drawn as a canvas, that belongs to a pixel; null shows the masks again. */
  shine(light) {
    this.light = light;
    if (light) {
      const { width, height } = light.canvas;
      const halo = new OffscreenCanvas(Math.max(1, width >> 3), Math.max(1, height >> 3)); // small, so enlarged it is soft
      const context = halo.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(light.canvas, 0, 0, halo.width, halo.height);
      light.halo = halo;
    }
    this.draw();
  }
}

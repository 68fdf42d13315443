/** Matte: a trimap that is painted, dropped or made from a mask, and how much of each pixel is foreground. */

import { $, on } from "../dom.js";
import { MaskLayer, PictureLayer } from "../layers.js";
import { Painting } from "../painting.js";
import { FileError, asMask, resizeLabels, sameShape } from "../pictures.js";
import { encodePng } from "../png.js";
import { IN, OUT, UNKNOWN, asTrimap, surround, toValues } from "../trimaps.js";

const TINTS = [[0, 0, 0], [20, 184, 166], [220, 60, 90]]; // of what is unknown, in and out
const SIDES = [IN, OUT, UNKNOWN]; // in the order of the buttons
const BACKDROPS = { checks: "checks", white: "#fff", black: "#000" };

export class MatteMode {
  words = {
    file: "trimap",
    run: "Make the matte",
    busy: "Making the matte…",
    changed: "The trimap has changed. Press “Make the matte”.",
    paint: "Paint what is surely in and what is surely out",
    welcome: "Paint what is surely in and what is surely out, or drop a trimap or a rough mask. Hair, glass and blur between them get their share of alpha.",
  };
  example = "example_mask.png";
  brushShare = 1 / 16;

  constructor(shell) {
    this.shell = shell;
    this.sides = [...document.getElementsByName("side")];
    for (const side of this.sides) side.addEventListener("change", () => shell.readyToPaint());
    on("band", "input", () => this.setBand($("band").value));
    on("band", "change", shell.attempt(() => this.isAsFilled && this.fill(this.rough)));
    on("fill", "click", shell.attempt(() => this.fill(this.isAsFilled ? this.rough : this.painted(IN))));
    on("behind", "change", () => this.showResult());
    on("behind-colour", "input", () => this.showResult());
  }

  open(picture) {
    const { width, height } = picture;
    this.picture = picture;
    this.photo = picture.canvas;
    this.painting = new Painting(width, height);
    [this.before, this.after] = [new MaskLayer(width, height), new PictureLayer(width, height)];
    this.result = null;
    [this.rough, this.filled, this.taken] = [null, null, false]; // the mask, the step that filled in, whether from Refine
    this.setBand(20);
  }

  /** Begin with the mask of Refine, unless there is a trimap of one's own. */
  enter() {
    const mask = this.shell.mask();
    const empty = this.painting.isEmpty;
    if (!mask || !(empty || (this.isAsFilled && this.taken))) return;
    const inside = mask.map((label) => Number(label > 0));
    if (!empty && this.rough.every((one, index) => one === inside[index])) return;
    this.fill(inside);
    this.taken = true;
  }

  // The trimap

  fits(candidate) {
    try {
      return Boolean(asTrimap(candidate) ?? asMask(candidate));
    } catch {
      return false;
    }
  }

  openFile(opened) {
    const { width, height } = this.picture;
    const trimap = asTrimap(opened);
    const found = trimap ?? asMask(opened).labels.map((label) => Number(label > 0));
    if (!sameShape(opened, this.picture)) {
      throw new FileError(`The ${trimap ? "trimap" : "mask"} ${opened.name} has ${opened.width} × ${opened.height} pixels, the photograph ${width} × ${height}. Both must show the same part of the scene.`);
    }
    const labels = resizeLabels(found, opened.width, opened.height, width, height);
    if (trimap) this.painting.replace(labels);
    else this.replaceByMask(labels);
  }

  /** Take what is inside a mask for a rough mask: its border becomes unknown, the rest out. */
  fill(inside) {
    this.replaceByMask(inside);
    this.draw();
    this.shell.changed();
  }

  replaceByMask(inside) {
    const { width, height } = this.picture;
    this.painting.replace(surround(inside, width, height, Number($("band").value)));
    [this.rough, this.filled, this.taken] = [inside, this.painting.past.at(-1), false];
  }

  /** Whether nothing was painted since a mask was filled in. */
  get isAsFilled() {
    return Boolean(this.filled) && this.painting.past.at(-1) === this.filled;
  }

  painted(which) {
    return this.painting.labels.map((label) => Number(label === which));
  }

  get ink() {
    return SIDES[this.sides.findIndex((side) => side.checked)];
  }

  choose(number) {
    const side = this.sides[number - 1];
    if (!side) return false;
    side.checked = true;
    this.shell.readyToPaint();
    return true;
  }

  setBand(pixels) {
    $("band").value = pixels;
    $("band-value").textContent = `${$("band").value} px`;
  }

  draw(area) {
    this.before.draw(this.painting.labels, TINTS, area);
    if (!area) {
      this.trace();
      this.showResult();
    }
    this.shell.redraw();
  }

  trace() {
    this.before.trace(this.painting.labels);
    const { labels } = this.painting;
    $("fill").disabled = !labels.includes(IN) || (labels.includes(OUT) && !this.isAsFilled);
  }

  // What comes of it

  missing() {
    const { labels } = this.painting;
    if (!labels.includes(IN)) return "Nothing is surely in yet: paint some of the foreground.";
    return labels.includes(OUT) ? "" : "Nothing is surely out yet: paint some of the background, or press “Fill in the rest”.";
  }

  get savable() {
    return this.result !== null;
  }

  compute() {
    return this.shell.engine.matte(toValues(this.painting.labels));
  }

  accept(found, milliseconds) {
    this.result = found;
    this.showResult();
    let [sum, mixed] = [0, 0];
    for (let at = 3; at < found.length; at += 4) {
      sum += found[at];
      mixed += found[at] > 5 && found[at] < 250;
    }
    const share = (value) => ((400 * value) / found.length).toFixed(1);
    return `Matte in ${milliseconds} ms; ${share(sum / 255)} % is foreground, ${share(mixed)} % of the pixels are partly so.`;
  }

  /** The cut-out before what was chosen, or alpha alone. */
  showResult() {
    const behind = $("behind").value;
    $("behind-colour").hidden = behind !== "colour";
    if (!this.result) return;
    this.after.backdrop = behind === "colour" ? $("behind-colour").value : (BACKDROPS[behind] ?? null);
    const words = new Uint32Array(this.result.buffer);
    this.after.draw(behind === "alpha" ? words.map((word) => 0xff000000 | ((word >>> 24) * 0x10101)) : words);
    this.shell.redraw();
  }

  async save(kind) {
    const { width, height, name } = this.picture;
    if (kind === "matte-cutout") return { name, suffix: "cutout", file: await encodePng(this.result, width, height, 4) };
    const alpha = new Uint8Array(width * height).map((_, index) => this.result[4 * index + 3]);
    return { name, suffix: "alpha", file: await encodePng(alpha, width, height, 1) };
  }
}

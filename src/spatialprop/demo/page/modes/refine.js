/** Refine: a rough mask of any number of classes, what the refiner makes of it, and where its labels come from. */

import { ClassList, MOST, classesOf, freshClasses, makeClass } from "../classes.js";
import { $, on } from "../dom.js";
import { MaskLayer, glow } from "../layers.js";
import { Painting } from "../painting.js";
import { FileError, asMask, resizeLabels, sameShape } from "../pictures.js";
import { encodeIndexedPng, encodePng } from "../png.js";

const HARDLY_ANY = 0.02; // of the pixels

export class RefineMode {
  words = {
    file: "mask",
    run: "Refine",
    busy: "Refining…",
    changed: "The mask has changed. Press Refine.",
    paint: "Paint roughly over what you want",
    welcome: "Paint a rough mask over it, or drop one that you have. The refined mask appears at once.",
  };
  example = "example_mask.png";
  brushShare = 1 / 16;

  constructor(shell) {
    this.shell = shell;
    this.list = new ClassList($("classes"), {
      choose: (index) => this.choose(index),
      recolour: () => this.draw(),
      remove: (index) => this.removeClass(index),
    });
    this.classes = freshClasses();
    this.chosen = 1;
    this.list.show(this.classes, this.chosen);
    [this.asking, this.wanted] = [false, null];
    on("add-class", "click", () => this.addClass());
    on("auto", "change", () => (this.showRoughness(), shell.live && shell.compute()));
    on("rough", "input", () => this.setRough($("rough").value));
    on("rough", "change", () => shell.live && shell.compute());
  }

  open(picture) {
    const { width, height } = picture;
    this.picture = picture;
    this.photo = picture.canvas;
    this.painting = new Painting(width, height);
    [this.before, this.after] = [new MaskLayer(width, height), new MaskLayer(width, height)];
    [this.result, this.classes, this.chosen, this.fileName] = [null, freshClasses(), 1, null];
    this.list.show(this.classes, this.chosen);
    this.setRough(this.shell.facts.rough.default);
  }

  // The mask

  fits(candidate) {
    try {
      asMask(candidate);
      return true;
    } catch {
      return false;
    }
  }

  openFile(opened) {
    const mask = asMask(opened);
    const { width, height } = this.picture;
    if (!sameShape(opened, this.picture)) {
      throw new FileError(`The mask ${opened.name} has ${opened.width} × ${opened.height} pixels, the photograph ${width} × ${height}. Both must show the same part of the scene.`);
    }
    this.fileName = opened.name;
    this.classes = classesOf(mask);
    if (this.classes.length === 1) this.classes.push(makeClass(1));
    this.chosen = Math.min(this.chosen, this.classes.length - 1);
    this.list.show(this.classes, this.chosen);
    this.painting.replace(resizeLabels(mask.labels, opened.width, opened.height, width, height));
    this.painting.past = []; // its classes are not those of the strokes before
  }

  get ink() {
    return this.chosen;
  }

  get colours() {
    return this.classes.map((one) => one.colour);
  }

  draw(area) {
    if (!this.painting) return;
    this.before.draw(this.painting.labels, this.colours, area);
    if (!area) this.trace();
    if (!area && this.result) {
      this.after.draw(this.result, this.colours);
      this.after.trace(this.result);
    }
    this.shell.redraw();
  }

  trace() {
    this.before.trace(this.painting.labels);
  }

  choose(index) {
    if (index < 1 || index >= this.classes.length) return false;
    this.chosen = index;
    this.list.show(this.classes, index);
    this.shell.readyToPaint();
    return true;
  }

  addClass() {
    const { classes } = this;
    if (classes.length > MOST) return this.shell.warn(new Error(`A mask has at most ${MOST} classes here.`));
    const value = Math.max(...classes.map((one) => one.value)) + 1;
    classes.push(makeClass(classes.length, { value: value > 255 ? classes.length : value, name: `Class ${classes.length}` }));
    this.choose(classes.length - 1);
    $("classes").lastElementChild.querySelector("[type=text]").select();
  }

  removeClass(index) {
    this.painting.removeClass(index);
    this.classes.splice(index, 1);
    this.chosen = Math.min(this.chosen > index ? this.chosen - 1 : this.chosen, this.classes.length - 1);
    this.result = null;
    this.list.show(this.classes, this.chosen);
    $("classes").querySelector("[type=radio]:checked").focus();
    this.draw();
    this.shell.changed();
  }

  // How rough it is

  begin({ rough }) {
    this.setRough(rough.default);
    this.showRoughness();
  }

  setRough(pixels) {
    $("rough").max = Math.max(pixels, this.shell.facts.rough.most);
    $("rough").value = pixels;
    $("rough-value").textContent = `${$("rough").value} px`;
  }

  /** By how many pixels the borders of the mask may be wrong, or that the refiner shall see that for itself. */
  get roughness() {
    return this.shell.facts.judges && $("auto").checked ? "auto" : Number($("rough").value);
  }

  showRoughness() {
    const judged = this.roughness === "auto";
    $("auto-row").hidden = !this.shell.facts.judges;
    $("auto-note").hidden = !judged;
    $("rough-row").hidden = $("rough-note").hidden = judged;
  }

  // What the refiner makes of it

  missing() {
    return this.painting.isEmpty ? this.words.paint : "";
  }

  get savable() {
    return !this.painting.isEmpty;
  }

  compute() {
    return this.shell.engine.refine(this.painting.labels, this.classes.length, this.roughness);
  }

  accept(found, milliseconds) {
    this.result = found;
    this.draw();
    const { light } = this.shell.stage;
    if (light) this.point({ x: light.column, y: light.row });
    return this.summary(this.painting.labels, found, milliseconds);
  }

  summary(before, after, milliseconds) {
    let changed = 0;
    for (let index = 0; index < before.length; index++) changed += before[index] !== after[index];
    const judged = this.roughness === "auto";
    const lost = this.classes.slice(1).filter((one, at) => before.includes(at + 1) && !after.includes(at + 1));
    let advice = "";
    if (lost.length) {
      const fix = judged ? "untick “See for itself” and choose a small “Rough by”" : "lower “Rough by”";
      advice = ` Nothing is left of ${lost.map((one) => one.name).join(", ")}: ${fix}.`;
    } else if (judged && changed < HARDLY_ANY * before.length) advice = " If the mask is rougher than that, untick “See for itself”.";
    return `Refined in ${milliseconds} ms; ${((100 * changed) / before.length).toFixed(1)} % of the pixels changed.${advice}`;
  }

  // Affinities: the newest request counts

  async point({ x, y }) {
    const { shell } = this;
    const [row, column] = [Math.floor(y), Math.floor(x)];
    if (!this.result || row < 0 || column < 0 || row >= this.picture.height || column >= this.picture.width) return;
    this.wanted = [row, column];
    if (this.asking) return;
    this.asking = true;
    try {
      while (this.wanted) {
        const [[r, c], { picture }] = [this.wanted, this];
        this.wanted = null;
        const started = performance.now();
        const affinity = await shell.engine.affinity(r, c);
        if (picture !== shell.picture || shell.tool !== "explain") continue;
        shell.stage.shine({ canvas: glow(affinity, picture.width, picture.height), row: r, column: c });
        $("hint").hidden = true;
        $("legend").hidden = false;
        const { name } = this.classes[this.result[r * picture.width + c]];
        shell.say(`Row ${r}, column ${c}: ${name}. Affinities in ${Math.round(performance.now() - started)} ms.`);
      }
    } catch (error) {
      shell.warn(error);
    } finally {
      this.asking = false;
    }
  }

  // Saving

  async save(kind) {
    const labels = this.result ?? this.painting.labels;
    const { width, height } = this.picture;
    const name = this.fileName ?? this.picture.name;
    if (kind === "cutout") {
      const pixels = new Uint8Array(this.picture.pixels);
      for (let index = 0; index < labels.length; index++) pixels[4 * index + 3] = labels[index] ? 255 : 0;
      return { name, suffix: "cutout", file: await encodePng(pixels, width, height, 4) };
    }
    const values = Uint8Array.from(labels, (label) => this.classes[label].value);
    const palette = Array.from({ length: Math.max(...this.classes.map((one) => one.value)) + 1 }, () => [0, 0, 0]);
    for (const { value, colour } of this.classes) palette[value] = colour;
    const file = await (kind === "grey" ? encodePng(values, width, height, 1) : encodeIndexedPng(values, width, height, palette));
    return { name, suffix: "refined", file };
  }
}

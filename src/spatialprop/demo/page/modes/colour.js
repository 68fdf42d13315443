/** Colour: strokes of colour on a grey picture, and the coloured picture. */

import { $, fromHex, on, toHex } from "../dom.js";
import { PictureLayer } from "../layers.js";
import { Painting } from "../painting.js";
import { encodePng } from "../png.js";
import { areStrokes, asStrokes, brightness, isColoured, toColour, toWord } from "../strokes.js";

const INKS = {
  Skin: "#d8a283", Sand: "#d9c08c", Brown: "#8a5a33", Red: "#c43a31", Orange: "#e2692f", Yellow: "#e6c832",
  Green: "#5f9440", Teal: "#2f9c95", Sky: "#7fb2e5", Blue: "#2f55b5", Purple: "#7d4fa8", "Grey, no colour": "#8c8c8c",
};

export class ColourMode {
  words = {
    file: "strokes",
    run: "Colour",
    busy: "Colouring…",
    changed: "The strokes have changed. Press Colour.",
    paint: "Paint a stroke of colour on each thing",
    welcome: "It turns grey. Paint a stroke of colour on each thing, or drop strokes that you have. The rest takes their colours.",
  };
  example = "example_strokes.png";
  brushShare = 1 / 50;

  constructor(shell) {
    this.shell = shell;
    $("inks").replaceChildren(...Object.entries(INKS).map(([name, hex], index) => this.swatch(name, hex, index === 0)));
    $("own-ink").value = toHex([120, 160, 90]);
    on("own", "change", () => shell.readyToPaint());
    on("own-ink", "input", () => this.chooseOwn());
    on("own-ink", "click", () => this.chooseOwn());
  }

  swatch(name, hex, checked) {
    const swatch = Object.assign(document.createElement("input"), { type: "radio", name: "ink", value: hex, ariaLabel: name, title: name, checked });
    swatch.style.backgroundColor = hex;
    swatch.addEventListener("change", () => this.shell.readyToPaint());
    return swatch;
  }

  open(picture) {
    const { width, height } = picture;
    this.picture = picture;
    this.painting = new Painting(width, height, Uint32Array);
    [this.before, this.after] = [new PictureLayer(width, height), new PictureLayer(width, height)];
    this.result = null;
    const grey = new PictureLayer(width, height);
    grey.draw(Uint32Array.from(brightness(picture.pixels), (level) => toWord([level, level, level])));
    this.photo = grey.canvas;
  }

  // Strokes

  fits(candidate, photo) {
    return areStrokes(candidate, photo);
  }

  openFile(opened) {
    this.painting.replace(asStrokes(opened, this.picture));
  }

  get ink() {
    const chosen = document.querySelector("[name=ink]:checked");
    return toWord(fromHex(chosen.id === "own" ? $("own-ink").value : chosen.value));
  }

  choose(number) {
    const swatch = $("inks").children[number - 1];
    if (!swatch) return false;
    swatch.checked = true;
    this.shell.readyToPaint();
    return true;
  }

  chooseOwn() {
    $("own").checked = true;
    this.shell.readyToPaint();
  }

  /** Paint with the colour at a point: of a stroke, of the photograph if it had colours, or of the result. */
  point({ x, y }) {
    const [row, column] = [Math.floor(y), Math.floor(x)];
    if (row < 0 || column < 0 || row >= this.picture.height || column >= this.picture.width) return;
    const index = row * this.picture.width + column;
    const of = (pixels) => [...pixels.subarray(4 * index, 4 * index + 3)];
    const stroke = this.painting.labels[index];
    let colour = stroke ? toColour(stroke) : of(this.picture.pixels);
    if (!stroke && !isColoured(colour) && this.result) colour = of(this.result);
    $("own-ink").value = toHex(colour);
    this.chooseOwn();
  }

  draw(area) {
    this.before.draw(this.painting.labels, area);
    if (!area && this.result) this.after.draw(new Uint32Array(this.result.buffer));
    this.shell.redraw();
  }

  trace() {} // strokes have no outlines

  // What comes of them

  missing() {
    return this.painting.isEmpty ? this.words.paint : "";
  }

  get savable() {
    return this.result !== null;
  }

  compute() {
    return this.shell.engine.colour(this.painting.labels);
  }

  accept(found, milliseconds) {
    this.result = found;
    this.draw();
    const marked = this.painting.labels.reduce((total, word) => total + (word !== 0), 0);
    return `Coloured in ${milliseconds} ms from ${marked} pixels, ${((100 * marked) / this.painting.labels.length).toFixed(2)} % of the picture.`;
  }

  async save() {
    const { width, height, name } = this.picture;
    const rgb = new Uint8Array(3 * width * height);
    for (let to = 0; to < rgb.length; to++) rgb[to] = this.result[4 * Math.floor(to / 3) + (to % 3)];
    return { name, suffix: "coloured", file: await encodePng(rgb, width, height, 3) };
  }
}

/** The page: a photograph, a rough mask, what the refiner makes of it. Which refiner is the engine's business. */

import { ClassList, MOST, classesOf, freshClasses, makeClass } from "./classes.js";
import * as engine from "./engine.js";
import { MaskLayer, glow } from "./layers.js";
import { Painting } from "./painting.js";
import { FileError, asMask, readPicture, resizeLabels } from "./pictures.js";
import { encodeIndexedPng, encodePng } from "./png.js";
import { listen, listenToDivider } from "./pointers.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const stage = new Stage($("view"));
const tools = document.getElementsByName("tool");
const TOOLS = { b: "paint", e: "erase", m: "move", x: "explain" };
const HARDLY_ANY = 0.02; // of the pixels
const HINTS = {
  paint: "Paint roughly over what you want",
  explain: "Point at a pixel to see where its label comes from",
};

let facts = { mostPixels: 1 << 24, affinity: true, judges: false, rough: { default: 12, most: 64 } };
let picture = null;
let painting = null;
let refined = null;
let classes = freshClasses();
let chosen = 1;
let lastPoint = null;
let maskName = null;

const list = new ClassList($("classes"), { choose, recolour: drawMasks, remove: removeClass });
const page = {
  get tool() {
    return [...tools].find((one) => one.checked).value;
  },
  get brush() {
    return Number($("size").value);
  },
  start(point) {
    painting.begin();
    stage.splitting = false;
    placeDivider();
    $("hint").hidden = true;
    lastPoint = point;
    page.move(point);
  },
  move(point) {
    const area = painting.line(lastPoint, point, page.brush, page.tool === "erase" ? 0 : chosen);
    lastPoint = point;
    if (area) stage.before.draw(painting.labels, classes.map((one) => one.colour), area);
    stage.draw();
  },
  end() {
    if (painting.end()) maskChanged();
    else compare();
  },
  cancel() {
    const area = painting.cancel();
    if (area) stage.before.draw(painting.labels, classes.map((one) => one.colour), area);
    compare();
  },
  explain,
  key(key) {
    const number = Number(key);
    if (TOOLS[key.toLowerCase()]) choseTool(TOOLS[key.toLowerCase()]);
    else if (number >= 1 && number < classes.length) choose(number);
    else if (key === "[" || key === "]") setBrush(page.brush * (key === "]" ? 1.25 : 0.8) + (key === "]" ? 1 : -1));
    else if (key === "+" || key === "=") stage.zoomBy(1.25);
    else if (key === "-") stage.zoomBy(0.8);
    else if (key === "0") stage.fit();
    else if (key.toLowerCase() === "r") refineSoon();
    else return false;
    return true;
  },
};

// What is said to the person

function say(text) {
  $("status").textContent = text;
}

function warn(error) {
  console.error(error);
  const clear = error instanceof Error && (error instanceof FileError || error.constructor === Error);
  $("alert").querySelector("p").textContent = clear ? error.message : `This did not work: ${error.message ?? error}`;
  $("alert").hidden = false;
}

let underWay = "";

function progress(what, share) {
  $("busy").hidden = !what;
  if (share === undefined) $("bar").removeAttribute("value");
  else $("bar").value = share;
  if (what || $("status").textContent === underWay) say(what); // and else something newer was said
  underWay = what;
}

const attempt = (action) => async (...given) => {
  $("alert").hidden = true;
  try {
    await action(...given);
  } catch (error) {
    progress("");
    warn(error);
  }
};

// Files

const openFiles = attempt(async (files) => {
  const pictures = [];
  for (const file of files.slice(0, 2)) pictures.push(await readPicture(file, file.name, facts.mostPixels));
  if (pictures.length === 2) {
    const [first, second] = pictures;
    const [photo, mask] = isMask(second) || !isMask(first) ? [first, second] : [second, first];
    await openPhoto(photo);
    openMask(mask);
  } else if (pictures.length && picture && sameShape(pictures[0], picture) && isMask(pictures[0])) openMask(pictures[0]);
  else if (pictures.length) await openPhoto(pictures[0]);
});

function isMask(candidate) {
  try {
    asMask(candidate);
    return true;
  } catch {
    return false;
  }
}

function sameShape(one, other) {
  return Math.abs((one.width / one.height) * (other.height / other.width) - 1) < 0.01;
}

async function openPhoto(opened) {
  progress("Opening the photograph…");
  picture = opened;
  painting = new Painting(picture.width, picture.height);
  [refined, classes, chosen, maskName] = [null, freshClasses(), 1, null];
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").putImageData(new ImageData(picture.pixels, picture.width, picture.height), 0, 0);
  stage.photo = canvas;
  stage.before = new MaskLayer(picture.width, picture.height);
  stage.after = new MaskLayer(picture.width, picture.height);
  stage.splitting = false;
  stage.shine(null);
  stage.fit();
  const side = Math.max(picture.width, picture.height);
  $("size").max = Math.max(40, Math.round(side / 4));
  setBrush(side / 16);
  setRough(facts.rough.default);
  $("welcome").hidden = true;
  $("zoom").hidden = false;
  for (const id of ["tools", "class-group", "refinement", "open-mask"]) $(id).disabled = false;
  choseTool("paint");
  list.show(classes, chosen);
  drawMasks();
  await engine.open(picture);
  progress("");
  say(`${picture.name}, ${picture.width} × ${picture.height} pixels`);
}

function openMask(opened) {
  const mask = asMask(opened);
  if (!sameShape(opened, picture)) {
    throw new FileError(`The mask ${opened.name} has ${opened.width} × ${opened.height} pixels, the photograph ${picture.width} × ${picture.height}. Both must show the same part of the scene.`);
  }
  maskName = opened.name;
  classes = classesOf(mask);
  if (classes.length === 1) classes.push(makeClass(1));
  chosen = Math.min(chosen, classes.length - 1);
  list.show(classes, chosen);
  painting.replace(resizeLabels(mask.labels, opened.width, opened.height, picture.width, picture.height));
  painting.past = []; // its classes are not those of the strokes before
  $("hint").hidden = true;
  drawMasks();
  maskChanged();
}

const openExample = attempt(async () => {
  const fetched = await Promise.all(["example.jpg", "example_mask.png"].map(async (name) => [name, await (await fetch(name)).blob()]));
  const [photo, mask] = await Promise.all(fetched.map(([name, blob]) => readPicture(blob, name, facts.mostPixels)));
  await openPhoto(photo);
  setRough(facts.rough.default);
  openMask(mask);
});

// Classes and brush

function choose(index) {
  chosen = index;
  list.show(classes, chosen);
  if (page.tool === "erase" || page.tool === "explain") choseTool("paint");
}

function addClass() {
  if (classes.length > MOST) return warn(new Error(`A mask has at most ${MOST} classes here.`));
  const value = Math.max(...classes.map((one) => one.value)) + 1;
  classes.push(makeClass(classes.length, { value: value > 255 ? classes.length : value, name: `Class ${classes.length}` }));
  choose(classes.length - 1);
  $("classes").lastElementChild.querySelector("[type=text]").select();
}

function removeClass(index) {
  painting.removeClass(index);
  classes.splice(index, 1);
  chosen = Math.min(chosen > index ? chosen - 1 : chosen, classes.length - 1);
  refined = null;
  list.show(classes, chosen);
  $("classes").querySelector("[type=radio]:checked").focus();
  drawMasks();
  maskChanged();
}

function setBrush(size) {
  $("size").value = Math.round(size);
  $("size-value").textContent = `${page.brush} px`;
  if (stage.cursor?.diameter) stage.cursor.diameter = page.brush;
  stage.draw();
}

function setRough(pixels) {
  $("rough").max = Math.max(pixels, facts.rough.most);
  $("rough").value = pixels;
  $("rough-value").textContent = `${$("rough").value} px`;
}

/** By how many pixels the borders of the mask may be wrong, or that the refiner shall see that for itself. */
function roughness() {
  return facts.judges && $("auto").checked ? "auto" : Number($("rough").value);
}

function showRoughness() {
  const judged = roughness() === "auto";
  $("auto-row").hidden = !facts.judges;
  $("auto-note").hidden = !judged;
  $("rough-row").hidden = $("rough-note").hidden = judged;
}

function choseTool(tool) {
  [...tools].find((one) => one.value === tool).checked = true;
  const light = tool === "explain";
  if (!light) stage.shine(null);
  $("legend").hidden = !(light && stage.light);
  $("hint").textContent = HINTS[tool] ?? "";
  $("hint").hidden = !HINTS[tool] || Boolean(tool === "paint" && !painting?.isEmpty);
  $("size-row").style.visibility = tool === "paint" || tool === "erase" ? "" : "hidden";
  $("view").style.cursor = { move: "grab", explain: "crosshair" }[tool] ?? "none";
  stage.cursor = null;
  if (light && !refined) refineSoon();
  compare();
}

// Masks and refinement

function drawMasks() {
  if (!painting) return;
  const colours = classes.map((one) => one.colour);
  stage.before.draw(painting.labels, colours);
  stage.before.trace(painting.labels);
  if (refined) {
    stage.after.draw(refined, colours);
    stage.after.trace(refined);
  }
  stage.draw();
}

function maskChanged() {
  stage.before.trace(painting.labels);
  [$("undo").disabled, $("redo").disabled] = [!painting.past.length, !painting.future.length];
  const empty = painting.isEmpty;
  if (empty) refined = null;
  $("refine").disabled = $("clear").disabled = empty;
  $("saving").disabled = empty;
  if (!empty && $("live").checked) refineSoon();
  else compare();
  if (!empty && !$("live").checked) say("The mask has changed. Press Refine.");
}

function compare() {
  stage.splitting = Boolean(refined) && page.tool !== "explain";
  placeDivider();
  stage.draw();
}

function placeDivider() {
  const { splitting } = stage;
  for (const id of ["divider", "tag-before", "tag-after"]) $(id).hidden = !splitting;
  $("divider").style.left = `${100 * stage.split}%`;
  $("divider").ariaValueNow = Math.round(100 * stage.split);
  $("divider").ariaValueText = `${Math.round(100 * stage.split)} % before`;
  if (splitting) {
    $("tag-before").style.opacity = stage.split < 0.12 ? 0 : 1;
    $("tag-after").style.opacity = stage.split > 0.88 ? 0 : 1;
  }
}

let running = false;
let again = false;

/** Refine now, or once the refinement that is under way has ended. */
async function refineSoon() {
  if (!painting || painting.isEmpty) return;
  if (running) {
    again = true;
    return;
  }
  [running, again] = [true, false];
  const [asked, labels] = [picture, painting.labels];
  const slow = setTimeout(() => progress("Refining…"), 150);
  try {
    const started = performance.now();
    const found = await engine.refine(labels, classes.length, roughness());
    if (picture !== asked) return;
    if (!painting.isEmpty) refined = found;
    progress("");
    drawMasks();
    say(summary(labels, found, performance.now() - started));
    if (!painting.stroke) compare();
    if (stage.light) await explain({ x: stage.light.column, y: stage.light.row });
  } catch (error) {
    progress("");
    warn(error);
  } finally {
    clearTimeout(slow);
    running = false;
    if (again) refineSoon();
  }
}

function summary(before, after, milliseconds) {
  let changed = 0;
  for (let index = 0; index < before.length; index++) changed += before[index] !== after[index];
  const judged = roughness() === "auto";
  const lost = classes.slice(1).filter((one, at) => before.includes(at + 1) && !after.includes(at + 1));
  let advice = "";
  if (lost.length) {
    const fix = judged ? "untick “See for itself” and choose a small “Rough by”" : "lower “Rough by”";
    advice = ` Nothing is left of ${lost.map((one) => one.name).join(", ")}: ${fix}.`;
  } else if (judged && changed < HARDLY_ANY * before.length) advice = " If the mask is rougher than that, untick “See for itself”.";
  return `Refined in ${Math.round(milliseconds)} ms; ${((100 * changed) / before.length).toFixed(1)} % of the pixels changed.${advice}`;
}

// Affinities: the newest request counts

let asking = false;
let wanted = null;

async function explain({ x, y }) {
  const [row, column] = [Math.floor(y), Math.floor(x)];
  if (!refined || row < 0 || column < 0 || row >= picture.height || column >= picture.width) return;
  wanted = [row, column];
  if (asking) return;
  asking = true;
  try {
    while (wanted) {
      const [[r, c], asked] = [wanted, picture];
      wanted = null;
      const started = performance.now();
      const affinity = await engine.affinity(r, c);
      if (picture !== asked || page.tool !== "explain") continue;
      stage.shine({ canvas: glow(affinity, picture.width, picture.height), row: r, column: c });
      $("hint").hidden = true;
      $("legend").hidden = false;
      const name = classes[refined[r * picture.width + c]].name;
      say(`Row ${r}, column ${c}: ${name}. Affinities in ${Math.round(performance.now() - started)} ms.`);
    }
  } catch (error) {
    warn(error);
  } finally {
    asking = false;
  }
}

// Saving

const save = attempt(async (kind) => {
  const labels = refined ?? painting.labels;
  const { width, height } = picture;
  let file;
  if (kind === "cutout") {
    const pixels = new Uint8Array(picture.pixels);
    for (let index = 0; index < labels.length; index++) pixels[4 * index + 3] = labels[index] ? 255 : 0;
    file = await encodePng(pixels, width, height, 4);
  } else {
    const values = Uint8Array.from(labels, (label) => classes[label].value);
    const palette = Array.from({ length: Math.max(...classes.map((one) => one.value)) + 1 }, () => [0, 0, 0]);
    for (const { value, colour } of classes) palette[value] = colour;
    file = await (kind === "grey" ? encodePng(values, width, height, 1) : encodeIndexedPng(values, width, height, palette));
  }
  const link = document.createElement("a");
  link.download = `${(maskName ?? picture.name).replace(/\.[^.]*$/, "")}_${kind === "cutout" ? "cutout" : "refined"}.png`;
  link.href = URL.createObjectURL(file);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(`Saved ${link.download}.`);
});

// What the parts of the page do

function undo(redo) {
  const area = redo ? painting?.redo() : painting?.undo();
  if (!area) return;
  drawMasks();
  maskChanged();
}

function on(id, event, action) {
  $(id).addEventListener(event, action);
}

for (const [button, input] of [["open-photo", "photo-file"], ["choose", "photo-file"], ["open-mask", "mask-file"]]) {
  on(button, "click", () => $(input).click());
}
on("photo-file", "change", async ({ target }) => {
  const files = [...target.files];
  target.value = "";
  if (files.length) await attempt(async () => openPhoto(await readPicture(files[0], files[0].name, facts.mostPixels)))();
});
on("mask-file", "change", async ({ target }) => {
  const files = [...target.files];
  target.value = "";
  if (files.length) await attempt(async () => openMask(await readPicture(files[0], files[0].name, facts.mostPixels)))();
});
on("example", "click", openExample);
on("undo", "click", () => undo(false));
on("redo", "click", () => undo(true));
on("help", "click", () => $("help-box").showModal());
on("size", "input", () => setBrush(page.brush));
on("auto", "change", () => (showRoughness(), $("live").checked && refineSoon()));
on("rough", "input", () => setRough($("rough").value));
on("rough", "change", () => $("live").checked && refineSoon());
on("live", "change", () => $("live").checked && refineSoon());
on("refine", "click", refineSoon);
on("add-class", "click", addClass);
on("clear", "click", () => painting.replace(new Uint8Array(painting.labels.length)) && (drawMasks(), maskChanged()));
on("zoom-in", "click", () => stage.zoomBy(1.4));
on("zoom-out", "click", () => stage.zoomBy(1 / 1.4));
on("zoom-fit", "click", () => stage.fit());
for (const tool of tools) tool.addEventListener("change", () => choseTool(tool.value));
for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => save(button.dataset.save));
$("alert").querySelector("button").addEventListener("click", () => ($("alert").hidden = true));

window.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches?.("input[type=text]")) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  undo(key === "y" || event.shiftKey);
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", name === "dragenter" || name === "dragover");
  });
}
window.addEventListener("drop", (event) => {
  const files = [...event.dataTransfer.files];
  if (files.length) openFiles(files);
});
window.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) openFiles(files);
});

stage.onzoom = (zoom) => ($("zoom-fit").textContent = `${Math.round(100 * zoom)} %`);
listen(stage, page);
listenToDivider(stage, $("divider"), () => (placeDivider(), stage.draw()));
list.show(classes, chosen);
$("privacy").textContent = engine.privacy;

await attempt(async () => {
  facts = { ...facts, ...(await engine.start(progress)) };
  $("about").textContent = facts.about;
  [...tools].find((one) => one.value === "explain").disabled = !facts.affinity;
  setRough(facts.rough.default);
  showRoughness();
})();
document.documentElement.dataset.ready = "yes"; // for the tests

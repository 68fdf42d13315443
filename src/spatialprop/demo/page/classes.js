/** The list of classes: names, colours, and which one the brush paints. */

import { fromHex, toHex } from "./dom.js";

const COLOURS = [
  [0, 0, 0], [20, 184, 166], [249, 115, 22], [139, 92, 246], [234, 179, 8], [236, 72, 153], [59, 130, 246], [132, 204, 22],
  [239, 68, 68], [6, 182, 212], [168, 85, 247], [245, 158, 11], [16, 185, 129], [244, 63, 94], [99, 102, 241], [161, 98, 7],
];
export const MOST = 255;

export const freshClasses = () => [makeClass(0), makeClass(1)];

export function makeClass(value, given = {}) {
  const colour = COLOURS[value === 0 ? 0 : ((value - 1) % (COLOURS.length - 1)) + 1];
  return { value, colour, name: value === 0 ? "Background" : `Class ${value}`, ...given };
}

/** Classes of a mask from a file; a grey one has no colours of its own. */
export function classesOf({ classes, coloured }) {
  return classes.map(({ value, colour }, index) => {
    const name = index === 0 ? "Background" : `Class ${coloured ? index : value}`;
    return coloured ? { value, colour, name } : { ...makeClass(index), value, name };
  });
}

export class ClassList {
  /**
   * @param {HTMLElement} list
   * @param {{choose: (index: number) => void, recolour: () => void, remove: (index: number) => void}} actions
   */
  constructor(list, actions) {
    this.list = list;
    this.actions = actions;
  }

  show(classes, chosen) {
    this.list.replaceChildren(...classes.slice(1).map((one, at) => this.row(one, at + 1, at + 1 === chosen, classes.length > 2)));
  }

  row(one, index, chosen, removable) {
    const row = document.createElement("li");
    const radio = input("radio", `Paint ${one.name}`, { name: "class", checked: chosen, value: String(index) });
    radio.addEventListener("change", () => this.actions.choose(index));
    const colour = input("color", `Colour of ${one.name}`, { value: toHex(one.colour) });
    colour.addEventListener("input", () => {
      one.colour = fromHex(colour.value);
      this.actions.recolour();
    });
    const name = input("text", `Name of class ${index}`, { value: one.name, maxLength: 40, autocomplete: "off", spellcheck: false });
    name.addEventListener("input", () => {
      one.name = name.value;
      radio.ariaLabel = `Paint ${one.name}`;
    });
    row.append(radio, colour, name);
    if (removable) row.append(this.remover(one, index));
    row.addEventListener("click", ({ target }) => target === row && radio.click());
    return row;
  }

  remover(one, index) {
    const button = document.createElement("button");
    button.ariaLabel = button.title = `Remove ${one.name}`;
    button.innerHTML = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="m6 6 8 8m0-8-8 8"/></svg>';
    button.addEventListener("click", () => this.actions.remove(index));
    return button;
  }
}

function input(type, label, properties) {
  return Object.assign(document.createElement("input"), { type, ariaLabel: label, ...properties });
}

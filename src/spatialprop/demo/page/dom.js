/** Elements by their ids, and what they do. */

export const $ = (id) => document.getElementById(id);

export function on(id, event, action) {
  $(id).addEventListener(event, action);
}

export const toHex = (colour) => `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
export const fromHex = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

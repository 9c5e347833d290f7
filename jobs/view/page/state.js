// What is shown, and how; and what makes elements. All texts are set as texts, never as HTML.
export const $ = (id) => document.getElementById(id);

export const list = { start: 0, matched: 0, rows: [], asked: 0 };
export const shown = { index: null, asked: 0, row: null, volume: null, reference: null };
export const look = { preset: "lung", source: "volume", overlay: true, opacity: 0.4, crosshair: true, voxel: [0, 0, 0] };

export function made(tag, text = "", attributes = {}) {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

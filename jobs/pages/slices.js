"use strict";
// How slices are painted: windows, palettes, outlines and letters. Pages load it before their own script.
const Slices = (() => {
  const WINDOWS = { lung: [-600, 1500], mediastinum: [40, 400] };
  const LUNG = 1, NODULE = 2;
  const LABELS = ["background", "lung", "nodule"];
  const LUNG_TINT = [0, 115, 178], NODULE_TINT = [230, 158, 0], TINT_SHARE = 0.4;

  function grey(hu, preset) {
    const [level, width] = WINDOWS[preset];
    return Math.max(0, Math.min(255, Math.round(255 * (hu - level + width / 2) / width)));
  }

  function mixed(colour, other, share) {
    return colour.map((value, i) => Math.round(value + (other[i] - value) * share));
  }

  // Palettes, by what a voxel is: no colour is made while a slice is painted.
  const GREYS = Array.from({ length: 256 }, (_, value) => [value, value, value]);

  function tinted(share) {
    return {
      [LUNG]: GREYS.map((colour) => mixed(colour, LUNG_TINT, share)),
      [NODULE]: GREYS.map((colour) => mixed(colour, NODULE_TINT, share)),
    };
  }

  // The border of a label along the edges of its voxels, each `across` by `down` pixels.
  function edges(context, slice, label, { colour, line, dashes }) {
    const { labels, width, height, across, down } = slice;
    const inside = (y, x) => y >= 0 && x >= 0 && y < height && x < width && labels[y * width + x] >= label;
    context.beginPath();
    for (let y = 0; y <= height; y += 1) {
      for (let x = 0; x <= width; x += 1) {
        const here = inside(y, x);
        if (here !== inside(y - 1, x)) { context.moveTo(x * across, y * down); context.lineTo((x + 1) * across, y * down); }
        if (here !== inside(y, x - 1)) { context.moveTo(x * across, y * down); context.lineTo(x * across, (y + 1) * down); }
      }
    }
    context.setLineDash(dashes);
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.stroke();
    context.setLineDash([]);
  }

  // Lungs dashed, nodules solid; halos set them off from what is as light.
  function outline(context, slice, { halo, lung, nodule, dashes, lungHalo = 0 }) {
    edges(context, slice, NODULE, { colour: "#000", line: halo, dashes: [] });
    if (lungHalo) edges(context, slice, LUNG, { colour: "#003a5c", line: lungHalo, dashes: [] });
    edges(context, slice, LUNG, { colour: "#c7e9ff", line: lung, dashes });
    edges(context, slice, NODULE, { colour: "#ffd21f", line: nodule, dashes: [] });
  }

  function letter(context, text, x, y, size) {
    context.font = `${size}px sans-serif`;
    context.lineWidth = Math.max(2, size / 8);
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }

  return { WINDOWS, LUNG, NODULE, LABELS, TINT_SHARE, GREYS, grey, mixed, tinted, outline, letter };
})();

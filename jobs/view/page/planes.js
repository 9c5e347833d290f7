"use strict";
// The three planes of a volume. Voxels are (z, y, x): z grows to superior, y to anterior, x to the right.
const Planes = (() => {
  // Both axes of a picture run against ours: its first row is superior or anterior, its first column right or anterior.
  const PLANES = {
    axial: { fixed: 0, down: 1, across: 2, sides: ["A", "P", "R", "L"] },
    coronal: { fixed: 1, down: 0, across: 2, sides: ["S", "I", "R", "L"] },
    sagittal: { fixed: 2, down: 0, across: 1, sides: ["S", "I", "A", "P"] },
  };
  const MOST_PIXELS = 4096;
  const CROSSHAIR_GAP = 9;

  class Volume {
    constructor(grid, content) {
      const [nz, ny, nx] = grid.shape, size = nz * ny * nx;
      Object.assign(this, grid);
      this.steps = [ny * nx, nx, 1];
      this.hu = new Int16Array(content, 0, size);
      this.labels = new Uint8Array(content, 2 * size, size);
      this.numBytes = content.byteLength;
    }

    at(values, voxel) {
      return values[voxel.reduce((sum, place, axis) => sum + place * this.steps[axis], 0)];
    }

    cut(values, plane, place) {
      const { fixed, down, across } = PLANES[plane];
      const height = this.shape[down], width = this.shape[across];
      const found = new values.constructor(height * width);
      for (let row = 0, i = 0; row < height; row += 1) {
        const start = place * this.steps[fixed] + (height - 1 - row) * this.steps[down] + (width - 1) * this.steps[across];
        for (let column = 0; column < width; column += 1, i += 1) found[i] = values[start - column * this.steps[across]];
      }
      return found;
    }

    inside(voxel) {
      return voxel.map((place, axis) => Math.max(0, Math.min(this.shape[axis] - 1, Math.round(place))));
    }

    ras([z, y, x]) {
      return transformed(this.affine, [x, y, z]);
    }

    voxelOf(ras) {
      return this.inside(transformed(this.inverse, ras).reverse());
    }

    isOnGridOf(other) {
      return this.shape.every((size, axis) => size === other.shape[axis]);
    }
  }

  function transformed(matrix, point) {
    return [0, 1, 2].map((row) => matrix[4 * row + 3]
      + point.reduce((sum, value, column) => sum + matrix[4 * row + column] * value, 0));
  }

  // Where people know it: right or left, and so on, never a sign.
  function placed(ras) {
    return ras.map((mm, axis) => {
      const whole = Math.abs(mm).toFixed(1);
      return `${"RAS"[axis]}`.replace(/./, (letter) => (mm < 0 ? { R: "L", A: "P", S: "I" }[letter] : letter)) + ` ${whole}`;
    }).join(", ");
  }

  const rgb = ([red, green, blue]) => (255 << 24) | (blue << 16) | (green << 8) | red;
  const greys = {};

  // The grey of each of the 65,536 HU there are.
  function greysOf(preset) {
    greys[preset] ||= Uint8Array.from({ length: 65536 }, (_, word) => Slices.grey((word << 16) >> 16, preset));
    return greys[preset];
  }

  let palettes = { share: null, list: null };

  function palettesOf(share) {
    if (palettes.share !== share) {
      const tinted = Slices.tinted(share);
      palettes = { share, list: [Slices.GREYS, tinted[Slices.LUNG], tinted[Slices.NODULE]].map((one) => Int32Array.from(one, rgb)) };
    }
    return palettes.list;
  }

  const small = document.createElement("canvas");

  function paint(canvas, volume, plane, look) {
    const { fixed, down, across, sides } = PLANES[plane];
    const height = volume.shape[down], width = volume.shape[across];
    const unit = fit(canvas, volume, plane);
    const labels = volume.cut(volume.labels, plane, look.voxel[fixed]);
    paintVoxels(volume.cut(volume.hu, plane, look.voxel[fixed]), labels, width, height, look);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    const steps = { across: canvas.width / width, down: canvas.height / height };
    if (look.overlay) {
      const lines = { halo: 3.5 * unit, lungHalo: 2 * unit, lung: unit, nodule: 1.75 * unit, dashes: [5 * unit, 4 * unit] };
      Slices.outline(context, { labels, width, height, ...steps }, lines);
    }
    if (look.crosshair) {
      paintCrosshair(context, (width - 0.5 - look.voxel[across]) * steps.across, (height - 0.5 - look.voxel[down]) * steps.down, unit);
    }
    paintSides(context, sides, 13 * unit);
  }

  // Sizes a canvas to what is displayed, never coarser than the voxels; returns its pixels in one of the page.
  function fit(canvas, volume, plane) {
    const { down, across } = PLANES[plane];
    const stepMm = [volume.spacing[across], volume.spacing[down]];
    const sizeMm = [volume.shape[across] * stepMm[0], volume.shape[down] * stepMm[1]];
    const shown = canvas.clientWidth || 300;
    const wanted = Math.max(shown * devicePixelRatio / sizeMm[0], 1 / stepMm[0], 1 / stepMm[1]);
    const perMm = Math.min(wanted, MOST_PIXELS / Math.max(...sizeMm));
    const [width, height] = sizeMm.map((mm) => Math.max(1, Math.round(mm * perMm)));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      canvas.style.aspectRatio = `${width} / ${height}`;
    }
    return width / shown;
  }

  function paintVoxels(hu, labels, width, height, look) {
    small.width = width;
    small.height = height;
    const context = small.getContext("2d"), image = context.createImageData(width, height);
    const pixels = new Int32Array(image.data.buffer), grey = greysOf(look.preset);
    const list = palettesOf(look.overlay ? look.opacity : 0);
    for (let i = 0; i < hu.length; i += 1) pixels[i] = (list[labels[i]] || list[0])[grey[hu[i] & 0xffff]];
    context.putImageData(image, 0, 0);
  }

  // Open in the middle, so that it hides no voxel that it points at.
  function paintCrosshair(context, x, y, unit) {
    const { width, height } = context.canvas, gap = CROSSHAIR_GAP * unit;
    context.beginPath();
    for (const [from, to] of [[0, x - gap], [x + gap, width]]) { context.moveTo(from, y); context.lineTo(Math.max(from, to), y); }
    for (const [from, to] of [[0, y - gap], [y + gap, height]]) { context.moveTo(x, from); context.lineTo(x, Math.max(from, to)); }
    for (const [colour, line] of [["#0009", 3 * unit], ["#7cffc4", unit]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.stroke();
    }
  }

  function paintSides(context, [top, bottom, left, right], size) {
    const { width, height } = context.canvas;
    context.textAlign = "center";
    Slices.letter(context, top, width / 2, 1.1 * size, size);
    Slices.letter(context, bottom, width / 2, height - 0.4 * size, size);
    Slices.letter(context, left, 0.7 * size, height / 2 + 0.35 * size, size);
    Slices.letter(context, right, width - 0.7 * size, height / 2 + 0.35 * size, size);
  }

  return { PLANES, Volume, paint, placed };
})();

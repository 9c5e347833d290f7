// Slices of each volume, unpacked where they are looked at. Nothing is fetched: all of it is in this file.
(() => {
  const { NODULE, GREYS, LABELS, grey, mixed } = Slices;
  const DIFFERENCE_HU = 500;
  // Cividis: from dark blue to bright yellow, so that it reads the same in grey.
  const COLD = [0, 32, 77], ZERO = [124, 123, 120], WARM = [255, 234, 70];
  const FINEST = 512;

  async function inflated(text) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Undoes `pack_hu`: low bytes, then high ones, of the steps from voxel to voxel along a row.
  async function unpackedHu(text, width) {
    const bytes = await inflated(text);
    const size = bytes.length / 2;
    const hu = new Int16Array(size);
    for (let i = 0; i < size; i += 1) {
      const folded = bytes[i] | (bytes[i + size] << 8);
      const step = (folded >>> 1) ^ -(folded & 1);
      hu[i] = i % width ? hu[i - 1] + step : step;
    }
    return hu;
  }

  async function unpacked(packed) {
    const width = packed.shape[2];
    const reference = packed.reference && await unpackedHu(packed.reference, width);
    const synthetic = await unpackedHu(packed.synthetic, width);
    if (reference) reference.forEach((value, i) => { synthetic[i] += value; });
    return { reference, synthetic, layout: await inflated(packed.layout) };
  }

  const TINTED = Slices.tinted(Slices.TINT_SHARE);
  const DIFFERENCES = Array.from({ length: 2 * DIFFERENCE_HU + 1 }, (_, place) => {
    const share = place / DIFFERENCE_HU - 1;
    return mixed(ZERO, share < 0 ? COLD : WARM, Math.abs(share));
  });

  function differenceColour(hu) {
    return DIFFERENCES[Math.max(0, Math.min(2 * DIFFERENCE_HU, hu + DIFFERENCE_HU))];
  }

  class Viewer {
    constructor(node) {
      this.node = node;
      this.packed = JSON.parse(document.getElementById(node.dataset.slices).textContent);
      this.slider = node.querySelector("input[type=range]");
      this.output = node.querySelector("output");
      this.outline = node.querySelector("input[type=checkbox]");
      this.buttons = [...node.querySelectorAll("button[data-window]")];
      this.readout = node.querySelector(".readout");
      this.preset = "lung";
      const [, height, width] = this.packed.shape;
      this.scale = Math.max(1, Math.floor(FINEST / Math.max(height, width)));
      this.canvases = {};
      for (const canvas of node.querySelectorAll("canvas")) {
        canvas.width = width * this.scale;
        canvas.height = height * this.scale;
        canvas.style.aspectRatio = String(this.packed.aspect);
        canvas.addEventListener("pointermove", (event) => this.read(event));
        this.canvases[canvas.dataset.panel] = canvas;
      }
      this.small = document.createElement("canvas");
      this.small.width = width;
      this.small.height = height;
    }

    async start() {
      this.volume = await unpacked(this.packed);
      this.slider.addEventListener("input", () => this.draw());
      this.outline.addEventListener("change", () => this.draw());
      for (const button of this.buttons) {
        button.addEventListener("click", () => {
          this.preset = button.dataset.window;
          for (const one of this.buttons) one.setAttribute("aria-pressed", String(one === button));
          this.draw();
        });
      }
      this.draw();
      this.node.dataset.ready = "true";
    }

    draw() {
      const index = Number(this.slider.value);
      const [, height, width] = this.packed.shape;
      const cut = (voxels) => voxels && voxels.subarray(index * height * width, (index + 1) * height * width);
      const reference = cut(this.volume.reference), synthetic = cut(this.volume.synthetic);
      const layout = cut(this.volume.layout);
      const ground = reference || synthetic;
      const inWindow = (hu, palette) => palette[grey(hu, this.preset)];
      if (reference) this.paint("reference", layout, (i) => inWindow(reference[i], GREYS));
      this.paint("layout", layout, (i) => inWindow(ground[i], TINTED[layout[i]] || GREYS));
      this.paint("synthetic", layout, (i) => inWindow(synthetic[i], GREYS));
      if (reference) this.paint("difference", layout, (i) => differenceColour(synthetic[i] - reference[i]));
      this.tell(index, layout);
    }

    paint(panel, layout, colourOf) {
      const canvas = this.canvases[panel];
      const { width, height } = this.small;
      const image = new ImageData(width, height);
      for (let i = 0; i < width * height; i += 1) {
        const colour = colourOf(i);
        image.data[4 * i] = colour[0];
        image.data[4 * i + 1] = colour[1];
        image.data[4 * i + 2] = colour[2];
        image.data[4 * i + 3] = 255;
      }
      this.small.getContext("2d").putImageData(image, 0, 0);
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(this.small, 0, 0, canvas.width, canvas.height);
      if (panel === "layout" || this.outline.checked) {
        const width = context.canvas.width, line = (share) => Math.max(1, share * width);
        const slice = { labels: layout, width: this.small.width, height: this.small.height, across: this.scale, down: this.scale };
        Slices.outline(context, slice, { halo: line(0.024), lung: line(0.007), nodule: line(0.011), dashes: [12, 10] });
      }
      this.sides(context);
    }

    sides(context) {
      const { width, height } = context.canvas, size = Math.round(height / 14);
      Slices.letter(context, "R", 0.02 * width, 1.1 * size, size);
      Slices.letter(context, "L", 0.98 * width - 0.6 * size, 1.1 * size, size);
    }

    // HU of the voxel under the pointer, the same one in all four pictures.
    read(event) {
      if (!this.volume) return;
      const [, height, width] = this.packed.shape;
      const box = event.target.getBoundingClientRect();
      const x = Math.min(width - 1, Math.max(0, Math.floor(width * (event.clientX - box.left) / box.width)));
      const y = Math.min(height - 1, Math.max(0, Math.floor(height * (event.clientY - box.top) / box.height)));
      const i = (Number(this.slider.value) * height + y) * width + x;
      const { reference, synthetic, layout } = this.volume;
      const told = reference ? `reference ${reference[i]} HU, ` : "";
      const label = LABELS[layout[i]] || `label ${layout[i]}`;
      this.readout.textContent = `${told}synthetic ${synthetic[i]} HU, ${label}`;
    }

    tell(index, layout) {
      const named = layout.includes(NODULE) ? ", through a nodule" : "";
      const text = `z = ${this.packed.planes[index]}${named}`;
      this.output.textContent = text;
      this.slider.setAttribute("aria-valuetext", text);
    }
  }

  // A frame that scrolls is reached by keyboard; one that does not is no stop on the way.
  const frames = new ResizeObserver((entries) => {
    for (const { target } of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
  });
  for (const frame of document.querySelectorAll(".scroll")) frames.observe(frame);

  async function start() {
    for (const node of document.querySelectorAll(".viewer")) {
      try {
        await new Viewer(node).start();
      } catch (error) {
        node.querySelector("[role=status]").textContent =
          `These slices cannot be shown here (${error}). Open the file in a browser of 2023 or later.`;
      }
    }
    document.documentElement.dataset.ready = "true";
  }

  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
  start();
})();

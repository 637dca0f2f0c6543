// The live figure (figure.html): parts are dragged, or moved by keys. Nothing is loaded before it is asked for.
//
// The address keeps #live=MODEL:POINTS,APPEARANCE,BACKGROUND:PART_DX_DY_SCALE:...: seeds, and how parts were moved.
"use strict";
globalThis.ganseg = { networks: {} };
(() => {
  const folder = document.currentScript.src.replace(/[^/]*$/, ""), loading = {};
  const KEYS = { ArrowLeft: [-1, 0, 1], ArrowRight: [1, 0, 1], ArrowUp: [0, -1, 1], ArrowDown: [0, 1, 1],
    "+": [0, 0, 1.1], "=": [0, 0, 1.1], "-": [0, 0, 1 / 1.1] };
  const WIDE = 336, STEP = 0.04, STILL = [0, 0, 1]; // pixels of a canvas; half widths of an image a key; as it was
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const make = (kind, properties) => Object.assign(document.createElement(kind), properties);
  const megabytes = (count) => `${(count / 1e6).toFixed(1)} MB`;

  function load(name) {
    return (loading[name] ||= new Promise((onload, reject) => {
      const onerror = () => { delete loading[name]; reject(new Error(`${name} cannot be read`)); };
      document.head.append(make("script", { src: folder + name, onload, onerror }));
    }));
  }

  // Uniform numbers in [-1, 1] that follow from `seed`, or normal ones.
  function draw(seed, length, normal) {
    let bits = Math.imul(seed + 1, 0x9e3779b1);
    const uniform = () => {
      bits = Math.imul(bits ^ (bits >>> 15), 0x2c1b3c6d) + 0x6d2b79f5;
      return ((bits >>> 0) + 0.5) / 2 ** 32;
    };
    const turn = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    return Float32Array.from({ length }, () => (normal ? turn() : 2 * uniform() - 1));
  }

  // Make a canvas size x size pixels of `colour(pixel, channel)`, 0 to 255; the page shows it enlarged.
  function paint(canvas, size, colour) {
    const picture = new ImageData(size, size);
    picture.data.forEach((_, i, data) => { data[i] = i % 4 === 3 ? 255 : colour(i >> 2, i % 4); });
    Object.assign(canvas, { width: size, height: size }).getContext("2d").putImageData(picture, 0, 0);
  }

  class Figure {
    constructor(root) {
      Object.assign(this, { root, models: JSON.parse(root.dataset.models), find: (name) => root.querySelector(name) });
      root.append(this.find("template").content);
      this.views = Object.fromEntries([...root.querySelectorAll("canvas")].map((c) => [c.dataset.view, c]));
      const named = { status: ".live-status", button: "button", menu: "select", file: "input", photo: "details div" };
      for (const [name, selector] of Object.entries(named)) this[name] = this.find(selector);
      [this.model] = this.models;
      this.button.append(` (${megabytes(this.model.bytes.generator)})`);
      this.button.onclick = () => this.start();
      this.menu.append(...this.models.map(({ name, title }) => make("option", { value: name, textContent: title })));
      this.menu.onchange = () => this.start(this.models[this.menu.selectedIndex]);
      for (const button of root.querySelectorAll("[data-act]")) button.onclick = () => this.act(button);
      this.file.onchange = () => this.file.files[0] && this.segment(this.file.files[0]);
      this.find(".live-panel").onkeydown = (event) => this.key(event);
      this.views.points.onpointerdown = (event) => this.grab(event);
      this.reset();
      addEventListener("hashchange", () => this.read());
      this.read();
    }

    reset() { Object.assign(this, { seeds: { points: 0, appearance: 0, background: 0 }, edits: [], part: 0 }); }

    read() {
      const state = /^#live=([^:]+):(\d+,\d+,\d+)((?::\d+(?:_-?\d+\.\d+){3})*)$/;
      const [, name, seeds, edits] = location.hash.match(state) || [];
      const model = this.models.find((known) => known.name === name);
      if (!model || location.hash === this.written) return;
      this.reset();
      Object.keys(this.seeds).forEach((kind, i) => { this.seeds[kind] = Number(seeds.split(",")[i]); });
      for (const edit of edits.split(":").slice(1)) this.move(parseInt(edit, 10), edit.split("_").slice(1).map(Number));
      this.start(model, true);
    }

    write() {
      const edits = Object.entries(this.edits).map(([k, edit]) => `:${k}_${edit.map((n) => n.toFixed(3)).join("_")}`);
      this.written = `#live=${this.model.name}:${Object.values(this.seeds)}${edits.join("")}`;
      history.replaceState(null, "", this.written);
    }

    async start(model = this.model, keep = false) {
      try {
        for (const name of ["kernel", "runtime", "networks", `${model.name}.generator`]) await load(`${name}.js`);
        const asked = document.activeElement === this.button;
        if (!keep) this.reset();
        if (this.generator?.model !== model) {
          const generator = new ganseg.Generator(model, ganseg.networks[`${model.name}.generator`]);
          Object.assign(this, { model, generator, behind: null, segmenter: null });
          this.file.value = "";
          this.menu.value = model.name;
          this.photo.hidden = true;
        }
        this.find(".live-parts").replaceChildren(...model.colours.slice(1).map((colour, k) => this.chip(colour, k)));
        this.find(".live-strip").hidden = this.button.hidden = !(this.find(".live-panel").hidden = false);
        if (asked) this.find(".live-parts button").focus({ preventScroll: true });
        this.update();
      } catch (error) {
        this.status.textContent = this.button.textContent = `${error.message}: try again`;
      }
    }

    chip(colour, k) {
      const span = make("span", {}), onchange = () => this.update(), onclick = () => { this.part = k; this.update(); };
      span.style.setProperty("--part", colour);
      const button = make("button", { type: "button", textContent: `Part ${k + 1}`, onclick, onfocus: onclick });
      const ariaLabel = `Show the colour of part ${k + 1}`;
      span.append(button, make("input", { type: "checkbox", checked: true, ariaLabel, onchange }));
      return span;
    }

    act({ dataset: { act }, textContent, firstElementChild: picture }) {
      if (picture) return this.start(this.models[0], true).then(() => this.segment(picture));
      if (act === "reset") return this.start();
      if (act === "points") this.edits = [];
      this.seeds[act] = 1 + Math.floor(9999 * Math.random());
      this.update(`${textContent}: done.`);
    }

    // Draw the next frame; after the last change, say `said` or where the part is, and write the address.
    update(said) {
      this.said = said;
      this.frame ||= requestAnimationFrame(() => this.render());
    }

    render() {
      const { generator, model, edits, seeds } = this, { noise_dim: length, background_shift: shift } = model.generator;
      this.frame = 0;
      const start = performance.now(), points = generator.points(draw(3 * seeds.points, length, true));
      const longer = this.behind !== seeds.background;
      if (longer) {
        const [x, y] = draw(-1 - seeds.background, 2, false);
        generator.background(draw(3 * seeds.background + 1, length, true), [x, shift === "both" ? y : 0]);
        this.behind = seeds.background;
      }
      const centres = ganseg.Generator.places(points), moved = (k) => ([px, py]) => {
        const [dx, dy, scale] = edits[k] || STILL, { x, y } = centres[k];
        return [x + dx + scale * (px - x), y + dy + scale * (py - y)];
      };
      const embeddings = generator.embeddings(draw(3 * seeds.appearance + 2, length, true));
      this.scene = generator.scene(points.map((part, k) => part.map(moved(k))), embeddings);
      const pace = `${Math.round(performance.now() - start)} ms a frame${generator.kernel ? "" : " without SIMD"} here`;
      for (const name of ["foreground", "background", "image"]) {
        paint(this.views[name], model.size, (i, c) => 127.5 * (this.scene[name][3 * i + c] + 1));
      }
      this.drawMasks();
      this.find(".live-about").textContent = longer ? model.about : `${model.about} ${pace}.`;
      this.root.querySelectorAll(".live-parts button").forEach((chip, k) => { chip.ariaPressed = k === this.part; });
      clearTimeout(this.rest);
      this.rest = setTimeout(() => { this.status.textContent = this.said || this.place(); this.write(); }, 300);
    }

    // Soft masks as colours of their parts; hidden ones look like the background.
    blend(canvas, masks) {
      const { colours, size } = this.model, count = colours.length, boxes = this.root.querySelectorAll("span input");
      const shown = colours.map((colour, k) => (k && boxes[k - 1].checked ? colour : colours[0]));
      const palette = shown.map((colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
      paint(canvas, size, (i, c) => palette.reduce((sum, part, k) => sum + masks[i * count + k] * part[c], 0));
    }

    drawMasks() {
      const context = this.views.points.getContext("2d"), { colours } = this.model;
      this.blend(this.views.masks, this.scene.masks);
      context.clearRect(0, 0, WIDE, WIDE);
      const circle = (x, y, radius, lineWidth, strokeStyle) => {
        context.beginPath();
        context.arc((x + 1) * WIDE / 2, (y + 1) * WIDE / 2, radius, 0, 7);
        Object.assign(context, { lineWidth, strokeStyle }).stroke();
      };
      this.scene.places.forEach(({ x, y, sigma }, k) => {
        const chosen = k === this.part, colour = colours[k + 1];
        for (const [more, line] of [[3, "#000"], [0, chosen ? "#fff" : colour]]) {
          circle(x, y, sigma * WIDE / 2, (chosen ? 3 : 2) + more, line);
          for (const point of this.scene.points[k]) circle(...point, 1, 2 + more, more ? line : colour);
          circle(x, y, 4, 3 + more, more ? line : "#fff");
        }
      });
    }

    // A part follows the pointer that took its centre or its ring.
    grab(event) {
      const { points } = this.views, box = points.getBoundingClientRect(), before = this.scene.places;
      const place = (e) => [2 * (e.clientX - box.left) / box.width - 1, 2 * (e.clientY - box.top) / box.height - 1];
      const [x, y] = place(event), nearest = before.flatMap((part, k) => {
        const distance = Math.hypot(x - part.x, y - part.y), closer = k === this.part ? 0.5 : 1;
        return [[distance * closer, k, false], [Math.abs(distance - part.sigma) * closer, k, true]];
      }).sort((a, b) => a[0] - b[0]);
      const [distance, k, ring] = nearest[0], [dx, dy, scale] = this.edits[k] || STILL, part = before[k];
      if (distance * box.width > 40) return;
      this.part = k;
      points.setPointerCapture(event.pointerId);
      points.onpointermove = (e) => {
        const [px, py] = place(e), radius = Math.hypot(px - part.x, py - part.y);
        this.move(k, ring ? [dx, dy, scale * radius / part.sigma] : [dx + px - x, dy + py - y, scale]);
        this.update();
      };
      points.onpointerup = points.onpointercancel = () => { points.onpointermove = null; };
      this.update();
    }

    move(k, [dx, dy, scale]) { this.edits[k] = [clamp(dx, -2, 2), clamp(dy, -2, 2), clamp(scale, 0.2, 5)]; }

    key(event) {
      const step = KEYS[event.key], [dx, dy, scale] = this.edits[this.part] || STILL;
      if (!step || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, details")) return;
      event.preventDefault();
      this.move(this.part, [dx + STEP * step[0], dy + STEP * step[1], scale * step[2]]);
      this.update();
    }

    place() {
      const { places, masks } = this.scene, { x, y, sigma } = places[this.part], count = places.length + 1;
      const area = masks.reduce((sum, m, i) => (i % count === this.part + 1 ? sum + m : sum), 0) * count / masks.length;
      const where = `${x.toFixed(2)} across, ${y.toFixed(2)} down, scale ${sigma.toFixed(2)}`;
      return `Part ${this.part + 1}: centre ${where}; it covers ${Math.round(100 * area)} % of the image.`;
    }

    // A file of the reader, or a picture of the page, segmented here.
    async segment(file) {
      const { model, views, status } = this, { size } = model, name = `${model.name}.segmenter`;
      try {
        status.textContent = `Loading the segmentation network (${megabytes(model.bytes.segmenter)}).`;
        const picture = await createImageBitmap(file), small = make("canvas", { width: size, height: size });
        await load(`${name}.js`);
        if (model !== this.model) return;
        for (const canvas of [small, views.photograph]) {
          const context = Object.assign(canvas.getContext("2d"), { imageSmoothingQuality: "high" });
          context.drawImage(picture, 0, 0, canvas.width, canvas.height);
        }
        this.photo.style.setProperty("--ratio", clamp(picture.width / picture.height, 1 / 3, 3));
        this.photo.hidden = false;
        const { data } = small.getContext("2d").getImageData(0, 0, size, size);
        this.segmenter ||= new ganseg.Segmenter(model, ganseg.networks[name]);
        const found = this.segmenter.probabilities(data.filter((_, i) => i % 4 < 3));
        this.blend(views.found, found);
        const share = 1 - found.reduce((sum, p, i) => (i % model.colours.length ? sum : sum + p), 0) / size ** 2;
        status.textContent = `Parts cover ${Math.round(100 * share)} % of the photograph. ${model.about}`;
      } catch (error) {
        status.textContent = `The photograph cannot be segmented: ${error.message}`;
      }
    }
  }

  for (const root of document.querySelectorAll('.ganseg-live:not([data-models="[]"])')) root.live = new Figure(root);
})();

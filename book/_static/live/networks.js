// The two networks, from a model's description and weights (book/live.py). Names of layers are those of the package.
"use strict";
(() => {
  const { LEAK } = ganseg;

  class Generator extends ganseg.Layers {
    // Level 1: points x_k^i (Eq. 1) and embeddings w_k (Eq. 2, 3), by part.
    points(noise) {
      const { parts, points_per_part: count } = this.config, flat = this.mlp("point_generator.points", noise);
      const point = (i) => [flat[2 * i], flat[2 * i + 1]];
      return Array.from({ length: parts }, (_, k) => Array.from({ length: count }, (_, i) => point(k * count + i)));
    }

    embeddings(noise) {
      const dynamic = this.mlp("point_generator.appearance", noise), all = Array(this.config.parts).fill(0);
      const constant = (k) => this.linear("point_generator.constant", all.map((_, i) => (i === k ? 1 : 0)));
      return all.map((_, k) => constant(k).map((value, d) => value * dynamic[d]));
    }

    // Centre and scale of each part (Eq. 1).
    static places(points) {
      return points.map((part) => {
        const [x, y] = [0, 1].map((axis) => part.reduce((sum, point) => sum + point[axis], 0) / part.length);
        const squares = part.reduce((sum, point) => sum + (point[0] - x) ** 2 + (point[1] - y) ** 2, 0);
        return { x, y, sigma: Math.sqrt(squares + 1e-12) / (part.length - 1) };
      });
    }

    coordinate(index, size) { return (2 * (index - this.config.margin) + 1) / size - 1; } // Eq. 12

    wide(name, size, channels) { return this.image(name, size + 2 * this.config.margin, channels); } // with the margin

    // Eq. 5: the starting tensor, from positions relative to `points`; what FC makes is affine in the position.
    start(name, points) {
      const size = this.config.block_sizes[0], { f32 } = this;
      const full = (px, py) => this.linear(`${name}.start.linear`, points.flatMap(([x, y]) => [px - x, py - y]));
      const shift = full(0, 0), half = shift.length, minus = (value, c) => value - shift[c];
      const across = full(1, 0).map(minus), down = full(0, 1).map(minus);
      const out = this.wide(`${name}.start`, size, 2 * half);
      this.pixels(out, (at, column, row) => {
        const x = this.coordinate(column, size), y = this.coordinate(row, size);
        for (let c = 0; c < half; c++) {
          const phase = Math.PI * (x * across[c] + y * down[c] + shift[c]);
          f32[at + c] = Math.sin(phase);
          f32[at + half + c] = Math.cos(phase);
        }
      });
      return out;
    }

    // Eq. 7: W = sum_k A_k w_k; `share` gives A_k at a pixel.
    embeddingMap(name, size, embeddings, share) {
      const out = this.wide(name, size, embeddings[0].length), { f32 } = this;
      this.pixels(out, (at, column, row) => {
        f32.fill(0, at, at + out.c);
        embeddings.forEach((embedding, k) => {
          const a = share(k, column, row);
          if (a > 1e-9) for (let d = 0; d < out.c; d++) f32[at + d] += a * embedding[d];
        });
      });
      return out;
    }

    heatmaps(size, places, embeddings) { // Eq. 4
      return this.embeddingMap(`heatmaps.${size}`, size, embeddings, (k, column, row) => {
        const { x, y, sigma } = places[k], dx = this.coordinate(column, size) - x, dy = this.coordinate(row, size) - y;
        return Math.exp(-(dx * dx + dy * dy) / Math.max(sigma * sigma, 1e-8));
      });
    }

    // The masks of parts at another size, continued into the margin.
    maskMap(size, masks, embeddings) {
      const { margin } = this.config, small = this.wide(`resized.${size}`, size, masks.c), { f32 } = this;
      this.resample(masks, small, masks.side / size, -margin, size);
      return this.embeddingMap(`masks.${size}`, size, embeddings, (k, column, row) =>
        f32[small.at + row * small.row + column * small.cs + k + 1]); // the background stands first
    }

    // SPADE and LeakyReLU; the weights of gamma and beta hold 1 + gamma and the normalisation.
    spade(name, x, map, slope = LEAK) {
      const h = this.conv(`${name}.shared`, map, { slope: LEAK }), out = this.image(name, x.side, x.c);
      const gamma = this.conv(`${name}.gamma`, h), beta = this.conv(`${name}.beta`, h);
      return this.fuse(out, x, gamma, beta, slope);
    }

    spadeBlock(name, x, map) { // Eq. 6, 8
      const narrow = `${name}.conv_shortcut`, apart = this.shapes[narrow];
      const shortcut = apart ? this.conv(narrow, this.spade(`${name}.spade_shortcut`, x, map, 1)) : x;
      const h = this.conv(`${name}.conv1`, this.spade(`${name}.spade1`, x, map));
      const out = this.conv(`${name}.conv2`, this.spade(`${name}.spade2`, h, map));
      return this.add(out, shortcut, 1);
    }

    adainBlock(name, x, style) { // Eq. 10
      const h = this.linear(`${name}.adain.shared`, style, LEAK), beta = this.linear(`${name}.adain.beta`, h);
      const mean = this.means(x, (value) => value), variance = this.means(x, (value, c) => (value - mean[c]) ** 2);
      const gamma = this.linear(`${name}.adain.gamma`, h).map((g, c) => (1 + g) / Math.sqrt(variance[c] + 1e-5));
      const scale = this.constant(`${name}.scale`, gamma), out = this.image(name, x.side, x.c);
      const shift = this.constant(`${name}.shift`, beta.map((value, c) => value - mean[c] * gamma[c]));
      return this.conv(`${name}.conv`, this.fuse(out, x, scale, shift, LEAK));
    }

    // Blocks at growing sizes, twice as large where the next one is (`Ladder`).
    ladder(name, x, block) {
      this.config.block_sizes.forEach((size, i, sizes) => {
        x = block(`${name}.blocks.${i}`, x, size);
        const larger = sizes[i + 1] > size && this.wide(`${name}.${i}.larger`, sizes[i + 1], x.c);
        if (larger) x = this.resample(x, larger, 0.5, this.config.margin);
      });
      return x;
    }

    background(noise, position) {
      const name = "background_generator", style = this.mlp(`${name}.appearance`, noise);
      this.back = this.ladder(name, this.start(name, [position]), (block, x) => this.adainBlock(block, x, style));
      this.behind = this.picture(this.back);
    }

    // The last convolutions of Eq. 11: an image (h, w, 3), in about [-1, 1].
    picture(x) {
      const last = this.sequence("composition.convs", x, (name, input, slope) => this.conv(name, input, { slope }));
      return this.values(this.crop(last, this.config.margin));
    }

    compose(masks) { // Eq. 11; the masks come with a margin, background first
      const { front, back, f32 } = this, out = this.image("composition", front.side, front.c);
      this.pixels(out, (at, column, row) => {
        const bg = f32[masks.at + row * masks.row + column * masks.cs];
        const over = front.at + at - out.at, under = back.at + at - out.at; // these three are alike
        for (let c = 0; c < out.c; c++) f32[at + c] = (1 - bg) * f32[over + c] + bg * f32[under + c];
      });
      return this.picture(out);
    }

    // All of a scene with these points and embeddings, over the background that was made last.
    scene(points, embeddings) {
      const { margin, size, block_sizes: sizes } = this.config, places = Generator.places(points), maps = {};
      const spade = (block, x, s) => this.spadeBlock(block, x, maps[s]);
      for (const s of sizes) maps[s] = this.heatmaps(s, places, embeddings);
      const logits = this.ladder("mask_generator", this.start("mask_generator", points.flat()), spade);
      const masks = this.softmax(this.crop(logits, margin));
      for (const s of sizes) maps[s] = this.maskMap(s, masks, embeddings);
      const start = this.start("foreground_generator", places.map(({ x, y }) => [x, y]));
      this.front = this.ladder("foreground_generator", start, spade);
      const foreground = this.picture(this.front), image = this.compose(this.images[`resized.${size}`]);
      return { places, points, masks: this.values(masks), image, foreground, background: this.behind };
    }
  }

  // DeepLab V3 over the first half of ResNet-18 (`resnet18-light`), with BatchNorm in the convolutions.
  class Segmenter extends ganseg.Layers {
    block(name, x, stride, pad) {
      const down = `${name}.downsample.0`, shortcut = this.shapes[down] ? this.conv(down, x, { stride }) : x;
      const out = this.conv(`${name}.conv2`, this.conv(`${name}.conv1`, x, { slope: 0, stride }), { pad });
      return this.add(out, shortcut, 0);
    }

    pyramid(x) { // ASPP
      const name = "network.classifier.0", width = this.shapes[`${name}.convs.0.0`][2];
      const into = this.image("pyramid", x.side, 5 * width), pooled = this.means(x, (value) => value);
      for (const i of [0, 1, 2, 3]) {
        this.conv(`${name}.convs.${i}.0`, x, { slope: 0, into, channel: i * width, dilation: 3 * i });
      }
      const everywhere = this.linear(`${name}.convs.4.1`, pooled, 0);
      this.pixels(into, (at) => this.f32.set(everywhere, at + 4 * width));
      return this.conv(`${name}.project.0`, into, { slope: 0 });
    }

    // `picture`: RGB (size, size, 3), 0 to 255 -> probabilities (size, size, parts + 1)
    probabilities(picture) {
      const { size, stride } = this.model, image = this.image("picture", size, 3, 3);
      let i = 0;
      this.pixels(image, (at) => { for (let c = 0; c < 3; c++) this.f32[at + c] = picture[i++] / 127.5 - 1; });
      let x = this.conv("network.backbone.0.0", image, { slope: 0, stride: 2 });
      for (const [n, by, pad] of [[1, 1, 1], [2, 1, 1], [3, stride / 2, 1], [4, 1, 9]]) { // 9: the pyramid's reach
        x = this.block(`network.backbone.${n}`, x, by, pad);
      }
      x = this.conv("network.classifier.4", this.conv("network.classifier.1", this.pyramid(x), { slope: 0 }));
      return this.values(this.softmax(this.resample(x, this.image("logits", size, x.c), x.side / size, 0)));
    }
  }

  Object.assign(ganseg, { Generator, Segmenter });
})();

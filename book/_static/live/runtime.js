// What the networks are built of: layers, and images in one memory.
//
// An image is a square, channels last: of `c` channels `cs` (a multiple of 8) are stored, those left over are 0, and so
// is a border of `pad` pixels. `at` is the index of its first pixel in the memory, `row` the distance of two rows.
"use strict";
(() => {
  const SIZE = 1 << 26; // bytes of a network's memory, of which a browser takes what is used
  const LEAK = 0.2;

  function bytes(base64) {
    const text = atob(base64), raw = new Uint8Array(text.length);
    for (let i = 0; i < raw.length; i++) raw[i] = text.charCodeAt(i);
    return raw;
  }

  // the value of each float16, by its bits
  const HALF = Float32Array.from({ length: 65536 }, (_, raw) => {
    const exponent = (raw >> 10) & 31, fraction = (raw & 1023) / 1024;
    return (raw >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });

  // The loops of kernel.wat, and its arguments; for browsers without SIMD, and images less than 4 pixels wide.
  function plainConvolution(f32, input, out, weights, height, width, inRow, inStep, outRow, outStep, tapRow, tapStep,
    channels, blocks, kernel, slope) {
    for (let o = 0; o < 8 * blocks; o += 4) {
      const bias = weights / 4 + (o >> 3) * 8 * (1 + channels * kernel * kernel) + (o & 4);
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
        let a = f32[bias], b = f32[bias + 1], c = f32[bias + 2], d = f32[bias + 3], w = bias + 8;
        for (let ky = 0; ky < kernel; ky++) for (let kx = 0; kx < kernel; kx++) {
          const tap = (input + y * inRow + x * inStep + ky * tapRow + kx * tapStep) / 4;
          for (let i = tap; i < tap + channels; i++, w += 8) {
            a += f32[i] * f32[w];
            b += f32[i] * f32[w + 1];
            c += f32[i] * f32[w + 2];
            d += f32[i] * f32[w + 3];
          }
        }
        f32.set([a, b, c, d].map((sum) => Math.max(sum, slope * sum)), (out + y * outRow + x * outStep) / 4 + o);
      }
    }
  }

  // The layers of a network by name, as book/live.py writes them. What a layer made is overwritten by its next call.
  class Layers {
    constructor(model, { layers, weights }) {
      Object.assign(this, { model, config: model.generator, shapes: layers, starts: {}, images: {}, used: 0 });
      let memory = { buffer: new ArrayBuffer(SIZE) };
      try {
        const shared = new WebAssembly.Memory({ initial: SIZE >> 16 });
        const module = new WebAssembly.Module(bytes(ganseg.kernel));
        this.kernel = new WebAssembly.Instance(module, { live: { memory: shared } }).exports.conv;
        memory = shared;
      } catch { /* slower, but whole */ }
      this.f32 = new Float32Array(memory.buffer);
      const halves = new Uint16Array(bytes(weights).buffer);
      let next = 0;
      for (const [name, [kernel, inputs, outputs, copies]] of Object.entries(layers)) {
        const count = (kernel * kernel * inputs + 1) * 8 * Math.ceil(outputs / 8), start = this.reserve(count);
        for (let i = 0; i < copies * count; i++) this.f32[start + i % count] += HALF[halves[next++]];
        this.starts[name] = start;
      }
    }

    reserve(count) {
      this.used += count;
      if (4 * this.used > SIZE) throw new Error("the model is too large for a page");
      return this.used - count;
    }

    image(name, side, c, pad = 1) {
      const cs = Math.ceil(c / 8) * 8, row = (side + 2 * pad) * cs, size = (side + 2 * pad) * row;
      return (this.images[name] ??= { side, c, cs, row, at: this.reserve(size) + pad * (row + cs) });
    }

    // `slope` of the activation max(x, slope x); `into`, `channel`: an image to write to, and its first channel.
    conv(name, x, { slope = 1, stride = 1, dilation = 1, pad = 1, into = null, channel = 0 } = {}) {
      const [kernel, , outputs] = this.shapes[name], reach = (kernel >> 1) * dilation;
      const side = Math.ceil(x.side / stride), out = into || this.image(name, side, outputs, pad);
      const start = this.starts[name], first = x.at - reach * (x.row + x.cs);
      const distances = [stride * x.row, stride * x.cs, out.row, out.cs, dilation * x.row, dilation * x.cs];
      const run = this.kernel && side >= 4 ? this.kernel : plainConvolution.bind(null, this.f32);
      const blocks = Math.ceil(outputs / 8), lengths = distances.map((n) => 4 * n); // in bytes
      run(4 * first, 4 * (out.at + channel), 4 * start, side, side, ...lengths, x.c, blocks, kernel, slope);
      return out;
    }

    linear(name, x, slope = 1) { return this.values(this.conv(name, this.constant(`${name}.input`, x), { slope })); }

    // Layers name.0, name.2, ... with LeakyReLU between them; `layer(name, x, slope)` calls one.
    sequence(name, x, layer) {
      let i = 0;
      for (; this.shapes[`${name}.${i + 2}`]; i += 2) x = layer(`${name}.${i}`, x, LEAK);
      return layer(`${name}.${i}`, x, 1);
    }

    mlp(name, x) { return this.sequence(name, x, (...inputs) => this.linear(...inputs)); }

    // `visit` gets the index, column and row of each pixel.
    pixels({ side, at, row, cs }, visit) {
      for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) visit(at + y * row + x * cs, x, y);
    }

    // An image of the same numbers at each pixel.
    constant(name, values) {
      const image = { ...this.image(name, 1, values.length, 0), row: 0, cs: 0 };
      this.f32.set(values, image.at);
      return image;
    }

    // out = max(v, slope v), v = gamma x + beta, number by number.
    fuse(out, x, gamma, beta, slope) {
      const { f32 } = this;
      for (let row = 0; row < out.side; row++) for (let column = 0; column < out.side; column++) {
        const to = out.at + row * out.row + column * out.cs, at = x.at + row * x.row + column * x.cs;
        const g = gamma.at + row * gamma.row + column * gamma.cs, b = beta.at + row * beta.row + column * beta.cs;
        for (let i = 0; i < out.c; i++) {
          const value = f32[g + i] * f32[at + i] + f32[b + i];
          f32[to + i] = value > 0 ? value : slope * value;
        }
      }
      return out;
    }

    add(x, y, slope) { return this.fuse(x, x, this.constant(`ones.${x.c}`, Array(x.c).fill(1)), y, slope); }

    // Bilinear, as torch's with align_corners=False; `scale`: pixels of x for one of `out`, whose first is number
    // `from`. Of `length` pixels, if given, the first and last go on over the border.
    resample(x, out, scale, from, length = Infinity) {
      const { f32 } = this, places = Array.from({ length: out.side }, (_, i) => {
        const place = Math.max((Math.min(Math.max(i + from, 0), length - 1) + 0.5) * scale - 0.5, 0);
        const low = Math.min(Math.floor(place), x.side - 1);
        return [low, Math.min(low + 1, x.side - 1), place - low];
      });
      this.pixels(out, (to, column, row) => {
        const [top, bottom, v] = places[row], [left, right, u] = places[column];
        const a = x.at + top * x.row, b = x.at + bottom * x.row, l = left * x.cs, r = right * x.cs;
        for (let c = 0; c < x.c; c++) {
          const above = f32[a + l + c] * (1 - u) + f32[a + r + c] * u;
          f32[to + c] = above * (1 - v) + (f32[b + l + c] * (1 - u) + f32[b + r + c] * u) * v;
        }
      });
      return out;
    }

    softmax(x) {
      this.pixels(x, (at) => {
        const values = this.f32.subarray(at, at + x.c), most = Math.max(...values);
        const powers = values.map((value) => Math.exp(value - most)), sum = powers.reduce((a, b) => a + b);
        values.set(powers.map((power) => power / sum));
      });
      return x;
    }

    // The mean of `of(value, channel)` over the pixels of x, by channel.
    means(x, of) {
      const sums = new Float64Array(x.c), { f32 } = this;
      this.pixels(x, (at) => { for (let c = 0; c < x.c; c++) sums[c] += of(f32[at + c], c) / x.side ** 2; });
      return sums;
    }

    // The numbers of an image, Float32Array (side, side, c).
    values(x) {
      const found = new Float32Array(x.side ** 2 * x.c);
      let i = 0;
      this.pixels(x, (at) => { for (let c = 0; c < x.c; c++) found[i++] = this.f32[at + c]; });
      return found;
    }

    crop(x, margin) { return { ...x, side: x.side - 2 * margin, at: x.at + margin * (x.row + x.cs) }; }
  }

  Object.assign(ganseg, { LEAK, Layers });
})();

"use strict";
// The course's models once more, in a language that every browser runs. Nothing is imported.
// A feature map is { values, channels, side }: a Float32Array in the order [channel, row, column].
// `w` holds the weights of one model under the names that they have in PyTorch, as Float32Arrays.

// ---- weights

// Float16 is one bit of sign, 5 of exponent and 10 of fraction (IEEE 754).
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent === 0 ? sign * 2 ** -24 * fraction
    : sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

// The text is base64 of what `packed_weights` in tools/play packed: float16 numbers, the upper bytes
// of all before the lower ones, then whole numbers of one byte. entries: [name, number of values,
// rows]; with rows the values are whole numbers, times the scale of their row, a float16.
async function readWeights(entries, base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const table = Float32Array.from({ length: 65536 }, (_, bits) => halfToNumber(bits)), w = {};
  const numHalves = entries.reduce((sum, [, count, rows]) => sum + (rows || count), 0);
  const halves = Float32Array.from({ length: numHalves }, (_, i) => table[(bytes[i] << 8) | bytes[numHalves + i]]);
  const wholes = new Int8Array(bytes.buffer, 2 * numHalves);
  let half = 0, whole = 0;
  for (const [name, count, rows] of entries) {
    const part = halves.subarray(half, half += rows || count);
    w[name] = rows ? Float32Array.from(wholes.subarray(whole, whole += count), (value, i) =>
      value * part[Math.floor((i * rows) / count)]) : part;
  }
  return w;
}

// ---- the one expensive operation, and what is made of it

// weight [M, K] times the transpose of columns [N, K] gives [M, N]; bias [M] or none.
// Four rows and two columns at a time: each number that is read is used several times.
function product(weight, columns, K, bias) {
  const M = weight.length / K, N = columns.length / K, out = new Float32Array(M * N);
  for (let m = 0; m < M; m += 4) {
    const r0 = m * K, r1 = Math.min(m + 1, M - 1) * K, r2 = Math.min(m + 2, M - 1) * K;
    const r3 = Math.min(m + 3, M - 1) * K;
    for (let n = 0; n < N; n += 2) {
      const c0 = n * K, c1 = Math.min(n + 1, N - 1) * K;
      let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
      for (let k = 0; k < K; k++) {
        const x = columns[c0 + k], y = columns[c1 + k];
        const w0 = weight[r0 + k], w1 = weight[r1 + k], w2 = weight[r2 + k], w3 = weight[r3 + k];
        a += w0 * x; b += w0 * y; c += w1 * x; d += w1 * y;
        e += w2 * x; f += w2 * y; g += w3 * x; h += w3 * y;
      }
      const sums = [a, b, c, d, e, f, g, h];
      for (let i = 0; i < 4 && m + i < M; i++)
        for (let j = 0; j < 2 && n + j < N; j++)
          out[(m + i) * N + n + j] = sums[2 * i + j] + (bias ? bias[m + i] : 0);
    }
  }
  return out;
}

function linear(w, name, x) {
  return product(w[`${name}.weight`], x, x.length, w[`${name}.bias`]);
}

// Every place of the result with what a kernel of k x k sees there: [places, channels * k * k].
function patches({ values, channels, side }, k, stride, padding) {
  const outSide = Math.floor((side + 2 * padding - k) / stride) + 1, K = channels * k * k;
  const columns = new Float32Array(outSide * outSide * K);
  for (let row = 0; row < outSide; row++)
    for (let column = 0; column < outSide; column++) {
      const top = row * stride - padding, left = column * stride - padding;
      const start = (row * outSide + column) * K;
      for (let y = Math.max(0, -top); y < k && top + y < side; y++)
        for (let x = Math.max(0, -left); x < k && left + x < side; x++)
          for (let c = 0, at = start + y * k + x, from = (top + y) * side + left + x;
            c < channels; c++, at += k * k, from += side * side)
            columns[at] = values[from];
    }
  return { columns, outSide, K };
}

function conv(w, name, x, k = 3, stride = 1, padding = (k - 1) >> 1) {
  const weight = w[`${name}.weight`], { columns, outSide, K } = patches(x, k, stride, padding);
  const values = product(weight, columns, K, w[`${name}.bias`]);
  return { values, channels: weight.length / K, side: outSide };
}

// Each place of x adds a kernel, scaled by its value, to the larger result.
function transposedConv(w, name, x, k, stride = 2, padding = 1) {
  const weight = w[`${name}.weight`], bias = w[`${name}.bias`], places = x.side * x.side;
  const channels = weight.length / (x.channels * k * k), side = (x.side - 1) * stride - 2 * padding + k;
  const added = product(transposed(weight, x.channels), transposed(x.values, x.channels), x.channels);
  const values = new Float32Array(channels * side * side);
  for (let c = 0; c < channels; c++) values.fill(bias ? bias[c] : 0, c * side * side, (c + 1) * side * side);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < k; y++)
      for (let x_ = 0; x_ < k; x_++)
        for (let place = 0; place < places; place++) {
          const row = Math.floor(place / x.side) * stride - padding + y;
          const column = (place % x.side) * stride - padding + x_;
          if (row >= 0 && row < side && column >= 0 && column < side)
            values[(c * side + row) * side + column] += added[((c * k + y) * k + x_) * places + place];
        }
  return { values, channels, side };
}

function transposed(values, rows) {
  const columns = values.length / rows, out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c];
  return out;
}

// ---- what acts on each value

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const silu = (x) => x / (1 + Math.exp(-x));
const relu = (x) => Math.max(0, x);
// All three take maps or plain arrays.
function on(x, f) {
  if (x.side) return { ...x, values: on(x.values, f) };
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) out[i] = f(x[i], i);
  return out;
}

function plus(x, y) {
  if (x.side) return { ...x, values: plus(x.values, y.values) };
  return on(x, (value, i) => value + y[i]);
}

function joined(x, y) { // maps: along the channels
  if (x.side) return { ...x, values: joined(x.values, y.values), channels: x.channels + y.channels };
  const out = new Float32Array(x.length + y.length);
  out.set(x);
  out.set(y, x.length);
  return out;
}

function softmax(logits) {
  const largest = Math.max(...logits), parts = logits.map((x) => Math.exp(x - largest));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => part / total);
}

// ---- normalisation

// With the mean and variance that training remembered.
function batchNorm(w, name, x) {
  const [mean, variance, weight, bias] =
    ["running_mean", "running_var", "weight", "bias"].map((part) => w[`${name}.${part}`]);
  const places = x.side * x.side;
  return on(x, (value, i) => {
    const c = Math.floor(i / places);
    return ((value - mean[c]) / Math.sqrt(variance[c] + 1e-5)) * weight[c] + bias[c];
  });
}

// With the mean and variance of each 8 channels of this map.
function groupNorm(w, name, x) {
  const weight = w[`${name}.weight`], bias = w[`${name}.bias`], size = 8 * x.side * x.side;
  const values = new Float32Array(x.values.length);
  for (let start = 0; start < values.length; start += size) {
    let sum = 0, squares = 0;
    for (let i = start; i < start + size; i++) sum += x.values[i];
    const mean = sum / size;
    for (let i = start; i < start + size; i++) squares += (x.values[i] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / size + 1e-5);
    for (let i = start; i < start + size; i++) {
      const c = Math.floor((i * 8) / size);
      values[i] = (x.values[i] - mean) * scale * weight[c] + bias[c];
    }
  }
  return { ...x, values };
}

// ---- VAE: notebook 04

function mlpDecode(w, z) { // z [2] -> pixels [784] in [0, 1]
  let x = z;
  for (const layer of [0, 2]) x = on(linear(w, `decoder.0.${layer}`, x), silu);
  return on(linear(w, "decoder.0.4", x), sigmoid);
}

function convEncode(w, image) { // signed pixels [784] -> mean and log-variance of q(z | x)
  let x = { values: image, channels: 1, side: 28 };
  for (const layer of [0, 2]) x = on(conv(w, `encoder.${layer}`, x, 4, 2, 1), silu);
  const code = linear(w, "encoder.5", x.values), half = code.length / 2;
  return { mean: code.subarray(0, half), logvar: code.subarray(half) };
}

function convLogits(w, z) { // z [20] -> log-odds of a white pixel [784]
  const start = on(linear(w, "decoder.0", z), silu);
  let x = { values: start, channels: start.length / 49, side: 7 };
  x = on(transposedConv(w, "decoder.3", x, 4), silu);
  return transposedConv(w, "decoder.5", x, 4).values;
}

const convDecode = (w, z) => on(convLogits(w, z), sigmoid);

// -ELBO of one image in nats: what it costs to describe it by a z drawn with `noise`.
function negativeElbo(w, image, noise) {
  const { mean, logvar } = convEncode(w, image);
  let kl = 0, reconstruction = 0;
  for (let i = 0; i < mean.length; i++) kl += 0.5 * (mean[i] ** 2 + Math.exp(logvar[i]) - 1 - logvar[i]);
  const logits = convLogits(w, mean.map((m, i) => m + Math.exp(0.5 * logvar[i]) * noise[i]));
  for (let i = 0; i < logits.length; i++) // log(1 + exp(l)) that cannot overflow
    reconstruction += Math.max(logits[i], 0) + Math.log1p(Math.exp(-Math.abs(logits[i])))
      - (0.5 * (image[i] + 1)) * logits[i];
  return reconstruction + kl;
}

// ---- GAN: notebook 06

function generate(w, z, label) { // z [64] and a class -> signed pixels [784]
  const told = w["generator.class_embedding.weight"].subarray(64 * label, 64 * (label + 1));
  const values = product(w["generator.layers.0.weight"], joined(z, told), 128);
  let x = { values, channels: values.length / 16, side: 4 };
  for (const [norm, up, k] of [[2, 4, 3], [5, 7, 4], [8, 10, 4]])
    x = transposedConv(w, `generator.layers.${up}`, on(batchNorm(w, `generator.layers.${norm}`, x), relu), k);
  return on(x.values, Math.tanh);
}

// ---- diffusion: notebook 07

function timeFeatures(t, dim) {
  return Float32Array.from({ length: dim }, (_, i) => {
    const angle = 1000 * t * 10000 ** (-(i % (dim / 2)) / (dim / 2 - 1));
    return i < dim / 2 ? Math.sin(angle) : Math.cos(angle);
  });
}

// Squares of 2 x 2 pixels become four channels, and back.
function folded({ values, channels, side }) {
  const half = side / 2, out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const c = Math.floor(i / (side * side)), row = Math.floor(i / side) % side, column = i % side;
    out[((4 * c + 2 * (row % 2) + (column % 2)) * half + (row >> 1)) * half + (column >> 1)] = values[i];
  }
  return { values: out, channels: 4 * channels, side: half };
}

function unfolded(x, side = 2 * x.side) { // a smaller side leaves out the last row and column
  const channels = x.channels / 4, values = new Float32Array(channels * side * side);
  for (let i = 0; i < values.length; i++) {
    const c = Math.floor(i / (side * side)), row = Math.floor(i / side) % side, column = i % side;
    values[i] = x.values[((4 * c + 2 * (row % 2) + (column % 2)) * x.side + (row >> 1)) * x.side + (column >> 1)];
  }
  return { values, channels, side };
}

// Two convolutions with a shortcut; between them the embedding scales and shifts each channel.
function filmBlock(w, name, x, embedding) {
  const film = linear(w, `${name}.film`, embedding), places = x.side * x.side;
  let h = conv(w, `${name}.conv_in`, on(groupNorm(w, `${name}.norm_in`, x), silu));
  h = on(groupNorm(w, `${name}.norm_mid`, h), (value, i) => {
    const c = Math.floor(i / places);
    return silu(value * (1 + film[c]) + film[h.channels + c]);
  });
  const shortcut = w[`${name}.shortcut.weight`] ? conv(w, `${name}.shortcut`, x, 1) : x;
  return plus(shortcut, conv(w, `${name}.conv_out`, h));
}

// Rows of queries [N, C], keys and values [L, C] -> what each query reads [N, C], in heads of 16.
function attend(queries, keys, values, C) {
  const L = keys.length / C, out = new Float32Array(queries.length);
  const headOf = (rows, start) => Float32Array.from({ length: (rows.length / C) * 16 }, (_, i) =>
    rows[(i >> 4) * C + start + (i & 15)]);
  for (let start = 0; start < C; start += 16) {
    const weights = product(headOf(queries, start), headOf(keys, start), 16);
    for (let i = 0; i < weights.length; i += L) {
      const row = weights.subarray(i, i + L);
      row.set(softmax(row.map((score) => score / 4)));
    }
    product(weights, transposed(headOf(values, start), L), L)
      .forEach((value, i) => { out[(i >> 4) * C + start + (i & 15)] = value; });
  }
  return out;
}

function attention(w, name, x) {
  const places = x.side * x.side, C = x.channels;
  const rows = conv(w, `${name}.queries_keys_values`, groupNorm(w, `${name}.norm`, x), 1).values;
  const [queries, keys, values] = [0, 1, 2].map((part) =>
    transposed(rows.subarray(part * C * places, (part + 1) * C * places), C));
  const read = transposed(attend(queries, keys, values, C), places);
  return plus(x, conv(w, `${name}.out`, { ...x, values: read }, 1));
}

// Noisy signed pixels [784], a time in [0, 1] and a class (10: none) -> velocity [784].
function unet(w, xt, t, label) {
  const dim = 128, told = w["network.classes.weight"].subarray(dim * label, dim * (label + 1));
  const time = linear(w, "network.time.2", on(linear(w, "network.time.0", timeFeatures(t, dim)), silu));
  const embedding = on(plus(time, told), silu), skips = [];
  let x = conv(w, "network.stem", folded({ values: xt, channels: 1, side: 28 }));
  for (const level of [0, 1, 2]) {
    x = filmBlock(w, `network.down.${level}.0`, x, embedding);
    skips.push(x);
    if (level < 2) x = conv(w, `network.shrink.${level}`, x, 3, 2);
  }
  x = filmBlock(w, "network.middle", attention(w, "network.attention", x), embedding);
  for (const level of [0, 1, 2]) {
    x = filmBlock(w, `network.up.${level}.0`, joined(x, skips.pop()), embedding);
    if (level < 2) x = unfolded(conv(w, `network.grow.${level}`, x, 1), skips.at(-1).side);
  }
  return unfolded(conv(w, "network.out", on(groupNorm(w, "network.norm", x), silu))).values;
}

// The image that the network sees in xt; guidance exaggerates what the class changes in it.
function seenImage(w, xt, t, label, guidance) {
  const image = (given) => { const v = unet(w, xt, t, given); return xt.map((x, i) => x - t * v[i]); };
  let seen = image(guidance === 0 ? 10 : label);
  if (guidance !== 0 && guidance !== 1) {
    const none = image(10);
    seen = seen.map((x, i) => none[i] + guidance * (x - none[i]));
  }
  return seen.map((x) => Math.min(1, Math.max(-1, x)));
}

// Euler's method along straight paths from x at time `start` to an image at time 0.
// Returns what x and the image seen in it were at each step, and the finished image.
function sample(w, x, label, { steps = 10, guidance = 1, start = 1 } = {}) {
  const trace = [];
  for (let step = 0; step < steps; step++) {
    const t = start * (1 - step / steps), next = start * (1 - (step + 1) / steps);
    const seen = seenImage(w, x, t, label, guidance);
    trace.push({ t, x, seen });
    x = x.map((value, i) => value + ((next - t) * (value - seen[i])) / t);
  }
  return { trace, image: x };
}

// SDEdit: as much noise as time `strength` has is added to an image and taken away again.
const edit = (w, image, noise, label, strength, options) =>
  sample(w, image.map((x, i) => (1 - strength) * x + strength * noise[i]), label, { ...options, start: strength });

// ---- classifier: notebook 01

function classify(w, image) { // signed pixels [784] -> p(class | image) [10]
  let x = { values: image, channels: 1, side: 28 };
  for (const layer of [0, 4, 8]) x = maxPool(on(batchNorm(w, `backbone.${layer + 1}`, conv(w, `backbone.${layer}`, x)), relu));
  return softmax(linear(w, "head", on(linear(w, "backbone.13", x.values), relu)));
}

function maxPool({ values, channels, side }) {
  const half = side >> 1, out = new Float32Array(channels * half * half);
  for (let i = 0; i < out.length; i++) {
    const c = Math.floor(i / (half * half)), row = Math.floor(i / half) % half, column = i % half;
    const at = (c * side + 2 * row) * side + 2 * column;
    out[i] = Math.max(values[at], values[at + 1], values[at + side], values[at + side + 1]);
  }
  return { values: out, channels, side: half };
}

// ---- chance: the same seed gives the same noise, so that pictures compare

function uniforms(seed) { // mulberry32 by Tommy Ettinger
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normals(count, seed, bound = Infinity) { // Box and Muller; beyond the bound: drawn again
  const uniform = uniforms(seed), draw = () =>
    Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float32Array.from({ length: count }, () => {
    let value = draw();
    while (Math.abs(value) > bound) value = draw();
    return value;
  });
}

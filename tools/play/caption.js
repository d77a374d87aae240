"use strict";
// Text to image, notebook 11: the words of a caption become codes, each place of a small picture
// reads them while a flow draws it, and a decoder makes the small picture large.
const WORD_DIM = 96, LATENT_SIDE = 8;

// Rows [N, K] and a layer from K to M numbers -> rows [N, M].
function onRows(w, name, rows, K, [weight, bias] = ["weight", "bias"]) {
  const matrix = w[`${name}.${weight}`];
  return transposed(product(matrix, rows, K, w[`${name}.${bias}`]), matrix.length / K);
}

function layerNorm(w, name, rows, K) { // each row with its own mean and variance
  const weight = w[`${name}.weight`], bias = w[`${name}.bias`], out = new Float32Array(rows.length);
  for (let start = 0; start < rows.length; start += K) {
    const row = rows.subarray(start, start + K), mean = row.reduce((sum, x) => sum + x, 0) / K;
    const scale = 1 / Math.sqrt(row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / K + 1e-5);
    for (let k = 0; k < K; k++) out[start + k] = (row[k] - mean) * scale * weight[k] + bias[k];
  }
  return out;
}

// x times the share of a standard normal distribution below x. The error function is that of
// Abramowitz & Stegun 1964, 7.1.26, right to 2e-7.
function gelu(x) {
  const a = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.3275911 * a);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const erf = 1 - tail * Math.exp(-a * a);
  return 0.5 * x * (1 + (x < 0 ? -erf : erf));
}

function columnsOf(rows, width, start, stop) { // rows [N, width] -> [N, stop - start]
  const size = stop - start;
  return Float32Array.from({ length: (rows.length / width) * size }, (_, i) =>
    rows[Math.floor(i / size) * width + start + (i % size)]);
}

// Tokens of the words that are there -> codes [L + 1, 96] of a start and of L words, which have
// seen each other, and their sum, which joins the code of time.
function readCaption(w, tokens) {
  const K = WORD_DIM, words = w["flow.text.words.weight"], places = w["flow.text.places"];
  let x = Float32Array.from({ length: (tokens.length + 1) * K }, (_, i) =>
    words[K * [0, ...tokens][Math.floor(i / K)] + (i % K)] + places[i]);
  const layer = "flow.text.layer", rows = layerNorm(w, `${layer}.norm1`, x, K);
  const asked = onRows(w, `${layer}.self_attn`, rows, K, ["in_proj_weight", "in_proj_bias"]);
  const [queries, keys, values] = [0, 1, 2].map((part) => columnsOf(asked, 3 * K, part * K, (part + 1) * K));
  x = plus(x, onRows(w, `${layer}.self_attn.out_proj`, attend(queries, keys, values, K), K));
  const inner = on(onRows(w, `${layer}.linear1`, layerNorm(w, `${layer}.norm2`, x, K), K), gelu);
  const codes = plus(x, onRows(w, `${layer}.linear2`, inner, 2 * K));
  const sum = new Float32Array(K);
  for (let i = 0; i < codes.length; i++) sum[i % K] += codes[i] / Math.sqrt(places.length / K);
  return { codes, sum };
}

// Each place of the map asks, each word answers, with a shortcut.
function crossAttention(w, name, x, codes) {
  const C = x.channels, asked = conv(w, `${name}.queries`, groupNorm(w, `${name}.norm`, x), 1);
  const told = onRows(w, `${name}.keys_values`, codes, WORD_DIM);
  const [keys, values] = [0, 1].map((part) => columnsOf(told, 2 * C, part * C, (part + 1) * C));
  const read = transposed(attend(transposed(asked.values, C), keys, values, C), x.side * x.side);
  return plus(x, conv(w, `${name}.out`, { ...x, values: read }, 1));
}

// Noisy latents, a time in [0, 1] and a caption that was read -> velocity of the latents.
function captionVelocity(w, x, t, { codes, sum }) {
  const time = linear(w, "flow.time.2", on(linear(w, "flow.time.0", timeFeatures(t, WORD_DIM)), silu));
  const embedding = on(plus(time, sum), silu);
  const skip = filmBlock(w, "flow.down", conv(w, "flow.stem", x), embedding);
  let h = conv(w, "flow.shrink", skip, 3, 2);
  for (const i of [0, 1])
    h = crossAttention(w, `flow.crosses.${i}`, filmBlock(w, `flow.blocks.${i}`, h, embedding), codes);
  h = filmBlock(w, "flow.middle", attention(w, "flow.attention", h), embedding);
  h = crossAttention(w, "flow.last_cross", unfolded(conv(w, "flow.grow", h, 1)), codes);
  h = filmBlock(w, "flow.last", joined(h, skip), embedding);
  return conv(w, "flow.out", on(groupNorm(w, "flow.norm", h), silu));
}

// Noise [8 * 8 * 8] and tokens -> signed pixels [3 * 32 * 32], by Euler's method along straight
// paths. Guidance exaggerates what the caption changes against another one, or against none.
function drawCaption(w, noise, tokens, { steps = 10, guidance = 4, negative = [] } = {}) {
  const told = readCaption(w, tokens), away = readCaption(w, negative);
  const channels = noise.length / LATENT_SIDE ** 2;
  let x = { values: noise, channels, side: LATENT_SIDE };
  for (let step = 0; step < steps; step++) {
    const t = 1 - step / steps, v = captionVelocity(w, x, t, told).values;
    const without = guidance === 1 ? v : captionVelocity(w, x, t, away).values;
    x = on(x, (value, i) => value - (without[i] + guidance * (v[i] - without[i])) / steps);
  }
  return on(decodeLatents(w, x).values, (value) => Math.min(1, Math.max(-1, value)));
}

function decodeLatents(w, x) {
  const places = x.side * x.side, layer = (i) => `codec.decoder.${i}`;
  let h = on(x, (value, i) => {
    const c = Math.floor(i / places);
    return value * w["codec.std"][c] + w["codec.mean"][c];
  });
  h = on(unfolded(conv(w, layer(2), on(conv(w, layer(0), h), silu))), silu);
  return unfolded(conv(w, layer(7), on(conv(w, layer(5), h), silu)));
}

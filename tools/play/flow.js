"use strict";
// Flow matching on points of the plane: a small network, its gradients by hand, and Adam.
// As in notebook 07: x_t = (1 - t) x0 + t eps, and the network learns the velocity eps - x0.
const SIZES = [3, 48, 48, 2]; // x, y and t go in, the velocity comes out
const LEARNING_RATE = 4e-3, BATCH = 128;

function newFlow(seed) {
  const uniform = uniforms(seed), layers = SIZES.slice(1).map((numOut, i) => ({
    numIn: SIZES[i],
    numOut,
    weight: Float32Array.from({ length: numOut * SIZES[i] }, () => (2 * uniform() - 1) * Math.sqrt(3 / SIZES[i])),
    bias: new Float32Array(numOut),
  }));
  return { layers, adam: new Map(), step: 0, seed };
}

// Rows [N, 3] of x, y and t -> velocities [N, 2], and what each layer got and gave before SiLU.
function forward(layers, rows) {
  const seen = [];
  layers.forEach(({ weight, bias, numIn, numOut }, i) => {
    const h = transposed(product(weight, rows, numIn, bias), numOut);
    seen.push({ rows, h });
    rows = i < layers.length - 1 ? on(h, silu) : h;
  });
  return { velocity: rows, seen };
}

// d loss / d weight and d loss / d bias of each layer, given d loss / d velocity [N, 2].
function backward(layers, seen, slope) {
  const gradients = [];
  for (let i = layers.length - 1; i >= 0; i--) {
    const { weight, numOut } = layers[i], { rows } = seen[i], count = slope.length / numOut;
    const slopes = transposed(slope, count);
    const ones = new Float32Array(count).fill(1);
    gradients[i] = { weight: product(slopes, transposed(rows, count), count), bias: product(slopes, ones, count) };
    if (i === 0) break;
    const before = product(slope, transposed(weight, numOut), numOut), { h } = seen[i - 1];
    slope = on(before, (s, k) => { // the derivative of SiLU
      const gate = sigmoid(h[k]);
      return s * gate * (1 + h[k] * (1 - gate));
    });
  }
  return gradients;
}

// Mean loss of points x0 and noises eps, both [N, 2], at times [N], and its gradients.
function flowLoss(layers, x0, eps, times) {
  const count = times.length, rows = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const t = times[i];
    for (const axis of [0, 1]) rows[3 * i + axis] = (1 - t) * x0[2 * i + axis] + t * eps[2 * i + axis];
    rows[3 * i + 2] = t;
  }
  const { velocity, seen } = forward(layers, rows);
  const miss = on(velocity, (v, i) => v - (eps[i] - x0[i]));
  const loss = miss.reduce((sum, m) => sum + m * m, 0) / count;
  return { loss, gradients: backward(layers, seen, on(miss, (m) => (2 * m) / count)) };
}

// Takes some steps of Adam on points [[x, y], ...]; returns the mean loss of the steps.
function trainFlow(flow, points, numSteps) {
  let total = 0;
  for (let n = 0; n < numSteps; n++) {
    flow.step++;
    const uniform = uniforms(flow.seed + 7919 * flow.step), eps = normals(2 * BATCH, flow.seed + 31 * flow.step);
    const x0 = Float32Array.from(Array.from({ length: BATCH }, () => points[Math.floor(uniform() * points.length)]).flat());
    const times = Float32Array.from({ length: BATCH }, (_, i) => (i + uniform()) / BATCH);
    const { loss, gradients } = flowLoss(flow.layers, x0, eps, times);
    total += loss;
    flow.layers.forEach((layer, i) => {
      for (const part of ["weight", "bias"]) adamStep(flow, layer[part], gradients[i][part]);
    });
  }
  return total / numSteps;
}

function adamStep({ adam, step }, values, gradient) {
  if (!adam.has(values)) adam.set(values, [new Float32Array(values.length), new Float32Array(values.length)]);
  const [mean, square] = adam.get(values);
  for (let i = 0; i < values.length; i++) {
    mean[i] += 0.1 * (gradient[i] - mean[i]);
    square[i] += 0.01 * (gradient[i] ** 2 - square[i]);
    values[i] -= (LEARNING_RATE * mean[i] / (1 - 0.9 ** step)) / (Math.sqrt(square[i] / (1 - 0.99 ** step)) + 1e-8);
  }
}

// Points [x, y, ...] that the flow draws with Euler's method from standard normal noise.
function sampleFlow(flow, count, numSteps = 20) {
  let points = normals(2 * count, 5);
  for (let step = 0; step < numSteps; step++) {
    const t = 1 - step / numSteps;
    const rows = Float32Array.from({ length: 3 * count }, (_, i) =>
      (i % 3 === 2 ? t : points[2 * Math.floor(i / 3) + (i % 3)]));
    points = plus(points, on(forward(flow.layers, rows).velocity, (v) => -v / numSteps));
  }
  return points;
}

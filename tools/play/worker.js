"use strict";
// What the page asks for is computed beside it, so that it stays responsive. The page sends
// { id, name, task } and gets { id, result } or { id, error }; the first message of all to need a
// model brings its weights.
const models = {}, DIFFUSION_NOISE = 784, CAPTION_NOISE = 512;
let flow = null;

const toSigned = (image) => on(image, (x) => 2 * x - 1);
const toUnit = (image) => on(image, (x) => (x + 1) / 2);

const TASKS = {
  plane: ({ z }) => mlpDecode(models.plane, Float32Array.from(z)),
  map: ({ side, reach }) => Array.from({ length: side * side }, (_, i) => mlpDecode(models.plane, Float32Array.of(
    reach * (2 * (i % side) / (side - 1) - 1), reach * (1 - 2 * Math.floor(i / side) / (side - 1))))),
  // a walk on the arc between two noises: points between them are as long as they are
  gan: ({ from, to, share, bound, label }) => {
    const a = normals(64, from, bound), b = normals(64, to, bound), angle = (share * Math.PI) / 2;
    const z = on(a, (x, i) => Math.min(bound, Math.max(-bound, Math.cos(angle) * x + Math.sin(angle) * b[i])));
    return toUnit(generate(models.gan, z, label));
  },
  diffusion: ({ seed, label, guidance, steps }) => {
    const { trace, image } = sample(models.diffusion, normals(DIFFUSION_NOISE, seed), label, { steps, guidance });
    return { image: toUnit(image), trace: trace.map(({ t, x, seen }) => ({ t, x: toUnit(x), seen: toUnit(seen) })) };
  },
  judge: ({ image }) => {
    const signed = toSigned(image), code = convEncode(models.vae, signed);
    const bounds = Array.from({ length: 8 }, (_, i) => negativeElbo(models.vae, signed, normals(20, i + 1)));
    return {
      rebuilt: convDecode(models.vae, code.mean),
      probabilities: classify(models.classifier, signed),
      nats: bounds.reduce((sum, bound) => sum + bound, 0) / bounds.length,
    };
  },
  edit: ({ image, label, strength, seed }) => toUnit(edit(models.diffusion, toSigned(image),
    normals(DIFFUSION_NOISE, seed), label, strength, { steps: 10, guidance: 1.5 }).image),
  caption: ({ tokens, guidance, seed }) =>
    toUnit(drawCaption(models.caption, normals(CAPTION_NOISE, seed), tokens, { guidance })),
  newFlow: ({ seed }) => { flow = newFlow(seed); },
  trainFlow: ({ points, steps, count }) => {
    const loss = trainFlow(flow, points, steps);
    return { loss, step: flow.step, samples: sampleFlow(flow, count) };
  },
};

async function answer({ id, name, task, weights }) {
  try {
    for (const [key, [entries, text]] of Object.entries(weights ?? {})) models[key] = await readWeights(entries, text);
    postMessage({ id, result: TASKS[name](task) });
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
}

// One after the other: a task may need the weights that came with the one before it.
let queue = Promise.resolve();
onmessage = ({ data }) => { queue = queue.then(() => answer(data)); };

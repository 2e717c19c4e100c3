/**
 * From logits to an answer, by the rule of decision.py, in double precision as there.
 *
 * @typedef {import("./protocol.js").Network} Network
 */

const PLAIN = { temperatures: [1], biases: [0], thresholds: [0], novelty: null, novelty_limit: null };

/** A list's entry, where one stands for all. @param {number[]} values @param {number} index */
const entry = (values, index) => values[values.length === 1 ? 0 : index];

/** @param {ArrayLike<number>} values */
function logSumExp(values) {
  const most = Math.max(...Array.from(values));
  return most + Math.log(Array.from(values).reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/**
 * @param {Float32Array} logits
 * @param {Network} network
 * @param {number} top  how many classes
 * @returns {{top: {index: number, name: string, probability: number}[], unsure: boolean}}
 */
export function judge(logits, network, top) {
  const decision = { ...PLAIN, ...network.decision };
  const scores = Array.from(logits, (logit, i) => logit / entry(decision.temperatures, i) + entry(decision.biases, i));
  const total = logSumExp(scores);
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
  const found = order.slice(0, top).map((index) => ({
    index,
    name: network.classes?.[index] ?? `class ${index}`,
    probability: network.task === "multilabel" ? 1 / (1 + Math.exp(-scores[index])) : Math.exp(scores[index] - total),
  }));
  const familiarity = decision.novelty === "energy" ? logSumExp(logits) : Math.max(...logits);
  const novel = decision.novelty_limit !== null && familiarity < decision.novelty_limit;
  // Of several labels the thresholds say which ones a picture has, not whether the answer is sure.
  const unlikely =
    network.task === "singlelabel" && found[0].probability < entry(decision.thresholds, found[0].index);
  return { top: found, unsure: novel || unlikely };
}

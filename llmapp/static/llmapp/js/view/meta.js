// The line under an answer: model, seconds, tokens and cost. What is unknown is left out.

import { dollars, number, seconds, t, tn } from "../config.js";
import { element } from "./dom.js";

// `facts`: { model, seconds, inputTokens, outputTokens, cost }; null or "" where unknown.
export function showMeta(line, facts) {
  line.replaceChildren(...parts(facts));
}

// The same facts as the server writes them into an answer.
export function factsOf({ dataset }) {
  const value = (text) => (text ? Number(text) : null);
  return {
    model: dataset.model ?? "",
    seconds: value(dataset.seconds),
    inputTokens: value(dataset.inputTokens),
    outputTokens: value(dataset.outputTokens),
    cost: dataset.cost || null,
  };
}

function parts({ model, seconds: time, inputTokens, outputTokens, cost }) {
  const items = [];
  if (model) items.push(element("span", "llmapp-model", model));
  if (time !== null) items.push(element("span", "", seconds(time)));
  const tokens = tokensPart(inputTokens, outputTokens);
  if (tokens) items.push(tokens);
  if (cost !== null) items.push(element("span", "", dollars(cost)));
  return items;
}

function tokensPart(input, output) {
  if (input !== null && output !== null) {
    const part = element("span", "", tn("meta.tokens", input + output));
    part.title = t("meta.detail", { input: number(input), output: number(output) });
    return part;
  }
  if (input !== null) return element("span", "", tn("meta.tokens_in", input));
  if (output !== null) return element("span", "", tn("meta.tokens_out", output));
  return null;
}

// The page's English sentences, as the server hands them over, for tests of what is said.

import { fill } from "../../llmapp/static/llmapp/js/text.js";

const sentences = JSON.parse(process.env.LLMAPP_STRINGS);

export const has = (key) => key in sentences;
export const t = (key, values = {}) => fill(sentences[key] ?? key, values);
export const tn = (key, count) => fill(sentences[key][count === 1 ? "one" : "other"], { count });
export const number = (value) => new Intl.NumberFormat("en").format(value);

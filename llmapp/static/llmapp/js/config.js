// What the server hands to the page: addresses, limits, and every sentence, translated.

import { fill } from "./text.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

export const config = read("llmapp-config");

const strings = read("llmapp-strings");
const language = document.documentElement.lang || "en";
const plural = new Intl.PluralRules(language);

export function t(key, values = {}) {
  return fill(strings[key] ?? key, values);
}

export function has(key) {
  return key in strings;
}

// A sentence with a number: the server gives one form for each category of the language.
export function tn(key, count, values = {}) {
  const forms = strings[key];
  const form = forms[plural.select(count)] ?? forms.other;
  return fill(form, { count: number(count), ...values });
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(language, options).format(value);
}

export function seconds(value) {
  const digits = value < 10 ? 1 : 0;
  return number(value, { style: "unit", unit: "second", unitDisplay: "narrow", maximumFractionDigits: digits });
}

// Small amounts matter here: an answer often costs a fraction of a cent.
export function dollars(amount) {
  const digits = Number(amount) < 0.01 ? 6 : 4;
  const options = { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: digits };
  return number(Number(amount), options);
}

export function date(value, options) {
  return new Intl.DateTimeFormat(language, options).format(value);
}

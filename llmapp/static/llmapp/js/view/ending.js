// How an answer ended, in the reader's language and by the reader's clock.

import { date, has, number, t, tn } from "../config.js";
import { causeOf as cause } from "../ending.js";

export function causeOf(end) {
  return cause(end, { t, has, number, time: timeOf });
}

export function summarisedNote(count) {
  return count > 0 ? tn("answer.summarised", count) : "";
}

// Return a time of day, with its date where that is another one.
export function timeOf(value, { exact = false } = {}) {
  const time = { timeStyle: exact ? "medium" : "short" };
  const isToday = value.toDateString() === new Date().toDateString();
  // A time of day is one word: "PM" stays with it.
  return date(value, isToday ? time : { dateStyle: "medium", ...time }).replace(/\s(?=[AP]M$)/, "\u00a0");
}

// What screen readers are told. States only: a token after the other would drown everything else.

import { find } from "./dom.js";

export function announce(sentence) {
  const place = find("announcer");
  // The same sentence twice is two pieces of news; a place that does not change says nothing.
  place.textContent = "";
  setTimeout(() => (place.textContent = sentence), 50);
}

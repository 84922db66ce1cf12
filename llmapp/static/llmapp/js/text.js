// Text as Python and JavaScript count it, and sentences with values in them.
//
// The server counts code points, a string here counts UTF-16 units: an emoji is one there and two here.

// Return where `points` code points of `text` end, in UTF-16 units. `from` is a place that is known already.
export function unitsAt(text, points, from = { points: 0, units: 0 }) {
  let { points: seen, units } = from.points <= points ? from : { points: 0, units: 0 };
  while (seen < points && units < text.length) {
    units += text.codePointAt(units) > 0xffff ? 2 : 1;
    seen += 1;
  }
  return units;
}

export function pointsIn(text) {
  let points = 0;
  for (const _ of text) points += 1;
  return points;
}

// Put values into "{name}" places.
export function fill(sentence, values = {}) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

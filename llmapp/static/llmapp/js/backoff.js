// How long to wait before the next try to connect. Chance is an argument.

const FIRST = 0.5 * 1000;
const LONGEST = 15 * 1000;

// Between half and the whole of a time that doubles, so that many pages don't come back at once.
export function delayBefore(attempt, chance = Math.random()) {
  const whole = Math.min(LONGEST, FIRST * 2 ** attempt);
  return whole * (0.5 + chance / 2);
}

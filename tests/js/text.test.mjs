// Counting and sentences.

import assert from "node:assert/strict";
import { test } from "node:test";
import { delayBefore } from "../../llmapp/static/llmapp/js/backoff.js";
import { fill, pointsIn, unitsAt } from "../../llmapp/static/llmapp/js/text.js";
import { uuid4 } from "../../llmapp/static/llmapp/js/uuid.js";

test("code points become UTF-16 units", () => {
  const text = "a😀é漢😀z";
  const units = [0, 1, 3, 4, 5, 7, 8];
  units.forEach((expected, points) => {
    assert.equal(unitsAt(text, points), expected);
    assert.equal(unitsAt(text, points, { points: 1, units: 1 }), expected);
  });
  assert.equal(unitsAt(text, 99), text.length);
  assert.equal(pointsIn(text), 6);
});

test("sentences are filled by name, and unknown names stay", () => {
  assert.equal(fill("{a} and {b}", { a: 1 }), "1 and {b}");
});

test("waits grow to a limit", () => {
  assert.deepEqual([0, 1, 2, 10].map((attempt) => delayBefore(attempt, 1)), [500, 1000, 2000, 15000]);
  assert.equal(delayBefore(0, 0), 250);
});

test("ids are random UUIDs of version 4", () => {
  assert.match(uuid4(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(uuid4(), uuid4());
});

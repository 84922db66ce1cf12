// The sentence at the end of a run: the table is that of tests/runs/test_sentences.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { causeOf } from "../../llmapp/static/llmapp/js/ending.js";
import { has, number, t } from "./sentences.mjs";

const ROWS = JSON.parse(readFileSync(new URL("../fixtures/endings.json", import.meta.url), "utf8"));
const time = (moment) => `${moment.toISOString().slice(11, 16)} (UTC)`;

for (const [kind, facts, sentence] of ROWS) {
  test(`${kind} with ${JSON.stringify(facts)}`, () => {
    assert.equal(causeOf({ code: kind, facts }, { has, number, t, time }), sentence);
  });
}

test("what the page does not know, the server has said", () => {
  assert.equal(causeOf({ code: "new_kind", message: "Something new." }, { has, number, t, time }), "Something new.");
});

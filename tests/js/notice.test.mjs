// The live status line: what a notice says, for every action that the recovery has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { noticeSentence, SECONDS, waitingSentence } from "../../llmapp/static/llmapp/js/notice.js";
import { has, t, tn } from "./sentences.mjs";

const say = (notice, left = notice.seconds) => noticeSentence(notice, left, { has, t, tn }).replace(SECONDS, `${left} s`);

const SENTENCES = [
  [{ kind: "rate_limit", action: "Wait", seconds: 12, attempt: 3 }, "Too many requests. Trying again in 12 s (attempt 3)"],
  [{ kind: "rate_limit", action: "Wait", seconds: 0 }, "Too many requests. Trying again"],
  [{ kind: "", action: "Wait", seconds: 9 }, "Keeping to the provider’s limit. Going on in 9 s"],
  [{ kind: "auth", action: "RotateCredential", attempt: 2 }, "The key was not accepted. Trying another key (attempt 2)"],
  [{ kind: "overloaded", action: "SwitchModel", model: "big" }, "The provider is overloaded. Switching to big"],
  [{ kind: "overloaded", action: "SwitchModel" }, "The provider is overloaded. Switching to another model"],
  [{ kind: "", action: "SwitchModel", model: "big" }, "Switching to big"],
  [{ kind: "", action: "Compress", count: 12 }, "Summarising 12 earlier messages"],
  [{ kind: "", action: "Compress", count: 1 }, "Summarising 1 earlier message"],
  [
    { kind: "context_overflow", action: "Compress" },
    "The conversation is too long for the model. Summarising earlier messages",
  ],
  [
    { kind: "unsupported_parameter", action: "RenameParameter" },
    "The model does not know a setting. Trying the setting’s other name",
  ],
  [{ kind: "", action: "Skipped", model: "old" }, "The fallback old is not available and is passed over"],
  [
    { kind: "connection", action: "queue" },
    "The queue is not reachable. Your message is stored and starts as soon as it is back",
  ],
  [{ kind: "new_kind", action: "NewAction" }, "The provider had an error. Trying again"],
];

for (const [notice, sentence] of SENTENCES) test(sentence, () => assert.equal(say(notice), sentence));

const ACTIONS =
  "Wait RotateCredential SwitchModel Compress LowerWindow LowerOutputLimit RaiseOutputLimit LowerEffort DropParameter " +
  "RenameParameter DisableStreaming StripThinking RepairHistory Continue Restart Skipped";

test("each action has a sentence of its own", () => {
  const sentences = ACTIONS.split(" ").map((action) => say({ kind: "timeout", action, seconds: 3, model: "m" }));
  assert.equal(new Set(sentences).size, sentences.length);
  assert.deepEqual(sentences.filter((sentence) => /[{}_]/.test(sentence)), []);
});

test("only the seconds change while they run down", () => {
  const notice = { kind: "rate_limit", action: "Wait", seconds: 12, attempt: 3 };
  const at = (left) => noticeSentence(notice, left, { has, t, tn });
  assert.equal(at(12), at(1));
  assert.equal(at(12).split(SECONDS).length, 2);
  assert.equal(at(0), "Too many requests. Trying again (attempt 3)");
});

test("a run that gave its place back says when it goes on", () => {
  const say = (waiting) => waitingSentence(waiting, "14:05:10", { has, t });
  assert.equal(say({ kind: "rate_limit" }), "Too many requests. Goes on at 14:05:10");
  assert.equal(say({ kind: "" }), "Goes on at 14:05:10");
});

"""New messages come between others, which are not touched."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

ARRANGE = """
async ([before, after]) => {
  const script = document.querySelector('script[type="module"]').src;
  const { arrange } = await import(script.replace("chat.js", "view/dom.js"));
  const parent = document.createElement("div");
  const nodes = Object.fromEntries([...new Set(before + after)].map((id) => [id, document.createElement("i")]));
  for (const [id, node] of Object.entries(nodes)) node.id = id;
  parent.append(...[...before].map((id) => nodes[id]));
  const observer = new MutationObserver(() => {});
  observer.observe(parent, { childList: true });
  arrange(parent, [...after].map((id) => nodes[id]));
  const touched = observer.takeRecords().flatMap(({ addedNodes, removedNodes }) => [...addedNodes, ...removedNodes]);
  const ids = (list) => list.map(({ id }) => id).join("");
  return [ids([...parent.children]), [...new Set(ids(touched))].sort().join("")];
}
"""

# What is there, what is wanted, and what is put in or taken out.
CASES = [
    ("abc", "abc", ""),
    ("ab", "abcd", "cd"),
    ("abc", "axbc", "x"),
    ("abc", "ac", "b"),
    ("", "ab", "ab"),
    ("a", "", "a"),
]


@pytest.mark.parametrize(("before", "after", "touched"), CASES)
def test_only_what_is_new_or_gone_is_touched(page: Page, before: str, after: str, touched: str) -> None:
    page.goto("/chat/?agent=quick")
    assert page.evaluate(ARRANGE, [before, after]) == [after, touched]

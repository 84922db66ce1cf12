// The only place where text becomes HTML: what the server rendered, and nothing else.
//
// The page's policy lets no other name make HTML, so a slip elsewhere is refused by the browser.

const policy = window.trustedTypes?.createPolicy("llmapp", { createHTML: (html) => html });
const trusted = (html) => policy?.createHTML(html) ?? html;

// Return the nodes of rendered Markdown.
export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = trusted(html);
  return document.importNode(template.content, true);
}

// Return a page of this site as a document that runs nothing.
export function page(html) {
  return new DOMParser().parseFromString(trusted(html), "text/html");
}

// Small helpers: elements by their `data-` names.

export function find(name, root = document) {
  return root.querySelector(`[data-${name}]`);
}

export function all(name, root = document) {
  return [...root.querySelectorAll(`[data-${name}]`)];
}

// A fresh copy of a template that the server rendered, so that there is one place for each piece of markup.
export function fromTemplate(name) {
  const template = document.querySelector(`template[data-template="${name}"]`);
  return document.importNode(template.content, true).firstElementChild;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "llmapp-icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#llmapp-icon-${name}`);
  svg.append(use);
  return svg;
}

export function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

// Make these the children of a node. Those that are there already are not touched: the browser forgets what it knows
// of a node that is taken out, such as the size of one out of sight.
export function arrange(parent, children) {
  for (const child of [...parent.children]) if (!children.includes(child)) child.remove();
  children.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
}

// Show a text, or hide its place while there is none. Untouched when nothing changed: some places are spoken.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

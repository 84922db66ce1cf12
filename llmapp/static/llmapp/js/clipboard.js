// Copying, byte for byte. The modern clipboard exists in secure contexts only; the old way sets the text in
// the copy event itself, because a text box would rewrite line ends.

export async function copy(text) {
  if (navigator.clipboard?.writeText) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // No permission; the old way may still have one.
    }
  }
  copyByEvent(text);
}

function copyByEvent(text) {
  const set = (event) => {
    event.clipboardData.setData("text/plain", text);
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("copy", set, { capture: true, once: true });
  const done = document.execCommand("copy");
  document.removeEventListener("copy", set, { capture: true });
  if (!done) throw new Error("the browser refused to copy");
}

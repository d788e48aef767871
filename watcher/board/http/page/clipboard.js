// Copies a text for a button that was pressed.

import { at, element, write } from "./words.js";

export async function copyFrom(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // over HTTP beyond loopback there is no clipboard API
  }
  button.classList.add("done");
  write(at("announce"), `copied ${text}`);
  setTimeout(() => button.classList.remove("done"), 1500);
}

function copyBySelection(text) {
  const field = element("textarea", "heard");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

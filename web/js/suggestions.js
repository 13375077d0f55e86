// Questions to begin with, on an empty page; the server makes them of headings.
import { get } from "./api.js";
import { t } from "./i18n.js";
import { html, useEffect, useState } from "./lib.js";
import { ask } from "./turns.js";

/** @param {{collection: string}} props */
export function Suggestions({ collection }) {
  const [items, setItems] = useState(/** @type {Api.SuggestionOut[]} */ ([]));
  useEffect(() => {
    const abort = new AbortController();
    setItems([]);
    get(`/collections/${encodeURIComponent(collection)}/suggestions`, { signal: abort.signal })
      .then((/** @type {Api.PageOut<Api.SuggestionOut>} */ found) => setItems(found.items))
      .catch(() => {}); // one can ask without
    return () => abort.abort();
  }, [collection]);
  if (items.length === 0) return null;
  return html`<section class="suggestions" aria-labelledby="suggested">
    <h2 id="suggested">${t.suggestions}</h2>
    <ul>${items.map((each) => html`<li key=${each.question}><button class="suggestion" title=${each.title} onClick=${() => ask(each.question)}><span dir="auto">${each.question}</span></button></li>`)}</ul>
  </section>`;
}

// That a collection does not exist, which every view says in the same way.
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect } from "./lib.js";
import { collections, loadCollections } from "./state.js";

/** Which ones do exist, to choose from. @param {{choose: (name: string) => void}} props */
export function Missing({ choose }) {
  useEffect(() => {
    loadCollections().catch(() => {}); // it may have been made since
  }, []);
  const others = collections.value ?? [];
  return html`<div class="nothing">
    <${Icon} name="warn" />
    <p><strong>${t.noCollection}</strong></p>
    ${others.length > 0 && html`<p class="quiet">${t.noCollectionMore}</p>
      <ul class="badges">${others.map((each) => html`<li key=${each.name}><button class="button" dir="auto" onClick=${() => choose(each.name)}>${each.name}</button></li>`)}</ul>`}
  </div>`;
}

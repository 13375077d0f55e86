// The view of a collection's quality: golden questions, evaluations with them, and what people think of answers.
import { t } from "./i18n.js";
import { html } from "./lib.js";
import { Feedback } from "./quality_feedback.js";
import { Golden } from "./quality_golden.js";
import { Runs } from "./quality_runs.js";
import { collection, go, may, params } from "./state.js";

export default function Quality() {
  if (!may("evaluate")) return html`<main id="content" class="alone" tabindex="-1"><p>${t.mayNot}</p></main>`;
  /** @type {Record<string, string>} */
  const parts = { golden: t.golden, runs: t.runs, ...(may("feedback") ? { feedback: t.feedback } : {}) };
  const asked = params.value.get("part");
  const part = asked && asked in parts ? asked : "golden";
  const here = collection.value;
  return html`<main id="content" class="documents" tabindex="-1">
    <div class="wide">
      <h1>${t.quality}</h1>
      <p class="quiet">${t.qualityLead}</p>
      <nav class="segments" aria-label=${t.quality}>${Object.entries(parts).map(([name, title]) => html`<button key=${name} aria-pressed=${name === part} onClick=${() => go({ set: { part: name === "golden" ? null : name, compare: null } })}>${title}</button>`)}</nav>
      ${part === "golden" && html`<${Golden} key=${here} here=${here} />`}
      ${part === "runs" && html`<${Runs} key=${here} here=${here} />`}
      ${part === "feedback" && html`<${Feedback} key=${here} here=${here} />`}
    </div>
  </main>`;
}

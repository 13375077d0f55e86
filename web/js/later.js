// A view whose module is fetched when it is first shown.
import { Problem, UNREACHABLE } from "./api.js";
import { html, useEffect, useState } from "./lib.js";
import { Trouble, Waiting } from "./parts.js";

/** @param {{from: () => Promise<{default: any}>}} props */
export function Later({ from }) {
  const [View, setView] = useState(null);
  const [problem, setProblem] = useState(null);
  const load = () => {
    setProblem(null);
    from()
      .then((module) => setView(() => module.default))
      .catch(() => setProblem(new Problem({ type: UNREACHABLE })));
  };
  useEffect(load, []);
  if (View) return html`<${View} />`;
  return html`<main id="content" class="alone" tabindex="-1">${problem ? html`<${Trouble} problem=${problem} retry=${load} />` : html`<${Waiting} />`}</main>`;
}

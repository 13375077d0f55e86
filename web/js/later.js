// A view whose module is fetched when it is first shown.
import { Problem, UNREACHABLE } from "./api.js";
import { html, useEffect, useState } from "./lib.js";
import { Trouble, Waiting, useProblem } from "./parts.js";

/** @param {{from: () => Promise<{default: () => Page.Nodes}>}} props */
export function Later({ from }) {
  const [found, setFound] = useState(/** @type {{default: () => Page.Nodes} | null} */ (null));
  const [problem, setProblem] = useProblem();
  const load = () => {
    setProblem(null);
    from()
      .then(setFound)
      .catch(() => setProblem(new Problem({ type: UNREACHABLE })));
  };
  useEffect(load, []);
  if (found) return html`<${found.default} />`;
  return html`<main id="content" class="alone" tabindex="-1">${problem ? html`<${Trouble} problem=${problem} retry=${load} />` : html`<${Waiting} />`}</main>`;
}

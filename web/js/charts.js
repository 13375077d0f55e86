// Charts by hand: SVG without words in it, for words keep their size on narrow screens; the same figures as a table beneath.
import { t } from "./i18n.js";
import { html } from "./lib.js";

/**
 * Bars over days or the like, with a bound across them where there is one.
 * @param {{label: string, rows: {name: string, value: number}[], format: (value: number) => string, heads: [string, string],
 *          bound?: number | null, boundName?: string}} props  heads: of the table's two columns
 */
export function Bars({ label, rows, format, heads, bound = null, boundName = "" }) {
  const top = Math.max(...rows.map((row) => row.value), bound ?? 0) || 1;
  const height = (/** @type {number} */ value) => (100 * value) / top;
  return html`<figure class="chart">
    <div class="chart-frame">
      <span class="chart-top quiet">${format(top)}</span>
      <svg viewBox=${`0 0 ${rows.length} 100`} preserveAspectRatio="none" role="img" aria-label=${label}>
        <line class="axis" x1="0" x2=${rows.length} y1="99.5" y2="99.5" />
        ${rows.map((row, at) => html`<rect class="bar-mark" x=${at + 0.14} width="0.72" y=${100 - height(row.value)} height=${height(row.value)}><title>${`${row.name}: ${format(row.value)}`}</title></rect>`)}
        ${bound !== null && html`<line class="bound" x1="0" x2=${rows.length} y1=${100 - height(bound)} y2=${100 - height(bound)} />`}
      </svg>
    </div>
    <figcaption class="quiet"><span>${rows[0]?.name}</span>${bound !== null && html`<span class="bound-name">${boundName}</span>`}<span>${rows.at(-1)?.name}</span></figcaption>
    <${Figures} heads=${heads} rows=${rows.map((row) => [row.name, format(row.value)])} />
  </figure>`;
}

/** Pairs of bars from 0 to 1, before and after. @param {{label: string, rows: {name: string, before: number, after: number}[], heads: [string, string, string]}} props */
export function Pairs({ label, rows, heads }) {
  const said = (/** @type {number} */ value) => value.toFixed(3);
  return html`<figure class="pairs">
    <div role="img" aria-label=${label}>${rows.map((row) => html`<div class="pair" key=${row.name}>
      <span>${row.name}</span>
      <svg viewBox="0 0 100 22" preserveAspectRatio="none" aria-hidden="true">
        <rect class="pair-ground" x="0" y="0" width="100" height="9" /><rect class="pair-before" x="0" y="0" width=${100 * row.before} height="9" />
        <rect class="pair-ground" x="0" y="13" width="100" height="9" /><rect class="pair-after" x="0" y="13" width=${100 * row.after} height="9" />
      </svg>
      <span class="figure">${said(row.before)}<br />${said(row.after)}</span>
    </div>`)}</div>
    <figcaption class="legend quiet"><span class="key-before">${heads[1]}</span><span class="key-after">${heads[2]}</span></figcaption>
    <${Figures} heads=${heads} rows=${rows.map((row) => [row.name, said(row.before), said(row.after)])} />
  </figure>`;
}

/** @param {{heads: string[], rows: string[][]}} props */
const Figures = ({ heads, rows }) => html`<details class="figures"><summary>${t.figures}</summary>
  <div class="scroll" tabindex="0" role="region" aria-label=${t.figures}><table>
    <thead><tr>${heads.map((head, at) => html`<th scope="col" class=${at ? "figure" : ""}>${head}</th>`)}</tr></thead>
    <tbody>${rows.map(([name, ...values]) => html`<tr key=${name}><th scope="row" dir="auto">${name}</th>${values.map((value) => html`<td class="figure">${value}</td>`)}</tr>`)}</tbody>
  </table></div>
</details>`;

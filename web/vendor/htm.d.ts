import type { Nodes } from "./preact.js";

/** What a function written into a template is called with: tsc reads no templates, and knows neither tag nor event. */
type Handled = Event &
  Pick<KeyboardEvent, "key" | "shiftKey" | "isComposing"> &
  Pick<DragEvent, "dataTransfer"> & { readonly currentTarget: HTMLInputElement };
type Held = string | number | boolean | null | undefined | object | ((event: Handled) => unknown);

declare const htm: {
  bind(h: (type: unknown, props: unknown, ...children: unknown[]) => unknown): (strings: TemplateStringsArray, ...values: Held[]) => Nodes;
};
export default htm;

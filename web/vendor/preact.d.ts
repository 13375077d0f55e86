// Of Preact what the page uses.
export interface VNode {
  type: unknown;
  props: unknown;
  key: unknown;
}
export type Nodes = VNode | VNode[];
export function h(type: unknown, props: unknown, ...children: unknown[]): VNode;
export function render(what: Nodes, where: Element): void;

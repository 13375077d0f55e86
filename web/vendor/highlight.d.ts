declare const hljs: {
  getLanguage(name: string): object | undefined;
  registerLanguage(name: string, grammar: unknown): void;
  highlight(code: string, how: { language: string; ignoreIllegals: boolean }): { value: string };
};
export type Highlighter = typeof hljs;
export default hljs;

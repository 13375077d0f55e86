export interface Token {
  type: string;
  raw: string;
}
export type Tokens = Token[] & { links: object };

export const marked: {
  use(extension: {
    gfm: boolean;
    renderer: {
      html(token: { text: string }): string;
      image(token: { href: string; text: string }): string;
      checkbox(token: { checked: boolean }): string;
      heading(this: { parser: { parseInline(tokens: Token[]): string } }, token: { tokens: Token[]; depth: number }): string;
    };
  }): void;
  lexer(text: string): Tokens;
  parser(tokens: Tokens): string;
};

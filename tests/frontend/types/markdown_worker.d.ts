// markdown-it, as far as markdown_worker.js uses it.

interface MarkdownToken {
  type: string;
  tag: string;
  content: string;
  info: string;
  meta: Formula;
  attrs: [name: string, value: string][] | null;
  children: MarkdownToken[] | null;
  attrGet(name: string): string | null;
  constructor: new (type: string, tag: string, nesting: number) => MarkdownToken;
}

interface MarkdownEnvironment {
  masked: Masked;
}

interface MarkdownState {
  tokens: MarkdownToken[];
  env: MarkdownEnvironment;
}

type MarkdownRule = (tokens: MarkdownToken[], at: number, options: unknown, env: MarkdownEnvironment) => string;

interface MarkdownParser {
  utils: { escapeHtml(text: string): string };
  options: object;
  core: { ruler: { push(name: string, rule: (state: MarkdownState) => void): void; after(before: string, name: string, rule: (state: MarkdownState) => void): void } };
  renderer: { rules: { [name: string]: MarkdownRule }; render(tokens: MarkdownToken[], options: object, env: MarkdownEnvironment): string };
  parse(source: string, env: MarkdownEnvironment): MarkdownToken[];
}

declare function markdownit(options: object): MarkdownParser;

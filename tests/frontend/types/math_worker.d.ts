// MathJax's objects, as far as math_worker.js uses them: the packages' own types are of their source modules, not of the
// files that put everything into the global `MathJax`.

interface LiteNode {
  kind: string;
  value: string;
  attributes: { [name: string]: string };
  children: LiteNode[];
}

interface MathJaxItem {
  root: object;
  typesetRoot: LiteNode;
  inputData: { recompile?: { state: number } };
  compile(page: object): void;
  typeset(page: object): void;
  state(state: number): void;
  setMetrics(em: number, ex: number, width: number, scale: number): void;
}

interface MathItem {
  number: number;
  math: MathJaxItem;
  tex: string;
  again: boolean;
  made?: PlainNode[];
  error?: string;
}

declare const MathJax: { _: any }; // a tree of modules, named as in MathJax's repository

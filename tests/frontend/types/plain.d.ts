// What sandboxes send to the page: a text, or an element as its name, attributes and children.
type PlainNode = string | [name: string, attributes: { [name: string]: string }, children: PlainNode[]];

/** Where a formula is in a text (delimiters.js). */
interface Formula {
  start: number;
  end: number;
  tex: string;
  display: boolean;
}

// What stands before words.js: web/assets.py, `spoken`.

declare const WORDS: {
  tag: string; // of BCP 47
  dir: "ltr" | "rtl";
  plurals: { [category: string]: number | undefined };
  asked?: string; // by live.js: the language of the page, where the service cannot know it
  texts: { [text: string]: string | string[] | undefined };
};

type TextValues = { [name: string]: string | number | null | undefined };

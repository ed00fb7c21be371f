// The document round each output (keeper.html), which keeps the output's own document where it is.
//
// No browser keeps a frame from going to another address by itself, with all that it holds in that address. Where a frame may
// go is said by the policy of the page that it is in. That of the visitor's page may say nothing, so this page stands between,
// whose policy allows the one address of the output's own document (OUTPUT). It has no origin (sandbox), and passes messages
// on without reading them: it trusts neither side.
"use strict";

(() => {
  const page = parent;
  const address = new URL(OUTPUT, location.href).href;
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = `frame-src ${address}`;
  document.head.append(policy);
  const output = document.createElement("iframe");
  output.setAttribute("sandbox", "allow-scripts");
  output.title = document.title;
  output.src = address;
  document.body.append(output);

  addEventListener("message", (event) => {
    if (!event.data || typeof event.data !== "object") return;
    if (event.source === page) output.contentWindow?.postMessage(event.data, "*"); // its origin is opaque
    else if (event.source === output.contentWindow) page.postMessage(event.data, "*");
  });
})();

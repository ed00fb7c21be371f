"use strict";
// The page of a closed service (respond.py): it is loaded again once people are let in, which is asked for before.
setInterval(async () => {
  const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  if (answer && answer.status < 500) location.reload();
}, 30000);

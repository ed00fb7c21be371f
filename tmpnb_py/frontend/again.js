"use strict";
// The page of a closed service: goes on once people are let in again. It is not loaded again for nothing.
setInterval(async () => {
  const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  if (answer && answer.status < 500) location.reload();
}, 30000);

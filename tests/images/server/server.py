"""A stand-in for a notebook server: answers as the fake engine's does, and runs Python posted to `exec`.

A WebSocket of any path gets its text back, message for message; a GET of `slow?N` is answered over N seconds.
"""

import argparse
import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import pathlib
import socketserver
import struct
import time
import traceback

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--socket")
parser.add_argument("--port", type=int)
parser.add_argument("--ip", default="0.0.0.0")
options = parser.parse_args()
told = json.loads(os.environ.get("TMPNB_WARM_KERNELS") or '{"kernels": {}}')
WARM = {"kernels": [{"name": name, "state": "ready"} for name in told["kernels"]]}
print("listening at", options.base, flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo()
            return
        if "/slow?" in self.path:
            self.drip(int(self.path.rpartition("?")[2]))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rest = self.path.removeprefix(options.base)
        known = {"api": {"version": "fake"}, "api/kernels": [], "api/terminals": [], "api/tmpnb/warm": WARM}
        container_id = options.base.strip("/").rsplit("/", 1)[-1]
        value = known.get(rest.partition("?")[0], {"method": self.command, "path": self.path, "id": container_id})
        if rest == "exec":
            value = run(body.decode())
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drip(self, seconds: int) -> None:
        """A byte each tenth of a second."""
        self.send_response(200)
        self.send_header("Content-Length", str(10 * seconds))
        self.end_headers()
        for _ in range(10 * seconds):
            self.wfile.write(b".")
            time.sleep(0.1)

    def echo(self) -> None:
        """RFC 6455, of frames below 64 KiB."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while len(head := self.rfile.read(2)) == 2 and head[0] & 0x0F != 8:
            size = head[1] & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self.rfile.read(2))
            mask, payload = self.rfile.read(4), self.rfile.read(size)
            text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            length = bytes((size,)) if size < 126 else b"\x7e" + struct.pack(">H", size)
            self.wfile.write(head[:1] + length + text)

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
